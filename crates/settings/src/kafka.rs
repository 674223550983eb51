//! What is said about Kafka's security, by librdkafka's names: the same for every program that speaks to brokers.
//!
//! Here are names and help. What the values mean is `cutline-security`'s business.

use crate::Key;

/// Every setting of the group `kafka` that has a flag and a variable; librdkafka's other settings stand in the file only.
pub const SECURITY: &[Key] = &[
    Key::one(
        "kafka.security.protocol",
        "PROTOCOL",
        "plaintext, ssl, sasl_plaintext or sasl_ssl [default: plaintext]",
    ),
    Key::one(
        "kafka.ssl.ca.location",
        "PATH",
        "The certificates of the authorities that brokers are believed by, PEM [default: the system's]",
    ),
    Key::one("kafka.ssl.ca.pem", "PEM", "The same as text"),
    Key::one(
        "kafka.ssl.certificate.location",
        "PATH",
        "The certificate to show brokers, PEM with its chain",
    ),
    Key::one("kafka.ssl.certificate.pem", "PEM", "The same as text"),
    Key::one(
        "kafka.ssl.key.location",
        "PATH",
        "Its private key, PEM without a passphrase",
    ),
    Key::one(
        "kafka.ssl.key.pem",
        "PEM",
        "The same as text; better in the environment than as a flag",
    ),
    Key::one(
        "kafka.ssl.endpoint.identification.algorithm",
        "https|none",
        "Whether a broker's certificate has to be for the name it is reached by [default: https]",
    ),
    Key::one(
        "kafka.enable.ssl.certificate.verification",
        "true|false",
        "Whether a broker's certificate is looked at [default: true]",
    ),
    Key::one(
        "kafka.sasl.mechanisms",
        "MECHANISM",
        "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER",
    ),
    Key::one("kafka.sasl.mechanism", "MECHANISM", "The same"),
    Key::one(
        "kafka.sasl.username",
        "NAME",
        "Who this program is to brokers",
    ),
    Key::one(
        "kafka.sasl.password",
        "PASSWORD",
        "Its password; better in a file or the environment than as a flag",
    ),
    Key::one(
        "kafka.sasl.password-file",
        "PATH",
        "A file with the password, read at the start",
    ),
    Key::one(
        "kafka.sasl.oauthbearer.token-file",
        "PATH",
        "A file with a token, read whenever one is shown",
    ),
    Key::one(
        "kafka.sasl.oauthbearer.token",
        "TOKEN",
        "The token itself; better in the environment than as a flag",
    ),
    Key::one(
        "kafka.sasl.oauthbearer.config",
        "principal=NAME",
        "Whose an unsecured token is",
    ),
    Key::one(
        "kafka.enable.sasl.oauthbearer.unsecure.jwt",
        "true|false",
        "Whether to show a token that nobody signed: for trying only [default: false]",
    ),
];
