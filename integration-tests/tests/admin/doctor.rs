//! `cutline doctor` in front of set-ups that are broken on purpose, one after the other: it finds each, and names the cure.

use std::{fs, process::Output};

use integration_tests::{
    Admin, AdminOptions, Kafka, KafkaOptions, Run, Sidecar, SidecarOptions, Tokens,
    binaries::binary, ports::free_port, topics::unique_name, wait_for, wait_until,
};
use kafka_protocol::{
    messages::{CreateAclsRequest, create_acls_request::AclCreation},
    protocol::StrBytes,
};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions as Asking, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{Consumer, StreamConsumer},
    producer::{FutureProducer, FutureRecord},
};
use serde_json::Value;

use crate::{SOON, World};

/// Kafka's numbers for what an ACL is about.
const ACL_TRANSACTIONAL_ID: i8 = 5;
const ACL_LITERAL: i8 = 3;
const ACL_WRITE: i8 = 4;
const ACL_DENY: i8 = 2;

/// What `cutline doctor` says of the admin API at `url`, with these flags before it.
async fn doctor(url: &str, flags: &[&str]) -> (Output, Value) {
    let mut command = tokio::process::Command::new(binary("cutline"));
    command
        .args(flags)
        .args(["--admin", url, "-o", "json", "doctor"])
        .kill_on_drop(true);
    let done = command.output().await.expect("the command line can be run");
    let report = serde_json::from_slice(&done.stdout).expect("a report");
    (done, report)
}

/// The finding `id` that is not as it should be, when its cure has these words.
fn found<'a>(report: &'a Value, id: &str, cure: &str) -> Option<&'a Value> {
    let findings = report["findings"].as_array().expect("findings");
    findings.iter().find(|finding| {
        finding["id"] == id
            && (finding["verdict"] == "warn" || finding["verdict"] == "fail")
            && finding["cure"]
                .as_str()
                .is_some_and(|text| text.contains(cure))
    })
}

/// Waits until the doctor has found `id` with these words in its cure.
async fn finds(url: &str, id: &str, cure: &str) -> Value {
    wait_for(SOON, &format!("the doctor to find {id}"), || async {
        let (_, report) = doctor(url, &[]).await;
        found(&report, id, cure).cloned()
    })
    .await
}

#[tokio::test]
async fn an_address_that_leads_nowhere_is_told_from_one_that_leads_elsewhere() {
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let elsewhere = format!("http://{}", Kafka::shared().await.bootstrap());
    for (url, id, cure) in [
        (nobody.as_str(), "connection.address", "start cutline-admin"),
        (
            "http://admin.invalid:7070",
            "connection.name",
            "name service",
        ),
        (elsewhere.as_str(), "connection.answer", "correct"),
    ] {
        let (done, report) = doctor(url, &[]).await;
        assert_eq!(done.status.code(), Some(1), "{report}");
        assert!(found(&report, id, cure).is_some(), "{url}: {report:#}");
    }
}

#[tokio::test]
async fn a_token_that_is_missing_or_a_sidecars_is_told() {
    let mut tokens = Tokens::default();
    let file = tokens.make("s", "sidecar", &[]);
    let list = tokens.list().display().to_string();
    let deployment = unique_name("doctor");
    let options = AdminOptions {
        arguments: ["--deployment", &deployment, "--tokens", &list]
            .map(str::to_owned)
            .into(),
        ..AdminOptions::over(&Kafka::shared().await.bootstrap())
    };
    let admin = Admin::start(&options).await;
    let (_, report) = doctor(&admin.url(), &[]).await;
    assert!(
        found(&report, "connection.token", "--token-file").is_some(),
        "{report:#}"
    );
    let (_, report) = doctor(&admin.url(), &["--token-file", &file]).await;
    let role = "role viewer, operator or admin";
    assert!(
        found(&report, "connection.token", role).is_some(),
        "{report:#}"
    );
}

#[tokio::test]
async fn an_admin_api_that_cannot_start_says_what_it_waits_for() {
    let without_kafka = Admin::launch(&AdminOptions::over(&format!("127.0.0.1:{}", free_port())));
    let file = Run::this().part("doctor-store").join("file");
    fs::write(&file, "in the way").expect("it can be written");
    let without_store = Admin::launch(&AdminOptions {
        store: Some(format!("file:{}/store", file.display())),
        arguments: vec!["--deployment".to_owned(), unique_name("doctor")],
        ..AdminOptions::over(&Kafka::shared().await.bootstrap())
    });
    finds(
        &without_kafka.url(),
        "kafka.bootstrap",
        "nobody listens there",
    )
    .await;
    finds(&without_store.url(), "store.create", "correct --store").await;
}

#[tokio::test]
async fn what_kafka_denies_or_forgets_too_soon_is_named_with_what_to_set() {
    let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let properties = [
        ("authorizer.class.name", authorizer),
        ("allow.everyone.if.no.acl.found", "true"),
        ("offsets.retention.minutes", "60"),
    ];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let kafka = Kafka::start(KafkaOptions {
        properties: properties.into(),
        ..KafkaOptions::default()
    })
    .await;
    let deployment = unique_name("doctor");
    let admin = Admin::start(&AdminOptions {
        arguments: vec!["--deployment".to_owned(), deployment.clone()],
        ..AdminOptions::over(&kafka.bootstrap())
    })
    .await;
    let url = admin.url();
    finds(&url, "kafka.limits", "offsets.retention.minutes to 10080").await;
    let (_, report) = doctor(&url, &[]).await;
    assert!(
        found(&report, "kafka.transactions", "").is_none(),
        "{report:#}"
    );
    let id = format!("__cutline.{deployment}.diagnosis");
    deny_writing(&kafka, &id).await;
    let cure = format!("Write and Describe on TransactionalId {id}");
    finds(&url, "kafka.transactions", &cure).await;
}

async fn deny_writing(kafka: &Kafka, transactional_id: &str) {
    use cutline_wire::client::{Client, ClientOptions};
    let bootstrap = [kafka.bootstrap()];
    let client = Client::connect(&bootstrap, ClientOptions::default()).await;
    let client = client.expect("the broker runs");
    let acl = AclCreation::default()
        .with_resource_type(ACL_TRANSACTIONAL_ID)
        .with_resource_name(StrBytes::from_string(transactional_id.to_owned()))
        .with_resource_pattern_type(ACL_LITERAL)
        .with_principal(StrBytes::from_static_str("User:ANONYMOUS"))
        .with_host(StrBytes::from_static_str("*"))
        .with_operation(ACL_WRITE)
        .with_permission_type(ACL_DENY);
    let request = CreateAclsRequest::default().with_creations(vec![acl]);
    let made = client.call_any(&request).await.expect("an answer");
    assert!(
        made.results.iter().all(|one| one.error_code == 0),
        "{made:?}"
    );
}

#[tokio::test]
async fn each_thing_that_is_wrong_around_a_deployment_is_found_with_its_cure() {
    let redis = format!("redis://127.0.0.1:{}", free_port());
    // Long enough to be looked at before it is evicted.
    let flags = ["--sidecar-lost-timeout", "60s", "--redis", &redis];
    let world = World::start_with(&flags).await;
    let url = world.admin.url();
    // Nobody has checkpointed, scheduled or shown a token yet: all of it is warned of, and nothing fails.
    finds(&url, "checkpoints.schedule", "cutline schedule set").await;
    finds(&url, "checkpoints.recent", "cutline checkpoint create").await;
    finds(&url, "redis.answers", "CUTLINE_REDIS").await;
    // The members of a group are known a moment after they joined.
    wait_until(SOON, "the doctor to find nothing that fails", || async {
        doctor(&url, &[]).await.0.status.success()
    })
    .await;
    let strict = world.admin.cutline(&["doctor", "--strict"]).await;
    assert_eq!(strict.status.code(), Some(1), "{strict:?}");
    world.completed().await;
    sidecars_that_are_not_well(&world).await;
    traffic_past_the_sidecars(&world).await;
    topics_that_forget(&world).await;
    a_store_that_takes_nothing(&world).await;
    another_admin_api(&world).await;
}

async fn sidecars_that_are_not_well(world: &World) {
    let url = world.admin.url();
    let options = |service: &str, instance: &str| SidecarOptions {
        service: service.to_owned(),
        instance: instance.to_owned(),
        deployment: world.deployment.clone(),
        admin: Some(url.clone()),
        ..SidecarOptions::transparent(&world.kafka.bootstrap())
    };
    let mut lonely = Sidecar::start(&options("lonely", "0")).await;
    let finding = finds(&url, "sidecars.application", &lonely.bootstrap()).await;
    assert_eq!(finding["subject"], "lonely/0");
    let hook = format!("hook=http://127.0.0.1:{}", free_port());
    let mut unlike = Sidecar::start(&SidecarOptions {
        capture: Some(hook),
        ..options("relay", "1")
    })
    .await;
    finds(&url, "sidecars.alike", "the same --capture and --state").await;
    lonely.process().kill();
    let finding = finds(&url, "sidecars.standing", "cutline sidecars evict lonely/0").await;
    assert_eq!(finding["subject"], "lonely/0");
    let evicted = world
        .admin
        .cutline(&["sidecars", "evict", "lonely/0"])
        .await;
    assert!(evicted.status.success(), "{evicted:?}");
    unlike.process().terminate();
    let state = Run::this().part("doctor-state").join("state");
    fs::create_dir_all(&state).expect("a directory can be made");
    let mut idle = Sidecar::start(&SidecarOptions {
        state: vec![format!("dir:{}?scope=service", state.display())],
        ..options("ledger", "0")
    })
    .await;
    idle.process().terminate();
    let finding = finds(&url, "services.idle", "start an instance").await;
    assert_eq!(finding["subject"], "ledger");
}

async fn traffic_past_the_sidecars(world: &World) {
    let url = world.admin.url();
    let (_, topology) = world.admin.get("/v1/topology").await;
    let group = topology["groups"][0]["group"].as_str().expect("a group");
    let topics = topology["topics"].as_array().expect("topics");
    let named = |role: &str| {
        let topic = topics.iter().find(|topic| topic[role][0] == "relay");
        topic.expect("the relay's topics")["topic"]
            .as_str()
            .expect("a name")
    };
    let (input, output) = (named("readers"), named("writers"));
    let outside: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", world.kafka.bootstrap())
        .set("group.id", group)
        .set("client.id", "a-tool")
        .create()
        .expect("a client needs a bootstrap only");
    outside.subscribe(&[input]).expect("a topic's name");
    let look = async {
        let finding = finds(&url, "traffic.members", "bootstrap.servers of a sidecar").await;
        assert!(finding["what"].to_string().contains("a-tool"), "{finding}");
    };
    let polling = async {
        loop {
            // Records are not wanted; polling is what makes it a member.
            let _ = outside.recv().await;
        }
    };
    tokio::select! {
        () = look => {}
        _ = polling => {}
    }
    drop(outside);
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", world.kafka.bootstrap())
        .set("enable.idempotence", "true")
        .create()
        .expect("a client needs a bootstrap only");
    let record = FutureRecord::<[u8], [u8]>::to(output).payload(b"past the sidecar");
    producer.send(record, SOON).await.expect("the broker runs");
    let finding = finds(&url, "traffic.producers", "a topic of their own").await;
    assert_eq!(finding["subject"], output);
}

async fn topics_that_forget(world: &World) {
    let url = world.admin.url();
    let (_, topology) = world.admin.get("/v1/topology").await;
    let topics = topology["topics"].as_array().expect("topics");
    let output = topics.iter().find(|topic| topic["writers"][0] == "relay");
    let output = output.expect("the relay writes")["topic"]
        .as_str()
        .expect("a name");
    set(world.kafka, output, "retention.ms", "1").await;
    let finding = finds(&url, "topics.retention", "retention.ms=").await;
    assert_eq!(finding["subject"], output);
    let control = format!("__cutline.{}", world.deployment);
    set(world.kafka, &control, "cleanup.policy", "delete").await;
    finds(&url, "control.topic", "cleanup.policy=compact").await;
    set(world.kafka, &control, "cleanup.policy", "compact").await;
}

async fn set(kafka: &Kafka, topic: &str, key: &str, value: &str) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .create()
        .expect("a client needs a bootstrap only");
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, value);
    let altered = admin.alter_configs([&change], &Asking::new()).await;
    for one in altered.expect("the broker runs") {
        one.expect("the topic can be configured");
    }
}

async fn a_store_that_takes_nothing(world: &World) {
    let probes = world.admin.store().join("probes");
    // Root may write anywhere: what stops it as well is a file where a directory should be.
    let _ = fs::remove_dir_all(&probes);
    fs::write(&probes, "in the way").expect("it can be written");
    let finding = finds(&world.admin.url(), "store.create", "may write there").await;
    assert_eq!(finding["verdict"], "fail");
    fs::remove_file(&probes).expect("it can be removed");
}

async fn another_admin_api(world: &World) {
    let (_process, url) = world.second(&world.deployment);
    finds(&url, "control.leader", "127.0.0.1").await;
    let (_, report) = doctor(&url, &[]).await;
    let skipped = report["findings"].as_array().expect("findings").iter();
    let mut skipped = skipped.filter(|finding| finding["verdict"] == "skipped");
    assert!(
        skipped.any(|finding| finding["id"] == "sidecars.standing"),
        "{report:#}"
    );
}
