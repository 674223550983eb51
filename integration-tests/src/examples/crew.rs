//! The services of an example in Python at work: their topics, a sidecar beside each or none, their load, their auditor.
//!
//! It promises that a service it stops has ended after the batch it was at. It promises nothing about what the services do: that is counted.

use std::{path::PathBuf, time::Duration};

use serde_json::Value;

use crate::{
    bank::Behind,
    binaries::{project_root, python},
    groups::wait_assigned,
    process::{Process, ProcessSpec},
    run::Run,
    sidecar::{Sidecar, SidecarOptions},
    topics::Topics,
};

/// Partitions of each topic.
pub const PARTITIONS: i32 = 4;

/// One service: a script of its own name, and a group of that name.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its name.
    pub name: &'static str,
    /// How many topics it reads.
    pub inputs: usize,
    /// What it is told with `--state`.
    pub place: String,
    /// What its sidecar is told with `--state`.
    pub spec: String,
}

/// What is at work.
#[derive(Clone, Debug)]
pub struct CrewOptions {
    /// The directory in `examples/bank` with the scripts.
    pub example: &'static str,
    /// What the names of topics and groups begin with.
    pub prefix: String,
    /// All topics, without the prefix.
    pub topics: Vec<&'static str>,
    /// How many of them, from the first, the load goes to.
    pub sources: usize,
    /// The services.
    pub roles: Vec<Role>,
    /// Behind sidecars, or directly at Kafka.
    pub behind: Option<Behind>,
}

/// The services and their load.
#[derive(Debug)]
pub struct Crew {
    options: CrewOptions,
    kafka: String,
    directory: PathBuf,
    load: Option<Process>,
    apps: Vec<Process>,
    sidecars: Vec<Sidecar>,
}

impl Crew {
    /// Makes the topics and starts every service.
    ///
    /// # Panics
    /// When a part does not come up.
    pub async fn start(kafka: &str, options: CrewOptions) -> Self {
        let mut crew = Self {
            directory: Run::this().part(options.example),
            kafka: kafka.into(),
            options,
            load: None,
            apps: Vec::new(),
            sidecars: Vec::new(),
        };
        for topic in crew.topics() {
            Topics::of(kafka).create(&topic, PARTITIONS).await;
        }
        for role in crew.options.roles.clone() {
            let bootstrap = crew.stand_before_kafka(&role).await;
            crew.apps.push(Process::start(crew.app(&role, &bootstrap)));
        }
        crew.wait_assigned().await;
        crew
    }

    /// Ends every service after the batch it is at; sidecars and load go on.
    ///
    /// # Panics
    /// When one does not end when asked: it may have been in the middle of a batch.
    pub fn stop(&mut self) {
        self.apps.iter().for_each(|app| app.signal("TERM"));
        for app in &mut self.apps {
            assert!(app.terminate(), "{} did not end when asked", app.name());
        }
    }

    /// Starts every service again as it was, and waits until each has its partitions.
    ///
    /// # Panics
    /// When one does not come up.
    pub async fn start_again(&mut self) {
        self.apps.iter_mut().for_each(Process::start_again);
        self.wait_assigned().await;
    }

    /// Starts the load, for `limit` at most.
    pub fn start_load(&mut self, records_per_second: u64, limit: Duration) {
        let sources = self.options.topics[..self.options.sources].join(",");
        let spec = self
            .script("load", "../python/load.py")
            .args(["--bootstrap", &self.kafka, "--topics", &sources])
            .args(["--rate", &records_per_second.to_string()])
            .args(["--seconds", &limit.as_secs().to_string(), "--sent"])
            .arg(self.sent());
        self.load = Some(Process::start(spec));
    }

    /// Ends the load; it writes down what it sent.
    ///
    /// # Panics
    /// When it ended badly.
    pub async fn stop_load(&mut self) {
        let load = self.load.take().expect("there is a load");
        load.signal("TERM");
        load.ended_well().await;
    }

    /// What the load wrote down when it ended.
    #[must_use]
    pub fn sent(&self) -> PathBuf {
        self.directory.join("sent.json")
    }

    /// The names of all topics.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        let topics = self.options.topics.iter();
        topics
            .map(|topic| format!("{}{topic}", self.options.prefix))
            .collect()
    }

    /// The name of each service's group.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        let roles = self.options.roles.iter();
        roles
            .map(|role| format!("{}{}", self.options.prefix, role.name))
            .collect()
    }

    /// How many offsets the topics have taken: records, and a few markers.
    #[must_use]
    pub fn appended(&self) -> i64 {
        Topics::of(&self.kafka).appended(&self.topics())
    }

    /// Waits until the topics have taken `records` more.
    pub async fn flow(&self, records: i64) {
        Topics::of(&self.kafka)
            .wait_appended(&self.topics(), records)
            .await;
    }

    /// Runs another script of the example to its end; the line of JSON it prints, null where it prints none.
    ///
    /// # Panics
    /// When it fails.
    pub async fn ask(
        &self,
        script: &str,
        arguments: &[String],
        secrets: &[(String, String)],
    ) -> Value {
        let mut command = tokio::process::Command::new(python());
        command
            .arg(project_root().join(format!(
                "examples/bank/{}/{script}.py",
                self.options.example
            )))
            .args(arguments)
            .envs(secrets.iter().map(|(name, value)| (name, value)))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .kill_on_drop(true);
        let output = command.output().await.expect("a script can be run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}.py {arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Starts the sidecar of a service where it has one; what the service takes for Kafka.
    async fn stand_before_kafka(&mut self, role: &Role) -> String {
        let Some(behind) = &self.options.behind else {
            return self.kafka.clone();
        };
        let mut environment = behind.environment.clone();
        // Not as a flag: it may hold a password.
        environment.push(("CUTLINE_STATE".into(), role.spec.clone()));
        let options = SidecarOptions {
            service: role.name.into(),
            deployment: behind.deployment.clone(),
            admin: behind.admin.clone(),
            environment,
            arguments: behind.arguments.clone(),
            ..SidecarOptions::transparent(&self.kafka)
        };
        let sidecar = Sidecar::start(&options).await;
        let bootstrap = sidecar.bootstrap();
        self.sidecars.push(sidecar);
        bootstrap
    }

    async fn wait_assigned(&self) {
        let each = usize::try_from(PARTITIONS).unwrap_or(0);
        for (role, group) in self.options.roles.iter().zip(self.groups()) {
            wait_assigned(&self.kafka, &group, 1, role.inputs * each).await;
        }
    }

    fn app(&self, role: &Role, bootstrap: &str) -> ProcessSpec {
        self.script(role.name, &format!("{}.py", role.name))
            .args(["--bootstrap", bootstrap])
            .env("BANK_STATE", &role.place)
    }

    fn script(&self, name: &str, path: &str) -> ProcessSpec {
        let directory = project_root().join(format!("examples/bank/{}", self.options.example));
        let log = self.directory.join(format!("{name}.log"));
        ProcessSpec::new(name, python(), log)
            .arg(directory.join(path))
            .args(["--prefix", &self.options.prefix])
            .args(["--partitions", &PARTITIONS.to_string()])
            .env("PYTHONDONTWRITEBYTECODE", "1")
    }
}
