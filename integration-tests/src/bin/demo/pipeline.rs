//! The demo of the pipeline: the usual hot backup first, then Cutline, round after round, and what each leaves behind.

use integration_tests::{
    Admin, Kafka,
    examples::{Pipeline, PipelineCount},
};
use serde_json::{Value, json};

use crate::{
    rounds::{
        Ended, FLOW_TIME, LOAD_TIME_MAX, Rounding, Rounds, roll_back, start_admin, start_kafka,
        take_cut,
    },
    teller::{Teller, spaced},
};

/// Topics that a request makes one record in each of.
const RECORDS_PER_REQUEST: u64 = 5;

/// Tells it all.
pub async fn tell(options: Rounding, teller: Teller) -> Ended {
    teller.chapter("Three services with a join on a real Kafka");
    let kafka = start_kafka(teller).await;
    let requests_per_second = options.rate.div_ceil(RECORDS_PER_REQUEST);
    let naive = naive(teller, &kafka, requests_per_second).await;
    teller.chapter("Now with Cutline");
    let (admin, behind) = start_admin(teller, &kafka, "pipeline").await;
    let mut pipeline = Pipeline::start(&kafka.bootstrap(), "", Some(behind)).await;
    pipeline.crew.start_load(requests_per_second, LOAD_TIME_MAX);
    teller.say(
        "services",
        "orders, payments and settlement in Python, 3 sidecars between them and Kafka",
    );
    let mut rounds = Rounds::begin(&pipeline.crew);
    let mut captures = Vec::new();
    for number in 1..=options.rounds {
        let Some(count) = round(teller, &mut pipeline, &admin, &mut rounds, number).await else {
            break;
        };
        captures.push(count);
    }
    let records_per_second = rounds.records_per_second(&pipeline.crew);
    teller.chapter("The count");
    pipeline.crew.stop_load().await;
    let count = pipeline.settle().await;
    tell_count(teller, &captures, &count);
    let right =
        rounds.completed == options.rounds && captures.iter().all(no_skew) && count.is_right();
    Ended {
        line: json!({
            "example": "pipeline", "rounds": rounds.completed, "cutline": summary(&captures, &count), "naive": naive,
            "pause_ms_max": rounds.pause_ms_max, "records_per_second": records_per_second.round(),
        }),
        right,
    }
}

/// What the usual hot backup does to the same services.
async fn naive(teller: Teller, kafka: &Kafka, requests_per_second: u64) -> Value {
    teller.chapter("First, the usual hot backup: offsets, topics and books, one after another, while they work");
    let mut pipeline = Pipeline::start(&kafka.bootstrap(), "naive-", None).await;
    pipeline.crew.start_load(requests_per_second, LOAD_TIME_MAX);
    tokio::time::sleep(FLOW_TIME).await;
    let copy = pipeline.copy().await;
    pipeline.crew.stop_load().await;
    pipeline.crew.stop();
    pipeline.put_back(&copy).await;
    let capture = pipeline.look().await;
    pipeline.crew.start_again().await;
    let count = pipeline.settle_without_load().await;
    pipeline.crew.stop();
    let captures = [capture];
    tell_count(teller, &captures, &count);
    summary(&captures, &count)
}

/// A checkpoint, spoilt books, and back; what the books are like then. `None` when something was not COMPLETED.
async fn round(
    teller: Teller,
    pipeline: &mut Pipeline,
    admin: &Admin,
    rounds: &mut Rounds,
    number: u32,
) -> Option<PipelineCount> {
    teller.chapter(&format!(
        "Round {number}: a checkpoint under load, spoilt books, and back"
    ));
    let cut = take_cut(teller, admin, &pipeline.crew, rounds).await?;
    pipeline.crew.stop();
    pipeline.spoil().await;
    teller.say(
        "a script",
        "doubles every sum in the three books and forgets what was sent",
    );
    if !roll_back(teller, admin, &cut).await {
        return None;
    }
    let count = pipeline.look().await;
    let text = format!(
        "{} skewed records, {} joins",
        count.skewed,
        spaced_count(count.joins)
    );
    teller.judge(no_skew(&count), "the books", &text);
    pipeline.crew.start_again().await;
    rounds.completed += 1;
    Some(count)
}

/// Whether a capture fits together as far as that can be said while records are on their way.
fn no_skew(capture: &PipelineCount) -> bool {
    capture.skewed + capture.duplicate_joins + capture.received_twice == 0
}

fn summary(captures: &[PipelineCount], count: &PipelineCount) -> Value {
    let skewed: u64 = captures.iter().map(|capture| capture.skewed).sum();
    json!({
        "skewed": skewed + count.skewed,
        "duplicate_joins": count.duplicate_joins,
        "diverging": count.diverging,
        "open_halves": count.open_halves,
        "received_twice": count.received_twice,
        "joins": count.joins,
    })
}

fn tell_count(teller: Teller, captures: &[PipelineCount], count: &PipelineCount) {
    let skewed: u64 = captures.iter().map(|capture| capture.skewed).sum();
    for (label, number, what) in [
        (
            "skewed",
            skewed + count.skewed,
            "records held but never sent, or sent but never held",
        ),
        (
            "duplicates",
            count.duplicate_joins,
            "orders joined more than once",
        ),
        (
            "diverging",
            count.diverging,
            "accounts whose settled sum is not the ordered sum",
        ),
        ("open", count.open_halves, "orders that found no other half"),
        ("again", count.received_twice, "records entered again"),
    ] {
        teller.judge(
            number == 0,
            label,
            &format!("{} {what}", spaced_count(number)),
        );
    }
    teller.say("joined", &format!("{} orders", spaced_count(count.joins)));
    if !count.settled {
        teller.bad("settled", "no: records still move");
    }
}

fn spaced_count(number: u64) -> String {
    spaced(i64::try_from(number).unwrap_or(i64::MAX))
}
