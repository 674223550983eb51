//! A checkpoint and a rollback where everybody may do what is documented and nothing else; and what happens with one right less.

use std::time::{Duration, Instant};

use integration_tests::{
    Admin, AdminOptions, Sidecar, SidecarOptions, checkpoints, wait_for, wait_until,
};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::{
    app::{Billing, order, settings},
    cluster::{Cluster, MUTUAL, Right, cluster},
    rights::{documented, named},
};

const DEADLINE: Duration = Duration::from_secs(60);
const ORDERS: usize = 10;

struct World {
    cluster: &'static Cluster,
    admin: Admin,
    sidecar: Sidecar,
    billing: Option<Billing>,
    epoch: u64,
}

fn environment(cluster: &Cluster, user: &str) -> Vec<(String, String)> {
    let certificates = &cluster.certificates;
    [
        ("DEPLOYMENT", "money".to_owned()),
        ("KAFKA_SECURITY_PROTOCOL", "sasl_ssl".to_owned()),
        ("KAFKA_SASL_MECHANISMS", "SCRAM-SHA-512".to_owned()),
        ("KAFKA_SASL_USERNAME", user.to_owned()),
        ("KAFKA_SASL_PASSWORD", format!("{user}-secret")),
        ("KAFKA_SSL_CA_LOCATION", cluster.ca()),
        (
            "KAFKA_SSL_CERTIFICATE_LOCATION",
            certificates.path("client.pem"),
        ),
        ("KAFKA_SSL_KEY_LOCATION", certificates.path("client.key")),
    ]
    .map(|(name, value)| (format!("CUTLINE_{name}"), value))
    .to_vec()
}

impl World {
    /// Comes up with every right, but for one that is granted when its lack was told of.
    async fn start(rights: &[Right]) -> Self {
        let cluster = cluster().await;
        for topic in ["orders", "invoices", "refunds"] {
            cluster.kafka.topics().create(topic, 1).await;
        }
        let own = [
            Right::new("billing", "Read", "topic", "orders"),
            Right::new("billing", "Write", "topic", "invoices"),
            Right::new("billing", "Read", "group", "billing"),
            Right::new("billing", "Write", "transactional-id", "billing-0"),
            Right::new("billing", "Write", "transactional-id", "billing-dead"),
        ];
        for right in rights.iter().chain(&own) {
            cluster.grant(right).await;
        }
        let mut over = AdminOptions::over(&cluster.kafka.listener(MUTUAL));
        over.environment = environment(cluster, "admin");
        over.arguments = ["--checkpoint-retries", "0"].map(str::to_owned).to_vec();
        let creates = rights
            .iter()
            .find(|right| right.operation == "Create")
            .unwrap();
        cluster.revoke(creates).await;
        let mut admin = Admin::launch(&over);
        told_in_log(admin.process(), creates).await;
        cluster.grant(creates).await;
        admin.wait_ready().await;
        let sidecar = Sidecar::start(&SidecarOptions {
            service: "billing".into(),
            deployment: "money".into(),
            admin: Some(admin.url()),
            environment: environment(cluster, "sidecar"),
            ..SidecarOptions::transparent(&cluster.kafka.listener(MUTUAL))
        })
        .await;
        let billing = Billing::start(&sidecar.bootstrap());
        let mut world = Self {
            cluster,
            admin,
            sidecar,
            billing: Some(billing),
            epoch: 0,
        };
        world.works().await;
        world
    }

    /// Orders come, and the application passes them on.
    async fn works(&mut self) {
        let billing = self.billing.as_ref().unwrap();
        let goal = billing.passed() + ORDERS as u64;
        let plain = self.cluster.kafka.bootstrap();
        let ordered = tokio::task::spawn_blocking(move || order(&plain, ORDERS));
        ordered.await.unwrap();
        wait_until(DEADLINE, "orders to be billed", || async {
            billing.passed() >= goal
        })
        .await;
        checkpoints::wait_connected(&self.admin, 1).await;
    }

    /// A checkpoint; whatever kept it from completing, until it does.
    async fn checkpoint(&mut self) {
        self.epoch = wait_for(DEADLINE, "a checkpoint", || async {
            let attempts = checkpoints::take(&self.admin, "aligned").await;
            let (epoch, detail) = attempts.last_key_value().unwrap();
            eprintln!(
                "checkpoint {epoch}: {} {}",
                detail["status"], detail["reason"]
            );
            (detail["status"] == "COMPLETED").then_some(*epoch)
        })
        .await;
    }

    async fn restore(&self) -> (u16, Value) {
        let request = json!({ "epoch": self.epoch, "safety_checkpoint": false });
        self.admin.post("/v1/restores", &request).await
    }

    async fn view(&self, id: &str) -> Value {
        self.admin.get(&format!("/v1/restores/{id}")).await.1
    }

    async fn over(&self, id: &str) -> Value {
        wait_for(DEADLINE, "the restore to be over", || async {
            let view = self.view(id).await;
            is_over(&view).then_some(view)
        })
        .await
    }

    /// With `right` missing something fails and says so; with it everything goes on.
    async fn without(&mut self, right: &Right) {
        let begun = Instant::now();
        self.cluster.revoke(right).await;
        if right.name.starts_with("__cutline") {
            self.comes_up_without(right).await;
        } else if !self.checkpoint_fails_without(right).await {
            self.restore_fails_without(right).await;
        }
        eprintln!(
            "{}: {} was told of after {:?}",
            right.user,
            named(right),
            begun.elapsed()
        );
    }

    async fn comes_up_without(&mut self, right: &Right) {
        let process = match right.user.as_str() {
            "admin" => self.admin.process(),
            _ => self.sidecar.process(),
        };
        process.kill();
        process.start_again();
        if right.user == "admin" {
            self.admin_tells_of(right).await;
        } else {
            told_in_log(process, right).await;
        }
        let process = match right.user.as_str() {
            "admin" => self.admin.process(),
            _ => self.sidecar.process(),
        };
        process.kill();
        self.cluster.grant(right).await;
        let process = match right.user.as_str() {
            "admin" => self.admin.process(),
            _ => self.sidecar.process(),
        };
        process.start_again();
        self.sidecar.wait_ready().await;
        self.admin.wait_ready().await;
        self.works().await;
    }

    /// In its log, or when it is asked for a checkpoint.
    async fn admin_tells_of(&mut self, right: &Right) {
        let what = named(right);
        let begun = Instant::now();
        while !tells_of(&self.admin.process().log_tail(30), &what) {
            assert!(begun.elapsed() < DEADLINE, "{what} is not told of");
            if self.admin.is_leading().await {
                let (status, answer) = self.admin.post("/v1/checkpoints", &json!({})).await;
                if status == 202 {
                    let attempts = checkpoints::follow(&self.admin, &answer).await;
                    if tells_of(&format!("{attempts:?}"), &what) {
                        return;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// True when a checkpoint fails, which says that `right` is missing.
    async fn checkpoint_fails_without(&mut self, right: &Right) -> bool {
        if right.user == "sidecar" && right.kind == "transactional-id" {
            // What began before the sidecar is looked at when it has just come up.
            self.sidecar.restart(true).await;
            checkpoints::wait_connected(&self.admin, 1).await;
        }
        let attempts = checkpoints::take(&self.admin, "aligned").await;
        let told = format!("{attempts:?}");
        if !told.contains(&named(right)) {
            eprintln!(
                "{}: a checkpoint can do without: {:?}",
                named(right),
                checkpoints::outcomes(&attempts)
            );
            return false;
        }
        assert!(told.contains("CL0611"), "{told}");
        self.cluster.grant(right).await;
        true
    }

    async fn restore_fails_without(&mut self, right: &Right) {
        match (right.kind.as_str(), right.operation.as_str()) {
            ("transactional-id", _) => self.dies_in_a_transaction().await,
            ("group", "Delete") => self.has_committed_more().await,
            _ => {}
        }
        let (status, answer) = self.restore().await;
        let mut told = answer.to_string();
        let id = (status == 202).then(|| answer["id"].as_str().unwrap().to_owned());
        if let Some(id) = &id {
            told = wait_for(
                DEADLINE,
                &format!("a restore to tell of {}", named(right)),
                || async {
                    let view = self.view(id).await;
                    let said = view.to_string();
                    (said.contains(&named(right)) || is_over(&view)).then_some(said)
                },
            )
            .await;
        }
        assert!(
            told.contains(&named(right)) && told.contains("CL0611"),
            "{right:?}: {status} {told}"
        );
        self.cluster.grant(right).await;
        if let Some(id) = id {
            self.over(&id).await;
        }
        if self.billing.is_none() {
            let (_, answer) = self.restore().await;
            if let Some(id) = answer["id"].as_str() {
                self.over(id).await;
            }
            self.billing = Some(Billing::start(&self.sidecar.bootstrap()));
        }
        self.works().await;
    }

    /// The application is gone in the middle of a transaction, and nobody is left to end it.
    async fn dies_in_a_transaction(&mut self) {
        self.billing = None;
        let config = settings(&self.sidecar.bootstrap(), "billing", "PLAIN")
            .set("transactional.id", "billing-dead")
            .set("transaction.timeout.ms", "600000")
            .clone();
        let died = tokio::task::spawn_blocking(move || {
            let producer: BaseProducer = config.create().unwrap();
            producer.init_transactions(DEADLINE).unwrap();
            producer.begin_transaction().unwrap();
            let record: BaseRecord<'_, str, str> = BaseRecord::to("invoices").payload("dead");
            producer.send(record).map_err(|(error, _)| error).unwrap();
            producer.flush(DEADLINE).unwrap();
        });
        died.await.unwrap();
        self.sidecar.restart(true).await;
        let connected = || async {
            let (_, all) = self.admin.get("/v1/sidecars").await;
            all[0]["state"] == "connected"
        };
        wait_until(DEADLINE, "the sidecar to be connected again", connected).await;
    }

    /// The group has committed what the checkpoint does not have.
    async fn has_committed_more(&mut self) {
        self.billing = None;
        let more = [(
            cutline_model::TopicPartition::new("refunds", 0),
            cutline_model::Offset(0),
        )];
        let boss = &self.cluster.boss;
        let committed = || async {
            boss.commit(&"billing".into(), &more.clone().into())
                .await
                .is_ok()
        };
        wait_until(DEADLINE, "the group to be empty", committed).await;
    }
}

fn tells_of(text: &str, what: &str) -> bool {
    let mut lines = text.lines();
    lines.any(|line| line.contains("CL0611") && line.contains(what))
}

fn is_over(view: &Value) -> bool {
    ["COMPLETED", "FAILED", "ABORTED"]
        .iter()
        .any(|word| view["status"] == *word)
}

async fn told_in_log(process: &mut integration_tests::Process, right: &Right) {
    let what = named(right);
    wait_until(
        DEADLINE,
        &format!("{} to tell of {what}", right.user),
        || {
            let log = process.log_tail(30);
            let told = tells_of(&log, &what);
            async move { told }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_acls_suffice_and_each_of_them_is_needed() {
    let rights = documented();
    let mut world = World::start(&rights).await;
    world.checkpoint().await;
    world.works().await;
    let billed = world.billing.as_ref().unwrap().passed();
    let (status, answer) = world.restore().await;
    assert_eq!(status, 202, "{answer}");
    let view = world.over(answer["id"].as_str().unwrap()).await;
    assert_eq!(view["status"], "COMPLETED", "{view}");
    let again = billed + ORDERS as u64;
    wait_until(DEADLINE, "what was rolled back to be billed again", || {
        let passed = world.billing.as_ref().unwrap().passed();
        async move { passed >= again }
    })
    .await;
    // Somebody outside has read orders: who would have to be looked at.
    let outside = [(
        cutline_model::TopicPartition::new("orders", 0),
        cutline_model::Offset(1),
    )];
    let boss = &world.cluster.boss;
    boss.commit(&"outsiders".into(), &outside.into())
        .await
        .unwrap();
    for right in rights.iter().filter(|right| right.operation != "Create") {
        world.without(right).await;
    }
}
