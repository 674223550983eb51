//! Applications are to the broker who they are, whatever they show and however the sidecar reaches it.

use integration_tests::{Sidecar, SidecarOptions, topics::unique_name};
use rdkafka::error::RDKafkaErrorCode;

use crate::{
    app::produce,
    cluster::{Cluster, MUTUAL, Right, SASL, cluster},
};

async fn topic_of(cluster: &Cluster, user: &str) -> String {
    let topic = unique_name("named");
    cluster.kafka.topics().create(&topic, 1).await;
    cluster
        .grant(&Right::new(user, "Write", "topic", &topic))
        .await;
    topic
}

async fn produced(
    bootstrap: &str,
    user: &'static str,
    mechanism: &'static str,
    topic: &str,
) -> Result<(), RDKafkaErrorCode> {
    let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
    let done = tokio::task::spawn_blocking(move || produce(&bootstrap, user, mechanism, &topic));
    done.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn applications_arrive_under_their_own_names_through_mutual_tls() {
    let cluster = cluster().await;
    let topic = topic_of(cluster, "anna").await;
    let mut options = SidecarOptions::transparent(&cluster.kafka.listener(MUTUAL));
    options.arguments = [
        ("--kafka-security-protocol", "ssl".to_owned()),
        ("--kafka-ssl-ca-location", cluster.ca()),
        (
            "--kafka-ssl-certificate-location",
            cluster.certificates.path("client.pem"),
        ),
        (
            "--kafka-ssl-key-location",
            cluster.certificates.path("client.key"),
        ),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect();
    let sidecar = Sidecar::start(&options).await;
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] {
        let through = sidecar.bootstrap();
        let own = produced(&through, "anna", mechanism, &topic).await;
        assert_eq!(own, Ok(()), "{mechanism}");
        let other = produced(&through, "stranger", mechanism, &topic).await;
        let denied = Err(RDKafkaErrorCode::TopicAuthorizationFailed);
        assert_eq!(other, denied, "{mechanism}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_without_credentials_is_the_sidecar_only_where_that_is_said() {
    let cluster = cluster().await;
    let topic = topic_of(cluster, "anna").await;
    let mut options = SidecarOptions::transparent(&cluster.kafka.listener(SASL));
    options.environment = [
        ("CUTLINE_KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT"),
        ("CUTLINE_KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"),
        ("CUTLINE_KAFKA_SASL_USERNAME", "anna"),
        ("CUTLINE_KAFKA_SASL_PASSWORD", "anna-secret"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    let topics = |sidecar: &Sidecar| {
        let (bootstrap, topic) = (sidecar.bootstrap(), topic.clone());
        async move {
            let client = cutline_wire::client::ClientOptions {
                retry_budget: std::time::Duration::from_secs(2),
                ..Default::default()
            };
            let client = cutline_wire::client::Client::connect(&[bootstrap], client).await?;
            client.topic_exists(&topic.as_str().into()).await
        }
    };
    let passing = Sidecar::start(&options).await;
    let error = topics(&passing).await.unwrap_err().to_string();
    assert!(error.contains("security.protocol"), "{error}");
    options.arguments = ["--app-sasl".to_owned(), "sidecar".to_owned()].to_vec();
    let standing_in = Sidecar::start(&options).await;
    assert!(topics(&standing_in).await.unwrap());
    // Two users on one connection is none of them.
    let both = produced(&standing_in.bootstrap(), "anna", "PLAIN", &topic).await;
    assert!(both.is_err(), "{both:?}");
}
