//! What happens, in order: the README's commands, a look at everything that runs, the other admin API takes over, an application of
//! one's own gets a sidecar, the count.

use std::time::Duration;

use integration_tests::{
    BankOptions, Docker, Narrator, Verdict,
    bank::{Count, count_without_orders},
    checkpoints::at_work,
    readme, wait_for, wait_until,
};
use serde_json::Value;

/// Where the README has its commands.
const BEGIN: &str = "In containers";
/// How many records pass before each step.
const FLOW: f64 = 500.0;
const FLOW_DEADLINE: Duration = Duration::from_secs(120);
/// How long containers may take to be well, sidecars to be at work, an admin API to take over.
const CONTAINERS_DEADLINE: Duration = Duration::from_secs(120);
/// How long the count may wait until nothing moves.
const SETTLE_DEADLINE: Duration = Duration::from_secs(60);
const SIDECARS: &str = "docker compose run --rm cutline -o json sidecars";
const PROMETHEUS: &str = "http://127.0.0.1:9090/api/v1/query?query=";
/// What Prometheus looks at while there is no application of one's own.
const TARGETS: f64 = 4.0;
/// What everything starts and leaves.
const EVERYTHING: [&str; 4] = ["--profile", "app", "--profile", "tools"];

/// Docker and what is in it.
pub struct Story {
    narrator: Narrator,
    docker: Docker,
}

/// What became of it.
pub struct Outcome {
    count: Count,
    took_over: bool,
    own_application: bool,
}

impl Story {
    /// A Docker with the images that ours are built on.
    pub async fn begin() -> Self {
        let narrator = Narrator::default();
        narrator.say("Docker: starting; its first time on a machine takes ten minutes more");
        let story = Self {
            docker: Docker::start().await,
            narrator,
        };
        story.narrator.say("Docker is up");
        // What a run that was killed left there.
        story.clear();
        story
    }

    /// Everything else.
    pub async fn tell(self) -> Outcome {
        self.follow_the_readme().await;
        self.wait_well().await;
        self.narrator
            .say("everything is well, and Prometheus sees it");
        let took_over = self.take_over().await;
        let own_application = self.add_an_application().await;
        self.done("docker compose stop load");
        let count = self.count().await;
        let (expected, after) = (count.total_expected, count.total_after);
        self.narrator.say(&format!(
            "counted {} records: {after} coins of {expected}",
            count.records
        ));
        self.clear();
        Outcome {
            count,
            took_over,
            own_application,
        }
    }

    /// Its commands, word for word; before and after a rollback there is something to roll back.
    async fn follow_the_readme(&self) {
        for command in readme::commands(BEGIN) {
            let rolls_back = command.contains("restore create");
            if rolls_back {
                self.flow().await;
            }
            self.done(&command);
            self.narrator.say(&command);
            if rolls_back {
                self.flow().await;
            }
        }
    }

    /// Waits until every container is, both banks are at work, and Prometheus reaches all.
    async fn wait_well(&self) {
        wait_until(CONTAINERS_DEADLINE, "containers to be well", || async {
            let listed = self.json("docker compose ps --all --format json");
            let ill = listed.iter().any(|container| match &container["Health"] {
                Value::String(health) if !health.is_empty() => health != "healthy",
                _ => container["State"] != "running" && container["ExitCode"] != 0,
            });
            !listed.is_empty() && !ill
        })
        .await;
        self.done(SIDECARS);
        wait_until(CONTAINERS_DEADLINE, "both banks at work", || async {
            at_work(&self.sidecars()) == 2
        })
        .await;
        wait_until(CONTAINERS_DEADLINE, "Prometheus to reach all", || async {
            self.asked("sum(up)") == Some(TARGETS)
        })
        .await;
    }

    /// The admin API that leads goes, and comes back when the other one has done its work.
    async fn take_over(&self) -> bool {
        self.done("docker compose stop admin");
        let taken = wait_for(CONTAINERS_DEADLINE, "the standby to take over", || async {
            let taken = "docker compose run --rm cutline -o json checkpoint create --wait";
            self.run(taken).ok()
        })
        .await;
        self.done("docker compose start admin");
        self.narrator
            .say("the standby took over, and took a checkpoint");
        lines(&taken).last().is_some_and(completed)
    }

    /// A sidecar for an application that is not ours, which takes part in a checkpoint.
    async fn add_an_application(&self) -> bool {
        self.done("docker compose --profile app up --build --wait");
        wait_until(CONTAINERS_DEADLINE, "three sidecars", || async {
            let seen = self.sidecars();
            let seen = seen.as_array().into_iter().flatten();
            seen.filter(|sidecar| sidecar["state"] == "connected")
                .count()
                == 3
        })
        .await;
        let taken = self.json("docker compose run --rm cutline -o json checkpoint create --wait");
        self.narrator
            .say("an application of one's own has a sidecar");
        taken.last().is_some_and(completed)
    }

    async fn count(&self) -> Count {
        let states = ["bank-a", "bank-b"].map(|bank| {
            let state = self.docker.volume(bank).join("state");
            state.display().to_string()
        });
        count_without_orders(states, BankOptions::default().partitions, SETTLE_DEADLINE).await
    }

    /// Waits until records were delivered, as Prometheus tells.
    async fn flow(&self) {
        let delivered = || self.asked("sum(cutline_records_delivered_total)");
        let begun = wait_for(FLOW_DEADLINE, "records", || async { delivered() }).await;
        wait_until(FLOW_DEADLINE, "records to flow", || async {
            delivered().is_some_and(|now| now >= begun + FLOW)
        })
        .await;
    }

    /// The value of an expression, where there is one.
    fn asked(&self, expression: &str) -> Option<f64> {
        let page = self
            .docker
            .page(&format!("{PROMETHEUS}{expression}"))
            .ok()?;
        let answer: Value = serde_json::from_str(&page).ok()?;
        answer["data"]["result"][0]["value"][1]
            .as_str()?
            .parse()
            .ok()
    }

    /// Ends everything, volumes too.
    fn clear(&self) {
        let down = ["docker", "compose"].into_iter().chain(EVERYTHING);
        let down: Vec<&str> = down.chain(["down", "--volumes"]).collect();
        let cleared = self.docker.run(&down);
        cleared.unwrap_or_else(|complaint| panic!("down: {complaint}"));
    }

    /// All that the admin API knows of, or nothing where none leads.
    fn sidecars(&self) -> Value {
        self.json(SIDECARS).into_iter().next().unwrap_or_default()
    }

    fn done(&self, command: &str) {
        self.run(command).unwrap_or_else(|complaint| {
            let logs = self.run("docker compose logs --no-color --tail 10");
            panic!(
                "{command}: {complaint}\n{}",
                logs.unwrap_or_else(|none| none)
            )
        });
    }

    fn json(&self, command: &str) -> Vec<Value> {
        self.run(command)
            .map(|text| lines(&text))
            .unwrap_or_default()
    }

    fn run(&self, command: &str) -> Result<String, String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        self.docker.run(&words)
    }
}

/// The values in a text, one after another.
fn lines(text: &str) -> Vec<Value> {
    let values = serde_json::Deserializer::from_str(text).into_iter();
    values.map_while(Result::ok).collect()
}

fn completed(taken: &Value) -> bool {
    taken["status"] == "COMPLETED"
}

impl Verdict for Outcome {
    /// The money is there, and everything was done.
    fn is_right(&self) -> bool {
        self.count.is_right() && self.took_over && self.own_application
    }

    fn line(&self) -> String {
        let mut line = serde_json::json!(self.count);
        line["took_over"] = self.took_over.into();
        line["own_application"] = self.own_application.into();
        line.to_string()
    }
}
