//! The demo of the mirror: one stream in two databases, and round after round both hold the same prefix of it.

use integration_tests::{
    Admin, Postgres,
    examples::{Mirror, MirrorCount},
};
use serde_json::json;

use crate::{
    rounds::{
        Ended, LOAD_TIME_MAX, Rounding, Rounds, roll_back, start_admin, start_kafka, take_cut,
    },
    teller::{Teller, spaced},
};

/// Tells it all.
pub async fn tell(options: Rounding, teller: Teller) -> Ended {
    teller.chapter("One stream in two databases, on a real Kafka");
    let kafka = start_kafka(teller).await;
    let postgres = Postgres::start(&[]).await;
    let (admin, behind) = start_admin(teller, &kafka, "mirror").await;
    let mut mirror = Mirror::start(&kafka.bootstrap(), &postgres, "", Some(behind)).await;
    mirror.crew.start_load(options.rate, LOAD_TIME_MAX);
    teller.say(
        "services",
        "group A keeps the stream in PostgreSQL, group B in Redis, a sidecar before each",
    );
    let mut rounds = Rounds::begin(&mirror.crew);
    let (mut prefix_differences, mut unequal_positions) = (0, 0);
    for number in 1..=options.rounds {
        let Some(found) = round(teller, &mut mirror, &admin, &mut rounds, number).await else {
            break;
        };
        prefix_differences += found.prefix_differences;
        unequal_positions += found.unequal_positions;
    }
    let records_per_second = rounds.records_per_second(&mirror.crew);
    teller.chapter("The count");
    mirror.crew.stop_load().await;
    let count = mirror.settle().await;
    tell_count(teller, &count);
    let wrong = prefix_differences + unequal_positions;
    Ended {
        line: json!({
            "example": "mirror", "rounds": rounds.completed, "prefix_differences": prefix_differences + count.prefix_differences,
            "unequal_positions": unequal_positions, "lost": count.lost, "duplicates": count.duplicates, "records": count.records,
            "pause_ms_max": rounds.pause_ms_max, "records_per_second": records_per_second.round(),
        }),
        right: rounds.completed == options.rounds && wrong == 0 && count.is_right(),
    }
}

/// What was found in a round.
struct Found {
    prefix_differences: u64,
    unequal_positions: u64,
}

/// A checkpoint, nonsense in both databases, and back; what both hold then. `None` when something was not COMPLETED.
async fn round(
    teller: Teller,
    mirror: &mut Mirror,
    admin: &Admin,
    rounds: &mut Rounds,
    number: u32,
) -> Option<Found> {
    teller.chapter(&format!(
        "Round {number}: a checkpoint under load, nonsense in both databases, and back"
    ));
    let cut = take_cut(teller, admin, &mirror.crew, rounds).await?;
    let positions = match mirror.common_positions(&cut) {
        Ok(positions) => positions,
        Err(both) => {
            teller.bad(
                "positions",
                &format!("both groups stand elsewhere: {both:?}"),
            );
            return Some(Found {
                prefix_differences: 0,
                unequal_positions: 1,
            });
        }
    };
    teller.good(
        "positions",
        &format!(
            "both groups stand at the same offsets of all {} partitions",
            positions.len()
        ),
    );
    mirror.crew.stop();
    mirror.spoil().await;
    teller.say("a script", "sets what both databases hold to nonsense");
    if !roll_back(teller, admin, &cut).await {
        return None;
    }
    let count = mirror.look(&positions).await;
    let records = spaced(i64::try_from(count.records).unwrap_or(i64::MAX));
    let text = format!(
        "{} partitions differ from the {records} records before the cut",
        count.prefix_differences
    );
    teller.judge(count.is_right(), "databases", &text);
    mirror.crew.start_again().await;
    rounds.completed += 1;
    Some(Found {
        prefix_differences: count.prefix_differences + count.duplicates,
        unequal_positions: 0,
    })
}

fn tell_count(teller: Teller, count: &MirrorCount) {
    for (label, number, what) in [
        (
            "prefixes",
            count.prefix_differences,
            "partitions held otherwise than the log has them",
        ),
        (
            "each other",
            count.between_each_other,
            "partitions in which PostgreSQL and Redis differ",
        ),
        ("lost", count.lost, "records sent and never entered"),
        ("duplicates", count.duplicates, "records entered again"),
    ] {
        teller.judge(number == 0, label, &format!("{number} {what}"));
    }
    let records = spaced(i64::try_from(count.records).unwrap_or(i64::MAX));
    teller.say("entered", &format!("{records} records"));
    if !count.settled {
        teller.bad("settled", "no: not all that was sent has arrived");
    }
}
