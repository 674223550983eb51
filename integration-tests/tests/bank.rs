//! The bank example by itself, directly on Kafka: before it can show that a rollback loses nothing, it must lose nothing without one.

use std::time::{Duration, Instant};

use integration_tests::{
    Kafka,
    bank::{Bank, BankOptions, Behind, Databases},
    naive::NaiveCopy,
    postgres::Postgres,
    redis::{Redis, RedisOptions},
    topics::unique_name,
    wait_until,
};

const LOAD: Duration = Duration::from_secs(20);
const SETTLE: Duration = Duration::from_secs(60);
/// How many records flow before the naive copy is taken.
const NAIVE_FLOW: i64 = 25_000;
/// About three records each.
const ORDERS_PER_SECOND: u64 = 2_000;

async fn money_is_conserved(instances: usize, assignor: &str, behind: Option<Behind>) {
    let kafka = Kafka::shared().await;
    let options = BankOptions {
        prefix: unique_name("bank") + "-",
        instances,
        assignor: assignor.into(),
        behind,
        ..BankOptions::default()
    };
    let mut bank = Bank::start(&kafka.bootstrap(), options).await;
    bank.start_load(ORDERS_PER_SECOND, LOAD);
    let begin = Instant::now();
    wait_until(LOAD * 2, "the load to end", || {
        let over = !bank.load_runs();
        async move { over }
    })
    .await;
    let rate = bank.appended() as f64 / begin.elapsed().as_secs_f64();
    bank.stop_load().await;
    let count = bank.count(SETTLE).await;
    assert!(count.is_right(), "{count:?}");
    eprintln!("{instances} instances each: {rate:.0} records/s, {count:?}");
}

#[tokio::test]
async fn money_is_conserved_by_one_instance_each() {
    money_is_conserved(1, "range", None).await;
}

#[tokio::test]
async fn money_is_conserved_by_three_instances_each() {
    money_is_conserved(3, "cooperative-sticky", None).await;
}

#[tokio::test]
async fn money_is_conserved_through_transparent_sidecars() {
    let transparent = Behind {
        admin: None,
        deployment: "none".into(),
        arguments: Vec::new(),
        environment: Vec::new(),
    };
    money_is_conserved(2, "cooperative-sticky", Some(transparent)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_one_database_after_another_does_not_conserve_money() {
    let (postgres, redis) = (
        Postgres::shared().await,
        Redis::start(&RedisOptions::default()).await,
    );
    let databases = Databases {
        postgres: postgres.create_database("bank_a").await,
        redis: redis.url(),
        prefix: "bank-b:".into(),
    };
    a_naive_copy_does_not_conserve_money(Some(databases)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_one_thing_after_another_does_not_conserve_money() {
    a_naive_copy_does_not_conserve_money(None).await;
}

async fn a_naive_copy_does_not_conserve_money(databases: Option<Databases>) {
    let kafka = Kafka::shared().await;
    let options = BankOptions {
        prefix: unique_name("naive") + "-",
        databases,
        ..BankOptions::default()
    };
    let mut bank = Bank::start(&kafka.bootstrap(), options).await;
    bank.start_load(ORDERS_PER_SECOND, LOAD);
    bank.flow(NAIVE_FLOW).await;
    let copy = NaiveCopy::take(&kafka.bootstrap(), &bank).await;
    bank.stop_load().await;
    bank.stop_instances();
    copy.put_back().await;
    bank.start_instances().await;
    let count = bank.count_without_orders(SETTLE).await;
    assert!(count.total_after != count.total_expected, "{count:?}");
    assert!(
        count.orphans + count.lost + count.duplicates > 0,
        "{count:?}"
    );
    eprintln!("naive copy: {count:?}");
}
