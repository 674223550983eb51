//! The names of settings: librdkafka's, and three of our own for what librdkafka takes by a call and not by a setting.

pub(crate) const PROTOCOL: &str = "security.protocol";
pub(crate) const MECHANISM: &str = "sasl.mechanism";
pub(crate) const MECHANISMS: &str = "sasl.mechanisms";
pub(crate) const USERNAME: &str = "sasl.username";
pub(crate) const PASSWORD: &str = "sasl.password";
pub(crate) const PASSWORD_FILE: &str = "sasl.password-file";
pub(crate) const TOKEN: &str = "sasl.oauthbearer.token";
pub(crate) const TOKEN_FILE: &str = "sasl.oauthbearer.token-file";
pub(crate) const BEARER_CONFIG: &str = "sasl.oauthbearer.config";
pub(crate) const BEARER_METHOD: &str = "sasl.oauthbearer.method";
pub(crate) const UNSECURED: &str = "enable.sasl.oauthbearer.unsecure.jwt";
pub(crate) const CA_LOCATION: &str = "ssl.ca.location";
pub(crate) const CA_PEM: &str = "ssl.ca.pem";
pub(crate) const CERTIFICATE_LOCATION: &str = "ssl.certificate.location";
pub(crate) const CERTIFICATE_PEM: &str = "ssl.certificate.pem";
pub(crate) const KEY_LOCATION: &str = "ssl.key.location";
pub(crate) const KEY_PEM: &str = "ssl.key.pem";
pub(crate) const KEY_PASSWORD: &str = "ssl.key.password";
pub(crate) const NAME_CHECK: &str = "ssl.endpoint.identification.algorithm";
pub(crate) const CHECK: &str = "enable.ssl.certificate.verification";

/// Settings whose values are secret.
pub const SECRETS: [&str; 4] = [PASSWORD, TOKEN, KEY_PEM, KEY_PASSWORD];

/// Those about SASL, which mean nothing without it.
pub(crate) const OF_SASL: [&str; 10] = [
    MECHANISM,
    MECHANISMS,
    USERNAME,
    PASSWORD,
    PASSWORD_FILE,
    TOKEN,
    TOKEN_FILE,
    BEARER_CONFIG,
    BEARER_METHOD,
    UNSECURED,
];

/// Those about TLS, which mean nothing without it.
pub(crate) const OF_TLS: [&str; 9] = [
    CA_LOCATION,
    CA_PEM,
    CERTIFICATE_LOCATION,
    CERTIFICATE_PEM,
    KEY_LOCATION,
    KEY_PEM,
    KEY_PASSWORD,
    NAME_CHECK,
    CHECK,
];

/// Those that only the raw client and our callbacks take: librdkafka does not know them, or would act on them by itself.
pub(crate) const NOT_OF_LIBRDKAFKA: [&str; 7] = [
    MECHANISM,
    PASSWORD_FILE,
    TOKEN,
    TOKEN_FILE,
    BEARER_CONFIG,
    BEARER_METHOD,
    UNSECURED,
];

/// True when a setting is about security, so that the raw client has to honour it too.
pub(crate) fn is_about_security(name: &str) -> bool {
    [
        "security.",
        "sasl.",
        "ssl.",
        "enable.ssl.",
        "enable.sasl.",
        "https.",
    ]
    .iter()
    .any(|group| name.starts_with(group))
}

/// True when it is one of those that are honoured.
pub(crate) fn is_known(name: &str) -> bool {
    name == PROTOCOL || OF_SASL.contains(&name) || OF_TLS.contains(&name)
}
