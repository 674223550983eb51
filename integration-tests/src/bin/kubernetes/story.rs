//! What happens, in order: a cluster, Cutline in it, the bank in pods with injected sidecars, a checkpoint, a rollback, the count.

use std::time::Duration;

use integration_tests::{
    BankOptions, Kafka, KafkaOptions, Kubernetes, Narrator, Process, Redis, RedisOptions, Run,
    Verdict,
    apart::HOST,
    bank::{Count, count_without_orders, load, topic_names},
    binaries::project_root,
    kafka::Listener,
    wait_until,
};
use serde_json::Value;

use crate::{
    order::{self, Order},
    release::{self, Release},
};

/// The listener of Kafka that pods reach.
const PODS: &str = "PODS";
const PASSWORD: &str = "of-this-run";
/// Into both banks together.
const ORDERS_PER_SECOND: u64 = 200;
const LOAD_TIME_MAX: Duration = Duration::from_secs(600);
/// How many records pass before each step.
const FLOW: i64 = 3_000;
/// How long pods may take to come, to work, or to go.
const PODS_DEADLINE: Duration = Duration::from_secs(120);
/// How long the count may wait until nothing moves.
const SETTLE_DEADLINE: Duration = Duration::from_secs(60);

/// The cluster and what is in it.
pub struct Story {
    narrator: Narrator,
    kubernetes: Kubernetes,
    kafka: Kafka,
    redis: Redis,
}

/// What became of it.
pub struct Outcome {
    count: Count,
    took_over: bool,
    orders: Vec<Order>,
}

impl Story {
    /// The cluster, and a Kafka and a Redis beside it.
    pub async fn begin() -> Self {
        let narrator = Narrator::default();
        narrator.say("Kubernetes: starting; its first time on a machine takes ten minutes more");
        let kubernetes = Kubernetes::start().await;
        let listener = Listener {
            name: PODS.into(),
            protocol: "PLAINTEXT",
            host: HOST,
            properties: Vec::new(),
        };
        let options = KafkaOptions {
            listeners: vec![listener],
            ..KafkaOptions::default()
        };
        let kafka = Kafka::start(options).await;
        for topic in topic_names("") {
            let partitions = BankOptions::default().partitions;
            kafka.topics().create(&topic, partitions).await;
        }
        let redis = Redis::start(&RedisOptions {
            password: Some(PASSWORD.into()),
            arguments: ["--bind", "127.0.0.1", HOST].map(str::to_owned).to_vec(),
        })
        .await;
        let story = Self {
            narrator,
            kubernetes,
            kafka,
            redis,
        };
        story
            .narrator
            .say("Kubernetes is up, and Kafka and Redis beside it");
        story
    }

    /// Everything else.
    pub async fn tell(mut self) -> Outcome {
        let watched = ["get", "pods", "--watch", "--output", "json"];
        let watching = self.kubernetes.kubectl_beside("pods", &watched);
        let kafka = self.kafka.listener(PODS);
        let redis = format!("redis://:{PASSWORD}@{HOST}:{}", self.redis.port());
        let mut release = Release::install(&self.kubernetes, &kafka, &redis).await;
        self.narrator
            .say("the chart is installed, and helm test passed");
        self.deploy_banks(&kafka).await;
        release.wait_at_work(2, PODS_DEADLINE).await;
        let load = self.start_load();
        self.narrator
            .say("both banks work in pods, each behind an injected sidecar");
        self.go_there_and_back(&release).await;
        let took_over = release.kill_leader(&self.kubernetes).await;
        release.wait_at_work(2, PODS_DEADLINE).await;
        let taken = self.completed(&release, &["checkpoint", "create"]).await;
        self.narrator.say(&format!(
            "the other admin API leads, and took checkpoint {}",
            taken["epoch"]
        ));
        load.signal("TERM");
        load.ended_well().await;
        let count = self.count().await;
        let (expected, after) = (count.total_expected, count.total_after);
        self.narrator.say(&format!(
            "counted {} records: {after} coins of {expected}",
            count.records
        ));
        let orders = self.end_the_pods(&watching).await;
        Outcome {
            count,
            took_over,
            orders,
        }
    }

    /// A checkpoint, and a rollback to it after more has happened.
    async fn go_there_and_back(&mut self, release: &Release) {
        self.flow().await;
        let taken = self.completed(release, &["checkpoint", "create"]).await;
        let epoch = taken["epoch"].to_string();
        self.narrator
            .say(&format!("checkpoint {epoch} is COMPLETED"));
        self.flow().await;
        self.completed(release, &["restore", "create", &epoch])
            .await;
        self.narrator.say("both banks are back at it");
        self.flow().await;
    }

    /// Has the command line do something and waits for its end.
    async fn completed(&self, release: &Release, verb: &[&str]) -> Value {
        let answer = release.asked(&[verb, &["--wait"]].concat()).await;
        let answer = answer.unwrap_or_else(|complaint| {
            panic!(
                "{verb:?}: {complaint}\n{}",
                release::troubles(&self.kubernetes)
            )
        });
        assert_eq!(answer["status"], "COMPLETED", "{verb:?}: {answer}");
        answer
    }

    async fn deploy_banks(&self, kafka: &str) {
        let template = project_root().join("integration-tests/deploy/kubernetes/bank.yaml");
        let template = std::fs::read_to_string(template).expect("the template is there");
        for (bank, arguments) in [("a", "[serve]"), ("b", "[]")] {
            let volume = self.kubernetes.volume(&format!("bank-{bank}"));
            let manifest = template
                .replace("@BANK@", bank)
                .replace("@ARGUMENTS@", arguments)
                .replace("@KAFKA@", kafka)
                .replace(
                    "@STATE@",
                    &volume
                        .parent()
                        .expect("a volume lies among others")
                        .display()
                        .to_string(),
                );
            self.kubernetes
                .apply(&format!("bank-{bank}.yaml"), &manifest);
        }
        for bank in ["deployment/bank-a", "deployment/bank-b"] {
            let rolled = self
                .kubernetes
                .kubectl(&["rollout", "status", bank, "--timeout", "120s"]);
            rolled.unwrap_or_else(|complaint| {
                panic!(
                    "{bank}: {complaint}\n{}",
                    release::troubles(&self.kubernetes)
                )
            });
        }
    }

    /// Ends both banks' pods, as a rollout would, and tells in which order their containers came and went.
    async fn end_the_pods(&self, watching: &Process) -> Vec<Order> {
        let names = self.kubernetes.kubectl(&[
            "get",
            "pods",
            "--selector",
            "app.kubernetes.io/name in (bank-a, bank-b)",
            "--output",
            "name",
        ]);
        let names = names.expect("pods are listed");
        let names: Vec<&str> = names
            .lines()
            .filter_map(|line| line.strip_prefix("pod/"))
            .collect();
        assert_eq!(names.len(), 2, "{names:?}");
        let deleted = self
            .kubernetes
            .kubectl(&[&["delete", "pod", "--timeout", "120s"], &names[..]].concat());
        deleted.expect("pods end");
        let seen = || std::fs::read(watching.log()).unwrap_or_default();
        let orders = || {
            names
                .iter()
                .map(|name| order::of(&seen(), name))
                .collect::<Vec<_>>()
        };
        // What the API server knows the watch tells a moment later.
        wait_until(PODS_DEADLINE, "the end of the pods to be seen", || {
            let ended = orders().iter().all(|order| order.sidecar_last);
            async move { ended }
        })
        .await;
        self.narrator.say("the pods have ended");
        orders()
    }

    fn start_load(&self) -> Process {
        let directory = Run::this().part("load");
        let (kafka, options) = (self.kafka.bootstrap(), BankOptions::default());
        Process::start(load(
            &kafka,
            &options,
            ORDERS_PER_SECOND,
            LOAD_TIME_MAX,
            &directory,
        ))
    }

    async fn flow(&self) {
        let topics = topic_names("");
        self.kafka.topics().wait_appended(&topics, FLOW).await;
    }

    /// The load was rolled back with the rest, so its own word of what it sent does not count.
    async fn count(&self) -> Count {
        let states = ["a", "b"].map(|bank| {
            let volume = self.kubernetes.volume(&format!("bank-{bank}"));
            volume.join("state").display().to_string()
        });
        count_without_orders(states, BankOptions::default().partitions, SETTLE_DEADLINE).await
    }
}

impl Verdict for Outcome {
    /// The money is there, the one that stood by took over, and the containers kept their order.
    fn is_right(&self) -> bool {
        let kept = |order: &Order| order.sidecar_first && order.sidecar_last;
        self.count.is_right() && self.took_over && self.orders.iter().all(kept)
    }

    fn line(&self) -> String {
        let all = |kept: fn(&Order) -> bool| self.orders.iter().all(kept);
        let mut line = serde_json::json!(self.count);
        line["took_over"] = self.took_over.into();
        line["sidecar_first"] = all(|order| order.sidecar_first).into();
        line["sidecar_last"] = all(|order| order.sidecar_last).into();
        line.to_string()
    }
}
