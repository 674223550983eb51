//! The pipeline: requests become orders and charges, charges become payments, settlement joins orders and payments.
//!
//! Its state is a directory with a book for each service. It spoils them, backs them up the usual way, and has the auditor count.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Crew, CrewOptions, Role, SETTLE_DEADLINE};
use crate::{bank::Behind, naive::KafkaCopy, run::Run};

/// Services in the order of the stream, and how many topics each reads.
const SERVICES: [(&str, usize); 3] = [("orders", 1), ("payments", 1), ("settlement", 2)];

/// What the auditor counted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PipelineCount {
    /// Records that downstream holds and upstream never sent, or that were sent and never arrived.
    pub skewed: u64,
    /// Joins of orders that were joined before.
    pub duplicate_joins: u64,
    /// Accounts whose settled sum differs from the ordered sum.
    pub diverging: u64,
    /// Halves of orders that wait for the other one.
    pub open_halves: u64,
    /// Records a book entered again.
    pub received_twice: u64,
    /// Orders joined.
    pub joins: u64,
    /// Whether nothing moved any more.
    pub settled: bool,
}

impl PipelineCount {
    /// Whether everything was joined exactly once, after all settled.
    #[must_use]
    pub fn is_right(&self) -> bool {
        let wrong = [
            self.skewed,
            self.duplicate_joins,
            self.diverging,
            self.open_halves,
            self.received_twice,
        ];
        self.settled && self.joins > 0 && wrong == [0; 5]
    }
}

/// The three services and their load.
#[derive(Debug)]
pub struct Pipeline {
    /// What is at work.
    pub crew: Crew,
    state: PathBuf,
    kafka: String,
}

impl Pipeline {
    /// Starts the services with empty books.
    ///
    /// # Panics
    /// When a part does not come up.
    pub async fn start(kafka: &str, prefix: &str, behind: Option<Behind>) -> Self {
        let state = Run::this().part("books").join("data");
        let roles = SERVICES.map(|(name, inputs)| {
            let place = state.join(name).display().to_string();
            let spec = format!("dir:{place}?scope=service");
            Role {
                name,
                inputs,
                place,
                spec,
            }
        });
        let options = CrewOptions {
            example: "pipeline",
            prefix: prefix.into(),
            topics: vec!["requests", "orders", "charges", "payments", "settled"],
            sources: 1,
            roles: roles.into(),
            behind,
        };
        Self {
            crew: Crew::start(kafka, options).await,
            state,
            kafka: kafka.into(),
        }
    }

    /// Counts what is wrong at every moment; the services are stopped, the load may run.
    ///
    /// # Panics
    /// When the auditor cannot read the books.
    pub async fn look(&self) -> PipelineCount {
        self.count(Vec::new()).await
    }

    /// Counts when nothing moves any more, with what the load wrote down.
    ///
    /// # Panics
    /// When the auditor cannot read the books.
    pub async fn settle(&self) -> PipelineCount {
        let sent = self.crew.sent().display().to_string();
        self.count([settling(), vec!["--sent".into(), sent]].concat())
            .await
    }

    /// The same without what the load wrote down: for a world in which its records were put back too.
    ///
    /// # Panics
    /// When the auditor cannot read the books.
    pub async fn settle_without_load(&self) -> PipelineCount {
        self.count(settling()).await
    }

    /// Doubles every sum in the books of the stopped services and forgets what was joined.
    ///
    /// # Panics
    /// When a book cannot be written.
    pub async fn spoil(&self) {
        let state = ["--state".into(), self.state.display().to_string()];
        self.crew.ask("spoil", &state, &[]).await;
    }

    /// Copies offsets, topics and books, one after another, while the services run.
    ///
    /// # Panics
    /// When something cannot be read.
    pub async fn copy(&self) -> PipelineCopy {
        let (groups, topics) = (self.crew.groups(), self.crew.topics());
        let kafka = tokio::task::block_in_place(|| KafkaCopy::take(&self.kafka, &groups, &topics));
        let books = Run::this().part("naive-books").join("data");
        // Every service has its own backup, as it has its own database.
        for (service, _) in SERVICES {
            let [from, to] = [&self.state, &books].map(|at| at.join(service).display().to_string());
            let arguments = ["--state".into(), from, "--to".into(), to];
            self.crew.ask("backup", &arguments, &[]).await;
        }
        PipelineCopy { kafka, books }
    }

    /// Puts such a copy back, while the services are stopped.
    ///
    /// # Panics
    /// When something cannot be written.
    pub async fn put_back(&self, copy: &PipelineCopy) {
        copy.kafka.put_back().await;
        for (service, _) in SERVICES {
            let book = format!("{service}/book.db");
            std::fs::copy(copy.books.join(&book), self.state.join(&book))
                .expect("a stopped service's book can be replaced");
        }
    }

    async fn count(&self, more: Vec<String>) -> PipelineCount {
        let state = vec!["--state".into(), self.state.display().to_string()];
        let counted = self.crew.ask("count", &[state, more].concat(), &[]).await;
        serde_json::from_value(counted).expect("the auditor prints its count")
    }
}

/// A copy of the usual kind.
#[derive(Debug)]
pub struct PipelineCopy {
    kafka: KafkaCopy,
    books: PathBuf,
}

fn settling() -> Vec<String> {
    vec![
        "--settle-seconds".into(),
        SETTLE_DEADLINE.as_secs().to_string(),
    ]
}
