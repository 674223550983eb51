//! The settings themselves: read once, checked against each other, and handed out to both clients.

use std::{collections::BTreeMap, fmt, sync::Arc};

use cutline_tls::ClientTls;

use crate::{
    error::SecurityError,
    names::{self, PROTOCOL},
    sasl::Sasl,
    tls,
};

/// How brokers are spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Neither TLS nor SASL.
    #[default]
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL without TLS.
    SaslPlaintext,
    /// Both.
    SaslSsl,
}

impl Protocol {
    fn of(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "plaintext" => Self::Plaintext,
            "ssl" => Self::Ssl,
            "sasl_plaintext" => Self::SaslPlaintext,
            "sasl_ssl" => Self::SaslSsl,
            _ => return None,
        })
    }

    fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        })
    }
}

/// How Kafka is reached. Cheap to clone.
#[derive(Clone, Default)]
pub struct Security(Arc<Inner>);

#[derive(Default)]
struct Inner {
    protocol: Protocol,
    tls: Option<ClientTls>,
    sasl: Option<Sasl>,
    librdkafka: BTreeMap<String, String>,
}

impl Security {
    /// What the settings of the group `kafka` make. Settings of librdkafka that are not about security are passed on to it.
    ///
    /// # Errors
    /// Names the setting that is not known, means nothing, cannot be honoured, or would do nothing.
    pub fn of(settings: &BTreeMap<String, String>) -> Result<Self, SecurityError> {
        let protocol = match settings.get(PROTOCOL) {
            None => Protocol::Plaintext,
            Some(text) => Protocol::of(text).ok_or_else(|| {
                let reason = "plaintext, ssl, sasl_plaintext or sasl_ssl is expected";
                SecurityError::setting(PROTOCOL, reason)
            })?,
        };
        for name in settings.keys() {
            check_name(name, protocol)?;
        }
        let sasl = protocol
            .has_sasl()
            .then(|| Sasl::of(settings))
            .transpose()?;
        let tls = protocol
            .has_tls()
            .then(|| tls::client(settings))
            .transpose()?;
        let mut librdkafka: BTreeMap<String, String> = settings
            .iter()
            .filter(|(name, _)| !names::NOT_OF_LIBRDKAFKA.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if let Some(sasl) = &sasl {
            librdkafka.insert(names::MECHANISMS.to_owned(), sasl.mechanism().to_string());
            if let Some(password) = sasl.password() {
                librdkafka.insert(names::PASSWORD.to_owned(), password.reveal().to_owned());
            }
        }
        Ok(Self(Arc::new(Inner {
            protocol,
            tls,
            sasl,
            librdkafka,
        })))
    }

    /// How brokers are spoken to.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.0.protocol
    }

    /// What to make the next TLS connection with; `None` without TLS.
    #[must_use]
    pub fn tls(&self) -> Option<Arc<rustls::ClientConfig>> {
        self.0.tls.as_ref().map(ClientTls::config)
    }

    /// How to authenticate; `None` without SASL.
    #[must_use]
    pub fn sasl(&self) -> Option<&Sasl> {
        self.0.sasl.as_ref()
    }

    /// The same for librdkafka, but for the token of OAUTHBEARER, which it asks for by a callback: [`Sasl::token`].
    pub fn librdkafka(&self) -> impl Iterator<Item = (&str, &str)> {
        let settings = self.0.librdkafka.iter();
        settings.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mechanism = self.sasl().map(Sasl::mechanism);
        f.debug_struct("Security")
            .field("protocol", &self.0.protocol)
            .field("mechanism", &mechanism)
            .finish_non_exhaustive()
    }
}

/// Whoever sets a password and forgets the protocol believes to be protected: what would do nothing is an error.
fn check_name(name: &str, protocol: Protocol) -> Result<(), SecurityError> {
    let without = |what: &str| {
        let reason = format!("it does nothing without {what}, and security.protocol is {protocol}");
        Err(SecurityError::setting(name, reason))
    };
    if names::is_about_security(name) && !names::is_known(name) {
        let reason =
            "it is not supported: both the raw client and librdkafka would have to honour it";
        return Err(SecurityError::setting(name, reason));
    }
    if names::OF_SASL.contains(&name) && !protocol.has_sasl() {
        return without("SASL");
    }
    if names::OF_TLS.contains(&name) && !protocol.has_tls() {
        return without("TLS");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(settings: &[(&str, &str)]) -> Result<Security, SecurityError> {
        let settings = settings.iter();
        Security::of(
            &settings
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn without_settings_it_is_plaintext() {
        let security = of(&[("metadata.max.age.ms", "1000")]).unwrap();
        assert_eq!(security.protocol(), Protocol::Plaintext);
        assert!(security.tls().is_none() && security.sasl().is_none());
        let passed: Vec<_> = security.librdkafka().collect();
        assert_eq!(passed, [("metadata.max.age.ms", "1000")]);
    }

    #[test]
    fn what_cannot_be_honoured_is_named() {
        let sasl = ("security.protocol", "SASL_PLAINTEXT");
        for (settings, part) in [
            (
                &[("security.protocol", "tls")][..],
                "kafka.security.protocol",
            ),
            (&[("ssl.cipher.suites", "x")], "kafka.ssl.cipher.suites"),
            (&[("sasl.username", "x")], "security.protocol is plaintext"),
            (
                &[sasl, ("ssl.ca.location", "/x")],
                "does nothing without TLS",
            ),
            (&[sasl], "kafka.sasl.mechanisms"),
            (&[sasl, ("sasl.mechanisms", "GSSAPI")], "SCRAM-SHA-256"),
            (&[sasl, ("sasl.mechanism", "PLAIN")], "kafka.sasl.username"),
            (
                &[sasl, ("sasl.mechanism", "PLAIN"), ("sasl.username", "a")],
                "kafka.sasl.password",
            ),
            (
                &[
                    sasl,
                    ("sasl.mechanism", "PLAIN"),
                    ("sasl.mechanisms", "SCRAM-SHA-256"),
                ],
                "say different things",
            ),
            (
                &[
                    sasl,
                    ("sasl.mechanism", "OAUTHBEARER"),
                    ("sasl.oauthbearer.method", "oidc"),
                ],
                "kafka.sasl.oauthbearer.method",
            ),
            (
                &[("security.protocol", "ssl"), ("ssl.key.password", "hidden")],
                "kafka.ssl.key.password",
            ),
            (
                &[
                    ("security.protocol", "ssl"),
                    ("ssl.certificate.location", "/x"),
                ],
                "kafka.ssl.key.location",
            ),
        ] {
            let error = of(settings).unwrap_err().to_string();
            assert!(error.contains(part), "{settings:?}: {error}");
            assert!(!error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn a_password_is_read_from_its_file_and_never_printed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, "hidden\n").unwrap();
        let security = of(&[
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "anna"),
            ("sasl.password-file", path.to_str().unwrap()),
        ])
        .unwrap();
        let passed: BTreeMap<_, _> = security.librdkafka().collect();
        assert_eq!(passed["sasl.password"], "hidden");
        assert_eq!(passed["sasl.mechanisms"], "SCRAM-SHA-512");
        assert!(!passed.contains_key("sasl.password-file"));
        let printed = format!("{security:?} {:?}", security.sasl());
        assert!(!printed.contains("hidden"), "{printed}");
    }
}
