//! The Kafka that tests here share, or have one of their own of: a listener for every way to be somebody, and nobody may do anything without an ACL.
//!
//! Its plain listener is the operators': whoever comes that way is a superuser.

use cutline_wire::client::{Client, ClientOptions};
use integration_tests::{Kafka, KafkaOptions, kafka::Listener};
use kafka_protocol::{
    messages::{
        CreateAclsRequest, DeleteAclsRequest, create_acls_request::AclCreation,
        delete_acls_request::DeleteAclsFilter,
    },
    protocol::StrBytes,
};
use tokio::sync::OnceCell;

use crate::certificates::Certificates;

/// SASL without TLS.
pub const SASL: &str = "SASL";
/// SASL over TLS, to clients with a certificate only.
pub const MUTUAL: &str = "MUTUAL";
/// TLS, to clients with a certificate only.
pub const TLS: &str = "TLS";
/// SASL that has to be repeated every two seconds.
pub const SHORT: &str = "SHORT";
/// Brokers with certificates that cannot be believed.
pub const EXPIRED: &str = "EXPIRED";
pub const ELSEWHERE: &str = "ELSEWHERE";

/// Users, each with its name and `-secret` as its password.
pub const USERS: [&str; 5] = ["sidecar", "admin", "billing", "anna", "stranger"];
const SESSION_MS: &str = "2000";

pub struct Cluster {
    pub kafka: Kafka,
    pub certificates: Certificates,
    pub boss: Client,
}

/// One ACL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    pub user: String,
    /// As the tool spells it: `Read`, `DescribeConfigs`.
    pub operation: String,
    /// As the tool spells it: `topic`, `group`, `transactional-id`, `cluster`.
    pub kind: String,
    pub name: String,
    pub prefixed: bool,
}

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

/// The one that is shared.
pub async fn cluster() -> &'static Cluster {
    CLUSTER.get_or_init(Cluster::start).await
}

impl Cluster {
    pub async fn start() -> Self {
        let certificates = Certificates::make();
        let kafka = Kafka::start(options(&certificates)).await;
        let bootstrap = [kafka.bootstrap()];
        let boss = Client::connect(&bootstrap, ClientOptions::default());
        let boss = boss.await.unwrap();
        Self {
            kafka,
            certificates,
            boss,
        }
    }

    pub fn ca(&self) -> String {
        self.certificates.path("ca.pem")
    }

    pub async fn grant(&self, right: &Right) {
        let creation = AclCreation::default()
            .with_resource_type(right.resource_type())
            .with_resource_name(text(&right.name))
            .with_resource_pattern_type(right.pattern())
            .with_principal(text(&format!("User:{}", right.user)))
            .with_host(text("*"))
            .with_operation(right.operation_code())
            .with_permission_type(ALLOW);
        let request = CreateAclsRequest::default().with_creations(vec![creation]);
        let answer = self.boss.call_any(&request).await.unwrap();
        assert!(
            answer.results.iter().all(|result| result.error_code == 0),
            "{answer:?}"
        );
    }

    pub async fn revoke(&self, right: &Right) {
        let filter = DeleteAclsFilter::default()
            .with_resource_type_filter(right.resource_type())
            .with_resource_name_filter(Some(text(&right.name)))
            .with_pattern_type_filter(right.pattern())
            .with_principal_filter(Some(text(&format!("User:{}", right.user))))
            .with_host_filter(None)
            .with_operation(right.operation_code())
            .with_permission_type(ALLOW);
        let request = DeleteAclsRequest::default().with_filters(vec![filter]);
        let answer = self.boss.call_any(&request).await.unwrap();
        let gone = answer.filter_results.iter();
        let gone: usize = gone.map(|result| result.matching_acls.len()).sum();
        assert_eq!(gone, 1, "{right:?} was there: {answer:?}");
    }
}

const ALLOW: i8 = 3;

impl Right {
    pub fn new(user: &str, operation: &str, kind: &str, name: &str) -> Self {
        Self {
            user: user.into(),
            operation: operation.into(),
            kind: kind.into(),
            name: name.into(),
            prefixed: false,
        }
    }

    fn pattern(&self) -> i8 {
        if self.prefixed { 4 } else { 3 }
    }

    fn resource_type(&self) -> i8 {
        match self.kind.as_str() {
            "topic" => 2,
            "group" => 3,
            "cluster" => 4,
            "transactional-id" => 5,
            other => panic!("{other} is no resource"),
        }
    }

    fn operation_code(&self) -> i8 {
        match self.operation.as_str() {
            "Read" => 3,
            "Write" => 4,
            "Create" => 5,
            "Delete" => 6,
            "Describe" => 8,
            "DescribeConfigs" => 10,
            other => panic!("{other} is no operation"),
        }
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn options(certificates: &Certificates) -> KafkaOptions {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let keys = |name: &str, mutual: bool| {
        vec![
            pair("ssl.keystore.type", "PEM"),
            pair(
                "ssl.keystore.location",
                &certificates.path(&format!("{name}.store")),
            ),
            pair("ssl.truststore.type", "PEM"),
            pair("ssl.truststore.location", &certificates.path("ca.pem")),
            pair("ssl.client.auth", if mutual { "required" } else { "none" }),
        ]
    };
    let listener = |name: &str, protocol, properties: Vec<Vec<_>>| Listener {
        name: name.to_owned(),
        protocol,
        host: "127.0.0.1",
        properties: properties.concat(),
    };
    let short = vec![pair("connections.max.reauth.ms", SESSION_MS)];
    let mut format = Vec::new();
    for user in USERS {
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            format.push("--add-scram".to_owned());
            format.push(format!("{mechanism}=[name={user},password={user}-secret]"));
        }
    }
    KafkaOptions {
        listeners: vec![
            listener(SASL, "SASL_PLAINTEXT", vec![sasl()]),
            listener(SHORT, "SASL_PLAINTEXT", vec![sasl(), short]),
            listener(MUTUAL, "SASL_SSL", vec![sasl(), keys("broker", true)]),
            listener(TLS, "SSL", vec![keys("broker", true)]),
            listener(EXPIRED, "SSL", vec![keys("expired", false)]),
            listener(ELSEWHERE, "SSL", vec![keys("elsewhere", false)]),
        ],
        format,
        properties: vec![
            pair(
                "authorizer.class.name",
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            ),
            pair("allow.everyone.if.no.acl.found", "false"),
            pair("super.users", "User:ANONYMOUS"),
        ],
        ..KafkaOptions::default()
    }
}

fn sasl() -> Vec<(String, String)> {
    let package = "org.apache.kafka.common.security";
    let users = USERS
        .map(|user| format!("user_{user}=\"{user}-secret\""))
        .join(" ");
    let scram = format!("{package}.scram.ScramLoginModule required;");
    let modules = [
        (
            "plain",
            format!("{package}.plain.PlainLoginModule required {users};"),
        ),
        ("scram-sha-256", scram.clone()),
        ("scram-sha-512", scram),
        // Believes tokens that nobody signed: what Kafka does when it is told nothing else.
        (
            "oauthbearer",
            format!("{package}.oauthbearer.OAuthBearerLoginModule required;"),
        ),
    ];
    let mechanisms = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER".to_owned();
    let mut properties = vec![("sasl.enabled.mechanisms".to_owned(), mechanisms)];
    for (mechanism, module) in modules {
        properties.push((format!("{mechanism}.sasl.jaas.config"), module));
    }
    properties
}
