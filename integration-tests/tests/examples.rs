//! The examples beside the two banks keep their promises, and the usual hot backup does not.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are the test")]

use std::time::Duration;

use integration_tests::{
    Admin, AdminOptions, Kafka, Postgres,
    bank::Behind,
    checkpoints,
    examples::{Crew, Cut, Mirror, Pipeline},
    topics::unique_name,
};

/// The load ends by itself after this long.
const LOAD_TIME_MAX: Duration = Duration::from_secs(120);
/// How many records flow between two events.
const FLOW: i64 = 3_000;
const REQUESTS_PER_SECOND: u64 = 300;
const RECORDS_PER_SECOND: u64 = 1_000;

async fn admin(kafka: &str, deployment: &str) -> (Admin, Behind) {
    let mut options = AdminOptions::over(kafka);
    options
        .environment
        .push(("CUTLINE_DEPLOYMENT".into(), deployment.into()));
    let admin = Admin::start(&options).await;
    let behind = Behind {
        admin: Some(admin.url()),
        deployment: deployment.into(),
        arguments: Vec::new(),
        environment: Vec::new(),
    };
    (admin, behind)
}

async fn checkpoint(admin: &Admin, crew: &Crew) -> Cut {
    checkpoints::wait_connected(admin, crew.groups().len()).await;
    crew.flow(FLOW).await;
    let cut = Cut::take(admin).await;
    assert!(cut.is_completed(), "{}", cut.status);
    crew.flow(FLOW).await;
    cut
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_with_a_join_comes_back_without_skew() {
    let (kafka, name) = (Kafka::shared().await.bootstrap(), unique_name("pipeline"));
    let (admin, behind) = admin(&kafka, &name).await;
    let mut pipeline = Pipeline::start(&kafka, &format!("{name}-"), Some(behind)).await;
    pipeline.crew.start_load(REQUESTS_PER_SECOND, LOAD_TIME_MAX);
    let cut = checkpoint(&admin, &pipeline.crew).await;
    pipeline.crew.stop();
    pipeline.spoil().await;
    assert!(pipeline.look().await.skewed > 0, "the books are spoilt");
    assert_eq!(cut.roll_back(&admin).await, "COMPLETED");
    let capture = pipeline.look().await;
    assert_eq!(
        (capture.skewed, capture.received_twice),
        (0, 0),
        "{capture:?}"
    );
    pipeline.crew.start_again().await;
    pipeline.crew.flow(FLOW).await;
    pipeline.crew.stop_load().await;
    let count = pipeline.settle().await;
    assert!(count.is_right(), "{count:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_usual_hot_backup_of_a_pipeline_is_skewed_joins_twice_and_diverges() {
    let (kafka, name) = (Kafka::shared().await.bootstrap(), unique_name("naive"));
    let mut pipeline = Pipeline::start(&kafka, &format!("{name}-"), None).await;
    pipeline.crew.start_load(REQUESTS_PER_SECOND, LOAD_TIME_MAX);
    pipeline.crew.flow(FLOW).await;
    let copy = pipeline.copy().await;
    pipeline.crew.stop_load().await;
    pipeline.crew.stop();
    pipeline.put_back(&copy).await;
    let capture = pipeline.look().await;
    assert!(capture.skewed > 0, "{capture:?}");
    pipeline.crew.start_again().await;
    let count = pipeline.settle_without_load().await;
    assert!(
        count.duplicate_joins > 0 && count.diverging > 0,
        "{count:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_and_a_cache_come_back_to_the_same_prefix() {
    let (kafka, name) = (Kafka::shared().await.bootstrap(), unique_name("mirror"));
    let (admin, behind) = admin(&kafka, &name).await;
    let postgres = Postgres::shared().await;
    let mut mirror = Mirror::start(&kafka, postgres, &format!("{name}-"), Some(behind)).await;
    mirror.crew.start_load(RECORDS_PER_SECOND, LOAD_TIME_MAX);
    let cut = checkpoint(&admin, &mirror.crew).await;
    let positions = mirror.common_positions(&cut).unwrap();
    mirror.crew.stop();
    mirror.spoil().await;
    let spoilt = mirror.look(&positions).await;
    assert!(
        spoilt.prefix_differences > 0,
        "the databases are spoilt: {spoilt:?}"
    );
    assert_eq!(cut.roll_back(&admin).await, "COMPLETED");
    let held = mirror.look(&positions).await;
    assert!(held.is_right(), "{held:?}");
    mirror.crew.start_again().await;
    mirror.crew.flow(FLOW).await;
    mirror.crew.stop_load().await;
    let count = mirror.settle().await;
    assert!(count.is_right(), "{count:?}");
}
