//! Whatever keeps a program and a broker from believing each other is an error that says what it is, at once.

use std::time::{Duration, Instant};

use integration_tests::{
    Admin, AdminOptions, Sidecar, SidecarOptions, http, topics::unique_name, wait_until,
};

use crate::cluster::{ELSEWHERE, EXPIRED, SASL, TLS, cluster};

const SOON: Duration = Duration::from_secs(30);

/// Listener, settings, and what has to be said.
async fn cases() -> Vec<(&'static str, Vec<(&'static str, String)>, &'static str)> {
    let cluster = cluster().await;
    let tls = |ca: String| {
        vec![
            ("SECURITY_PROTOCOL", "ssl".to_owned()),
            ("SSL_CA_LOCATION", ca),
        ]
    };
    let ours = || tls(cluster.ca());
    let password = |mechanism: &str, password: &str| {
        vec![
            ("SECURITY_PROTOCOL", "sasl_plaintext".to_owned()),
            ("SASL_MECHANISM", mechanism.to_owned()),
            ("SASL_USERNAME", "sidecar".to_owned()),
            ("SASL_PASSWORD", password.to_owned()),
        ]
    };
    vec![
        (SASL, password("PLAIN", "hunter2"), "CL0610"),
        (
            SASL,
            password("SCRAM-SHA-512", "hunter2"),
            "invalid credentials",
        ),
        (
            TLS,
            tls(cluster.certificates.path("strangers.pem")),
            "signed by nobody who is believed",
        ),
        (TLS, ours(), "asks for a certificate"),
        (SASL, ours(), "does not speak TLS (CL0601)"),
        (
            TLS,
            Vec::new(),
            "kafka.security.protocol is plaintext: is that what this listener expects?",
        ),
        (EXPIRED, ours(), "certificate expired at 2021-01-01"),
        (
            ELSEWHERE,
            ours(),
            "is for elsewhere.example, not for 127.0.0.1",
        ),
    ]
}

fn environment(settings: &[(&'static str, String)]) -> Vec<(String, String)> {
    let settings = settings.iter();
    settings
        .map(|(name, value)| (format!("CUTLINE_KAFKA_{name}"), value.clone()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_is_not_believed_ends_and_says_why() {
    let cluster = cluster().await;
    for (listener, settings, says) in cases().await {
        let mut options = SidecarOptions::transparent(&cluster.kafka.listener(listener));
        options.admin = Some("http://127.0.0.1:1".to_owned());
        options.environment = environment(&settings);
        let mut sidecar = Sidecar::launch(&options);
        let begun = Instant::now();
        wait_until(SOON, &format!("the sidecar to say {says}"), || {
            let ended = sidecar.process().exit_status().is_some();
            async move { ended }
        })
        .await;
        let log = sidecar.process().log_tail(5);
        assert!(log.contains(says), "{listener}, {says}: {log}");
        assert!(!log.contains("hunter2"), "{log}");
        eprintln!("{says}: said after {:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_api_that_is_not_believed_says_why_to_whoever_asks() {
    let cluster = cluster().await;
    for (listener, settings, says) in cases().await {
        let mut options = AdminOptions::over(&cluster.kafka.listener(listener));
        options.environment = environment(&settings);
        options
            .environment
            .push(("CUTLINE_DEPLOYMENT".to_owned(), unique_name("refused")));
        let admin = &Admin::launch(&options);
        wait_until(
            SOON,
            &format!("the admin API to say {says}"),
            || async move {
                let asked = http::get(format!("{}/readyz", admin.url())).send().await;
                let Ok(answer) = asked else { return false };
                answer.text().await.unwrap().contains(says)
            },
        )
        .await;
    }
}
