//! What the demo runs: services, banks, load; and the naive copy beside them.
//!
//! Everything ends when what is returned is dropped.

use std::time::{Duration, Instant};

use integration_tests::{
    Admin, Bank, BankOptions, Kafka, Services,
    bank::{Behind, Count, Databases},
    naive::NaiveCopy,
    wait_until,
};

use crate::{
    Capture, LOAD_TIME_MAX, Options,
    story::{DEPLOYMENT, FLOW_TIME, SETTLE_DEADLINE, tell_count},
    teller::Teller,
};

/// How long the banks may take to be at work.
const WORK_DEADLINE: Duration = Duration::from_secs(60);

/// The services that stand in place of files, where they are asked for.
pub async fn start_services(options: &Options, teller: Teller) -> Option<Services> {
    if !options.full {
        return None;
    }
    let start = Instant::now();
    let services = Services::start().await;
    let seconds = start.elapsed().as_secs_f32();
    teller.say(
        "databases",
        &format!("PostgreSQL for bank A, Redis for bank B, an S3 server for checkpoints, ready in {seconds:.1} s"),
    );
    Some(services)
}

/// Where the banks keep their state, when not in files.
async fn databases(services: Option<&Services>, name: &str) -> Option<Databases> {
    match services {
        Some(services) => Some(services.databases(name).await),
        None => None,
    }
}

/// Both banks behind sidecars, at work under load.
pub async fn start_banks(
    options: &Options,
    teller: Teller,
    kafka: &Kafka,
    admin: &Admin,
    services: Option<&Services>,
) -> Bank {
    let behind = Behind {
        admin: Some(admin.url()),
        deployment: DEPLOYMENT.into(),
        arguments: Vec::new(),
        environment: services.map(Services::environment).unwrap_or_default(),
    };
    let hook = options.capture == Capture::Hook;
    let bank = BankOptions {
        instances: options.instances,
        behind: Some(behind),
        databases: databases(services, DEPLOYMENT).await,
        hook,
        ..BankOptions::default()
    };
    let mut bank = Bank::start(&kafka.bootstrap(), bank).await;
    bank.start_load(options.orders_per_second(), LOAD_TIME_MAX);
    at_work(&bank).await;
    let sidecars = 2 * options.instances;
    teller.say("banks", &format!("A in Rust and B in Python send each other money, {sidecars} sidecars between them and Kafka"));
    bank
}

/// Waits until the banks have taken up their partitions and pass records on.
async fn at_work(bank: &Bank) {
    wait_until(WORK_DEADLINE, "both banks to be at work", || async move {
        bank.home().has_state("a").await && bank.home().has_state("b").await
    })
    .await;
    tokio::time::sleep(FLOW_TIME).await;
}

/// What a copy without a consistent cut does to the same banks.
pub async fn naive_copy(
    options: &Options,
    teller: Teller,
    kafka: &Kafka,
    services: Option<&Services>,
) -> Count {
    teller.chapter(
        "First, the naive copy: offsets, topics and state, one after another, while they work",
    );
    let unprotected = BankOptions {
        prefix: "naive-".into(),
        databases: databases(services, "naive").await,
        instances: options.instances,
        ..BankOptions::default()
    };
    let mut bank = Bank::start(&kafka.bootstrap(), unprotected).await;
    bank.start_load(options.orders_per_second(), LOAD_TIME_MAX);
    at_work(&bank).await;
    let copy = NaiveCopy::take(&kafka.bootstrap(), &bank).await;
    bank.stop_load().await;
    bank.stop_instances();
    copy.put_back().await;
    bank.start_instances().await;
    let count = bank.count_without_orders(SETTLE_DEADLINE).await;
    bank.stop_instances();
    tell_count(teller, &count);
    count
}
