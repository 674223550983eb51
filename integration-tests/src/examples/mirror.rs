//! The mirror: one stream of two topics, kept in PostgreSQL by group A and in Redis by group B.
//!
//! It knows where both states are, and has them spoilt and counted by the example's auditor, who looks into both directly.

use serde::Deserialize;
use serde_json::json;

use super::{Crew, CrewOptions, Cut, Positions, Role, SETTLE_DEADLINE};
use crate::{
    bank::Behind,
    postgres::Postgres,
    redis::{Redis, RedisOptions},
};

/// Group A keeps its state in PostgreSQL, group B in Redis.
const GROUPS: [&str; 2] = ["database", "cache"];

/// What the auditor counted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct MirrorCount {
    /// Partitions of which PostgreSQL or Redis does not hold exactly the prefix of the log.
    pub prefix_differences: u64,
    /// Partitions of which PostgreSQL and Redis hold different prefixes.
    pub between_each_other: u64,
    /// Records that were sent and never entered.
    pub lost: u64,
    /// Records entered again.
    pub duplicates: u64,
    /// Records in the prefixes.
    pub records: u64,
    /// Whether both had caught up.
    pub settled: bool,
}

impl MirrorCount {
    /// Whether both hold exactly the prefix, and each record once.
    #[must_use]
    pub fn is_right(&self) -> bool {
        let wrong = [
            self.prefix_differences,
            self.between_each_other,
            self.lost,
            self.duplicates,
        ];
        self.settled && self.records > 0 && wrong == [0; 4]
    }
}

/// Both groups, their databases and their load.
#[derive(Debug)]
pub struct Mirror {
    /// What is at work.
    pub crew: Crew,
    kafka: String,
    prefix: String,
    postgres: String,
    redis: String,
    // Ends after those who use it.
    _redis: Redis,
}

impl Mirror {
    /// Starts both groups on empty databases.
    ///
    /// # Panics
    /// When a part does not come up.
    pub async fn start(
        kafka: &str,
        postgres: &Postgres,
        prefix: &str,
        behind: Option<Behind>,
    ) -> Self {
        let redis = Redis::start(&RedisOptions::default()).await;
        let name = format!("{prefix}mirror").replace('-', "_");
        let (database, keys) = (
            postgres.create_database(&name).await,
            format!("{}/0?prefix=mirror:", redis.url()),
        );
        let specs = [
            format!("{database}?tables=prefixes,balances&scope=service"),
            format!("{keys}&scope=service"),
        ];
        let places = [database.clone(), keys.clone()];
        let roles = GROUPS.into_iter().zip(places).zip(specs);
        let roles = roles.map(|((name, place), spec)| Role {
            name,
            inputs: 2,
            place,
            spec,
        });
        let options = CrewOptions {
            example: "mirror",
            prefix: prefix.into(),
            topics: vec!["deposits", "withdrawals"],
            sources: 2,
            roles: roles.collect(),
            behind,
        };
        Self {
            crew: Crew::start(kafka, options).await,
            kafka: kafka.into(),
            prefix: prefix.into(),
            postgres: database,
            redis: keys,
            _redis: redis,
        }
    }

    /// Where both groups stand in a checkpoint, when it is at the same place; else where each stands.
    ///
    /// # Errors
    /// The positions of both, when they differ or are none.
    pub fn common_positions(&self, cut: &Cut) -> Result<Positions, [Positions; 2]> {
        let positions = GROUPS.map(|group| cut.positions(group));
        if positions[0] == positions[1] && !positions[0].is_empty() {
            let [positions, _] = positions;
            Ok(positions)
        } else {
            Err(positions)
        }
    }

    /// Compares what both hold with the records before these positions; both groups are stopped.
    ///
    /// # Panics
    /// When the auditor cannot read something.
    pub async fn look(&self, positions: &Positions) -> MirrorCount {
        let ends = positions.iter().map(|((topic, partition), offset)| {
            (format!("{topic}-{partition}"), json!(offset.unwrap_or(0)))
        });
        let ends: serde_json::Map<_, _> = ends.collect();
        self.count(&["--positions".into(), json!(ends).to_string()])
            .await
    }

    /// Compares what both hold with all the load sent, when they have caught up.
    ///
    /// # Panics
    /// When the auditor cannot read something.
    pub async fn settle(&self) -> MirrorCount {
        let sent = self.crew.sent().display().to_string();
        let seconds = SETTLE_DEADLINE.as_secs().to_string();
        self.count(&["--sent".into(), sent, "--settle-seconds".into(), seconds])
            .await
    }

    /// Sets what both hold to nonsense.
    ///
    /// # Panics
    /// When one cannot be written.
    pub async fn spoil(&self) {
        self.audit(&["--spoil".into()]).await;
    }

    async fn count(&self, more: &[String]) -> MirrorCount {
        let counted = self.audit(more).await;
        serde_json::from_value(counted).expect("the auditor prints its count")
    }

    async fn audit(&self, more: &[String]) -> serde_json::Value {
        let kafka = ["--bootstrap", &self.kafka, "--prefix", &self.prefix].map(str::to_owned);
        let states = [
            ("MIRROR_POSTGRES".to_owned(), self.postgres.clone()),
            ("MIRROR_REDIS".to_owned(), self.redis.clone()),
        ];
        self.crew
            .ask("count", &[&kafka, more].concat(), &states)
            .await
    }
}
