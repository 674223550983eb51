//! A checkpoint and a rollback where everybody may do what is documented and nothing else; and what happens with one right less.

use std::time::{Duration, Instant};

use integration_tests::{
    Admin, AdminOptions, Sidecar, SidecarOptions, checkpoints, wait_for, wait_until,
};
use serde_json::{Value, json};

use crate::{
    app::{Billing, order},
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

    /// With `right` missing the program does not come up, and says so; with it everything goes on.
    async fn without(&mut self, right: &Right) {
        let begun = Instant::now();
        self.cluster.revoke(right).await;
        self.comes_up_without(right).await;
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
}

fn tells_of(text: &str, what: &str) -> bool {
    // Whoever may read or write may describe; what is asked first needs no more than that, and is what is missed.
    let less = what.replacen("WRITE on transactional", "DESCRIBE on transactional", 1);
    let mut lines = text.lines();
    lines.any(|line| line.contains("CL0611") && (line.contains(what) || line.contains(&less)))
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
async fn the_documented_acls_suffice_and_a_sidecar_names_what_it_cannot_be_without() {
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
    let own = |right: &&Right| right.user == "sidecar" && right.name.starts_with("__cutline");
    for right in rights.iter().filter(own) {
        world.without(right).await;
    }
}
