//! A receiver of traces that does not answer is told of once, and nobody waits for it.

use std::time::{Duration, Instant};

use integration_tests::{
    Admin, AdminOptions, Kafka, OtlpReceiver, Sidecar, SidecarOptions, checkpoints,
    topics::unique_name, wait_until,
};
use serde_json::Value;

use crate::lines;

const SOON: Duration = Duration::from_secs(30);
/// Longer than one attempt to send.
const ATTEMPT: Duration = Duration::from_secs(4);
/// What the end of a program may wait for spans.
const FLUSH_MAX: Duration = Duration::from_secs(5);
const CHECKPOINTS: usize = 3;
/// Shorter than one attempt to send: who waited for the receiver would take longer.
const CHECKPOINT_MAX_MS: u64 = 2_500;

const SILENT: &str = "traces cannot be sent; going on without";
const BACK: &str = "traces are sent again";

fn count(lines: &[Value], message: &str) -> usize {
    lines
        .iter()
        .filter(|line| line["message"] == message)
        .count()
}

#[tokio::test]
async fn a_receiver_that_hangs_is_told_of_once_and_slows_nothing_down() {
    let mut receiver = OtlpReceiver::start().await;
    receiver.process().freeze();
    let kafka = Kafka::shared().await.bootstrap();
    let deployment = unique_name("away");
    let endpoint = receiver.endpoint();
    let flags = ["--deployment", &deployment, "--otlp-endpoint", &endpoint];
    let mut admin = Admin::start(&AdminOptions {
        arguments: flags.map(str::to_owned).into(),
        ..AdminOptions::over(&kafka)
    })
    .await;
    let mut sidecar = Sidecar::start(&SidecarOptions {
        service: "quiet".into(),
        deployment: deployment.clone(),
        admin: Some(admin.url()),
        arguments: flags[2..].iter().map(|flag| (*flag).to_owned()).collect(),
        ..SidecarOptions::transparent(&kafka)
    })
    .await;
    wait_until(SOON, "the sidecar to be connected", || async {
        let (_, seen) = admin.get("/v1/sidecars").await;
        seen[0]["state"] == "connected"
    })
    .await;
    for _ in 0..CHECKPOINTS {
        let attempts = checkpoints::take(&admin, "aligned").await;
        let (_, last) = attempts.last_key_value().unwrap();
        assert_eq!(last["status"], "COMPLETED", "{attempts:?}");
        let took = last["duration_ms"].as_u64().unwrap();
        assert!(took < CHECKPOINT_MAX_MS, "{took} ms");
        // So that the spans of each are an attempt of their own.
        tokio::time::sleep(ATTEMPT).await;
    }
    let logs = [
        admin.process().log().to_owned(),
        sidecar.process().log().to_owned(),
    ];
    for log in &logs {
        let told = count(&lines::read(log), SILENT);
        assert_eq!(told, 1, "{}", log.display());
    }
    // It still hangs: what was not sent is not waited for, at the end either.
    let ending = Instant::now();
    assert!(sidecar.process().terminate());
    assert!(ending.elapsed() < FLUSH_MAX, "{:?}", ending.elapsed());

    receiver.process().thaw();
    let attempts = checkpoints::take(&admin, "aligned").await;
    assert!(!attempts.is_empty());
    wait_until(SOON, "the admin API to be heard again", || async {
        count(&lines::read(&logs[0]), BACK) == 1 && !receiver.spans().is_empty()
    })
    .await;
}
