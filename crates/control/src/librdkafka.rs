//! How librdkafka is set up wherever it is used: the same settings, the same tokens, and its troubles in our log.

use std::error::Error;

use cutline_security::{Sasl, Security};
use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, ClientContext,
    client::OAuthToken,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::topic::ControlOptions;

/// What librdkafka asks, and whom it tells.
pub struct Librdkafka {
    security: Security,
    said: Mutex<String>,
}

impl Librdkafka {
    /// With the tokens of `security`.
    #[must_use]
    pub fn new(security: Security) -> Self {
        Self {
            security,
            said: Mutex::default(),
        }
    }

    /// A token for OAUTHBEARER.
    ///
    /// # Errors
    /// When there is none.
    pub fn token(&self) -> Result<OAuthToken, Box<dyn Error>> {
        let token = self.security.sasl().map(Sasl::token).transpose()?.flatten();
        let token = token.ok_or("the mechanism is not OAUTHBEARER")?;
        Ok(OAuthToken {
            token: token.value.reveal().to_owned(),
            principal_name: token.principal,
            lifetime_ms: token.ends_ms,
        })
    }

    /// Logs what keeps brokers from being used, once until it is something else.
    pub fn trouble(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        let lasts = matches!(
            code,
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL)
        );
        if !lasts {
            tracing::debug!(%error, reason, "librdkafka");
        } else if std::mem::replace(&mut *self.said.lock(), reason.to_owned()) != reason {
            tracing::error!(%error, reason, "brokers refuse us, or we refuse them; trying again");
        }
    }
}

impl ClientContext for Librdkafka {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble(&error, reason);
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.token()
    }
}

impl ConsumerContext for Librdkafka {}

/// What every client begins with.
#[must_use]
pub fn config(options: &ControlOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.bootstrap)
        .set("client.id", &options.client_id)
        .set("allow.auto.create.topics", "false")
        .set("reconnect.backoff.max.ms", "1000");
    for (key, value) in options.security.librdkafka() {
        config.set(key, value);
    }
    config
}
