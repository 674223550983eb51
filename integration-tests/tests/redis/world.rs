//! A Redis, a store, and keys that go from one to the other and back.

use cutline_model::{Capture, Epoch, Guarantee, Mode, PartRef, ProcessId, Scope, Timings};
use cutline_state::{Provider, StateError, parse_state_spec};
use cutline_store::{Manifest, Outcome, ProcessRecord, Repository, StoreSpec};
use integration_tests::{Redis, RedisOptions};
use jiff::Timestamp;

pub struct World {
    pub redis: Redis,
    pub repository: Repository,
    _root: tempfile::TempDir,
}

pub async fn world() -> World {
    world_of(&RedisOptions::default()).await
}

pub async fn world_of(options: &RedisOptions) -> World {
    let root = tempfile::tempdir().unwrap();
    let spec: StoreSpec = format!("file:{}", root.path().display()).parse().unwrap();
    World {
        redis: Redis::start(options).await,
        repository: Repository::open(spec.open().await.unwrap()).await.unwrap(),
        _root: root,
    }
}

impl World {
    /// The state with these options, `/0?prefix=bank:`.
    pub fn state(&self, options: &str) -> std::sync::Arc<dyn Provider> {
        let spec = format!("{}{options}", self.redis.url());
        parse_state_spec(&spec).unwrap().provider
    }

    pub async fn record(&self, epoch: u64, state: &dyn Provider) -> Result<PartRef, StateError> {
        let fixed = state.fix().await?;
        let process = bank();
        let writing = self
            .repository
            .part_writer(Epoch(epoch), &process, state.name());
        let mut part = writing.await?;
        fixed.copy(&mut part).await?;
        Ok(part.finish().await?)
    }

    /// Makes a part a checkpoint.
    pub async fn commit(&self, epoch: u64, part: &PartRef) {
        let epoch = Epoch(epoch);
        self.repository.claim_epoch(epoch, "test").await.unwrap();
        let mut manifest =
            Manifest::new(epoch, Outcome::Completed, Mode::Aligned, Timestamp::now());
        manifest.processes.push(ProcessRecord {
            process: bank(),
            sidecars: Vec::new(),
            capture: Capture::Commit,
            scope: Scope::Instance,
            guarantee: Guarantee::Consistent,
            unaligned: false,
            part: Some(part.clone()),
            timings: Timings::default(),
            async_ms: 0,
        });
        self.repository.decide(&manifest).await.unwrap();
    }

    pub async fn restore(&self, state: &dyn Provider, part: &PartRef) -> Result<(), StateError> {
        state
            .restore(&mut self.repository.part_reader(part).await?)
            .await
    }

    /// Runs commands, words separated by blanks; none may be answered with an error.
    pub async fn run(&self, commands: &[&str]) {
        for command in commands {
            let words: Vec<&str> = command.split(' ').collect();
            let answer = self.redis.command(&words).await;
            assert!(!is_error(&answer), "{command}: {answer}");
        }
    }

    /// The answer to one command, words separated by blanks.
    pub async fn ask(&self, command: &str) -> String {
        let words: Vec<&str> = command.split(' ').collect();
        self.redis.command(&words).await
    }

    /// Runs a script.
    pub async fn script(&self, text: &str) -> String {
        let answer = self.redis.command(&["EVAL", text, "0"]).await;
        assert!(!is_error(&answer), "{text}: {answer}");
        answer
    }

    /// What every key under `pattern` holds, of whatever type, as the server itself digests it; whether it expires is not in it.
    pub async fn contents(&self, pattern: &str) -> Vec<String> {
        let keys = self.ask(&format!("KEYS {pattern}")).await;
        let mut contents = Vec::new();
        for key in keys.lines().filter(|key| !key.is_empty()) {
            let digest = self.redis.command(&["DEBUG", "DIGEST-VALUE", key]).await;
            assert!(!is_error(&digest), "{digest}");
            contents.push(format!("{key} {digest}"));
        }
        contents.sort();
        contents
    }
}

pub fn bank() -> ProcessId {
    ProcessId {
        service: "bank".into(),
        instance: None,
    }
}

fn is_error(answer: &str) -> bool {
    ["ERR", "WRONGTYPE", "NOPERM", "NOAUTH", "OOM"]
        .iter()
        .any(|word| answer.starts_with(word))
}
