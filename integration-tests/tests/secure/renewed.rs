//! Sessions that end are renewed, by whoever began them, and no request is lost over it (KIP-368).

use std::time::{Duration, Instant};

use cutline_security::Security;
use cutline_wire::client::{Client, ClientOptions};
use integration_tests::{Sidecar, SidecarOptions};

use crate::cluster::{SHORT, cluster};

/// Three sessions' time.
const LONG: Duration = Duration::from_secs(6);
const STEP: Duration = Duration::from_millis(50);

fn anna() -> Security {
    let settings = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "SCRAM-SHA-256"),
        ("sasl.username", "anna"),
        ("sasl.password", "anna-secret"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Security::of(&settings.into()).unwrap()
}

/// Asks again and again, and repeats nothing that fails.
async fn asks_without_end(bootstrap: &str, security: Security) {
    let options = ClientOptions {
        security,
        ..ClientOptions::default()
    };
    let client = Client::connect(&[bootstrap.to_owned()], options)
        .await
        .unwrap();
    let begun = Instant::now();
    while begun.elapsed() < LONG {
        let after = begun.elapsed();
        let asked = client.topic_exists(&"no-such-topic".into()).await;
        assert!(
            asked.as_ref().is_ok_and(|exists| !exists) || is_denied(&asked),
            "after {after:?}: {asked:?}"
        );
        tokio::time::sleep(STEP).await;
    }
}

// That we may not see it is an answer too.
fn is_denied<T>(asked: &Result<T, cutline_wire::client::ClientError>) -> bool {
    matches!(asked, Err(cutline_wire::client::ClientError::Denied { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_end_are_renewed_without_a_lost_request() {
    let cluster = cluster().await;
    let short = cluster.kafka.listener(SHORT);
    let mut options = SidecarOptions::transparent(&short);
    let passing = Sidecar::start(&options).await;
    options.environment = [
        ("CUTLINE_KAFKA_SECURITY_PROTOCOL", "sasl_plaintext"),
        ("CUTLINE_KAFKA_SASL_MECHANISMS", "SCRAM-SHA-512"),
        ("CUTLINE_KAFKA_SASL_USERNAME", "anna"),
        ("CUTLINE_KAFKA_SASL_PASSWORD", "anna-secret"),
        ("CUTLINE_APP_SASL", "sidecar"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    let standing_in = Sidecar::start(&options).await;
    let (passing, standing_in) = (passing.bootstrap(), standing_in.bootstrap());
    tokio::join!(
        asks_without_end(&short, anna()),
        asks_without_end(&passing, anna()),
        asks_without_end(&standing_in, Security::default()),
    );
}
