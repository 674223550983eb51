//! A deployment in which everybody may do what is documented and nothing else: an admin API, a sidecar, and an application behind it.
//!
//! It grants and takes away, and knows of no right what it is for.

use std::time::Duration;

use integration_tests::{
    Admin, AdminOptions, Sidecar, SidecarOptions, checkpoints, restores, wait_until,
};
use serde_json::{Value, json};

use crate::{
    app::{Billing, order, stranger},
    cluster::{Cluster, MUTUAL, Right},
    rights::named,
};

pub const DEADLINE: Duration = Duration::from_secs(60);
pub const ORDERS: usize = 10;

pub struct World {
    pub cluster: Cluster,
    pub admin: Admin,
    pub sidecar: Sidecar,
    pub billing: Option<Billing>,
    pub epoch: u64,
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
    pub async fn start(rights: &[Right]) -> Self {
        // Of its own: what one world may no longer do, others still may.
        let cluster = Cluster::start().await;
        for topic in ["orders", "invoices", "refunds"] {
            cluster.kafka.topics().create(topic, 1).await;
        }
        let plain = cluster.kafka.bootstrap();
        let committed = tokio::task::spawn_blocking(move || stranger(&plain));
        committed.await.unwrap();
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
        over.environment = environment(&cluster, "admin");
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
            environment: environment(&cluster, "sidecar"),
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
    pub async fn works(&mut self) {
        self.works_on(0).await;
    }

    /// The application commits something that no checkpoint knows: a partition that was added since.
    pub async fn reads_what_was_added(&mut self) {
        self.cluster.kafka.topics().grow("orders", 2).await;
        self.works_on(1).await;
    }

    async fn works_on(&mut self, partition: i32) {
        let billing = self.billing.as_ref().unwrap();
        let goal = billing.passed() + ORDERS as u64;
        let plain = self.cluster.kafka.bootstrap();
        let ordered = tokio::task::spawn_blocking(move || order(&plain, partition, ORDERS));
        ordered.await.unwrap();
        wait_until(DEADLINE, "orders to be billed", || async {
            billing.passed() >= goal
        })
        .await;
        checkpoints::wait_connected(&self.admin, 1).await;
    }

    /// A checkpoint; whatever kept it from completing, until it does.
    pub async fn checkpoint(&mut self) {
        self.epoch = checkpoints::completed(&self.admin, "aligned", DEADLINE).await;
    }

    pub async fn restore(&self) -> (u16, Value) {
        let request = json!({ "epoch": self.epoch, "safety_checkpoint": false });
        self.admin.post("/v1/restores", &request).await
    }

    pub async fn view(&self, id: &str) -> Value {
        self.admin.get(&format!("/v1/restores/{id}")).await.1
    }

    pub async fn over(&self, id: &str) -> Value {
        restores::ended(&self.admin, id, DEADLINE).await
    }
}

async fn told_in_log(process: &mut integration_tests::Process, right: &Right) {
    let what = named(right);
    wait_until(
        DEADLINE,
        &format!("{} to tell of {what}", right.user),
        || {
            let log = process.log_tail(30);
            let mut lines = log.lines();
            let told = lines.any(|line| line.contains("CL0611") && line.contains(&what));
            async move { told }
        },
    )
    .await;
}
