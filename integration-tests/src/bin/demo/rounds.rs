//! What the examples told round by round have in common: how they are asked for, what they stand on, and how they say what happened.

use std::time::{Duration, Instant};

use clap::Args;
use integration_tests::{
    Admin, AdminOptions, Kafka, KafkaOptions,
    bank::Behind,
    checkpoints,
    examples::{Crew, Cut},
    kafka::VERSION_DEFAULT,
};
use serde_json::Value;

use crate::teller::{Teller, spaced};

/// How long records flow before and after each checkpoint.
pub const FLOW_TIME: Duration = Duration::from_secs(3);
/// The load ends by itself after this long, whatever happens.
pub const LOAD_TIME_MAX: Duration = Duration::from_secs(1_800);

/// How an example is told.
#[derive(Clone, Copy, Debug, Args)]
pub struct Rounding {
    /// How often in a row a checkpoint is taken, the state spoilt and brought back, under load that never stops
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Records a second through the topics
    #[arg(long, default_value_t = 2_500)]
    pub rate: u64,
}

/// How a demo ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The last line.
    pub line: Value,
    /// Whether all is as promised.
    pub right: bool,
}

/// What the rounds so far came to.
#[derive(Clone, Debug)]
pub struct Rounds {
    /// How many were COMPLETED.
    pub completed: u32,
    /// The longest pause of any process in any of them, in milliseconds.
    pub pause_ms_max: f64,
    begin: Instant,
    appended: i64,
}

impl Rounds {
    /// None yet; records are counted from now on.
    pub fn begin(crew: &Crew) -> Self {
        Self {
            completed: 0,
            pause_ms_max: 0.0,
            begin: Instant::now(),
            appended: crew.appended(),
        }
    }

    /// Records a second since the beginning, rollbacks included.
    pub fn records_per_second(&self, crew: &Crew) -> f64 {
        let appended = i32::try_from(crew.appended() - self.appended).unwrap_or(i32::MAX);
        f64::from(appended) / self.begin.elapsed().as_secs_f64()
    }
}

/// A real Kafka on one node.
pub async fn start_kafka(teller: Teller) -> Kafka {
    let start = Instant::now();
    let options = KafkaOptions {
        heap_mib: 768,
        ..KafkaOptions::default()
    };
    let kafka = Kafka::start(options).await;
    let seconds = start.elapsed().as_secs_f32();
    let text = format!("Apache Kafka {VERSION_DEFAULT} on one node, ready in {seconds:.1} s");
    teller.say("Kafka", &text);
    kafka
}

/// An admin API, and how services stand before Kafka with it.
pub async fn start_admin(teller: Teller, kafka: &Kafka, deployment: &str) -> (Admin, Behind) {
    let mut options = AdminOptions::over(&kafka.bootstrap());
    let name = ("CUTLINE_DEPLOYMENT".into(), deployment.into());
    options.environment.push(name);
    let admin = Admin::start(&options).await;
    teller.say(
        "admin API",
        &format!("{}, checkpoints go to a directory", admin.url()),
    );
    let behind = Behind {
        admin: Some(admin.url()),
        deployment: deployment.into(),
        arguments: Vec::new(),
        environment: Vec::new(),
    };
    (admin, behind)
}

/// Lets records flow, takes a checkpoint while they do, and says how it went.
pub async fn take_cut(
    teller: Teller,
    admin: &Admin,
    crew: &Crew,
    rounds: &mut Rounds,
) -> Option<Cut> {
    checkpoints::wait_connected(admin, crew.groups().len()).await;
    tokio::time::sleep(FLOW_TIME).await;
    let cut = Cut::take(admin).await;
    if !cut.is_completed() {
        teller.bad("checkpoint", &cut.status);
        return None;
    }
    rounds.pause_ms_max = rounds.pause_ms_max.max(cut.pause_ms_max());
    let bytes = spaced(i64::try_from(cut.state_bytes()).unwrap_or(i64::MAX));
    let text = format!(
        "{} is COMPLETED: {bytes} bytes of state, longest pause {:.0} ms",
        cut.epoch,
        cut.pause_ms_max()
    );
    teller.good("checkpoint", &text);
    tokio::time::sleep(FLOW_TIME).await;
    Some(cut)
}

/// Goes back to a checkpoint and says how it went; whether it did.
pub async fn roll_back(teller: Teller, admin: &Admin, cut: &Cut) -> bool {
    let begin = Instant::now();
    let status = cut.roll_back(admin).await;
    let seconds = begin.elapsed().as_secs_f64();
    let right = status == "COMPLETED";
    teller.judge(
        right,
        "restore",
        &format!(
            "to checkpoint {} is {status} after {seconds:.1} s",
            cut.epoch
        ),
    );
    right
}
