//! SASL: who we are, and the exchange of messages that proves it.
//!
//! An [`Exchange`] takes what the broker answers and gives what to send next; it knows no frame and no socket. After a mechanism
//! has proved the broker too (SCRAM), an exchange that ends well means that both know the password.

mod bearer;
mod plain;
mod scram;

use std::{collections::BTreeMap, fmt};

use crate::{
    Secret, SecurityError,
    names::{self, MECHANISM, MECHANISMS},
    token::{Token, TokenError, TokenSource},
};

/// How a broker is convinced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// Name and password, as they are.
    Plain,
    /// A proof of the password by SHA-256.
    ScramSha256,
    /// A proof of the password by SHA-512.
    ScramSha512,
    /// A token.
    OauthBearer,
}

impl Mechanism {
    const ALL: [Self; 4] = [
        Self::Plain,
        Self::ScramSha256,
        Self::ScramSha512,
        Self::OauthBearer,
    ];

    /// As Kafka spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why an exchange does not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// There is no token to show.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The broker refuses.
    #[error("the broker refuses: {0}")]
    Refused(String),
    /// What the broker says does not follow the mechanism.
    #[error("the broker does not follow the mechanism: {0}")]
    Unexpected(&'static str),
    /// The broker does not know the password.
    #[error(
        "the broker could not prove that it knows the password: it is not the one it seems to be"
    )]
    Impostor,
}

/// Who we are to brokers.
#[derive(Clone, Debug)]
pub struct Sasl {
    mechanism: Mechanism,
    credentials: Credentials,
}

#[derive(Clone, Debug)]
enum Credentials {
    Password { username: String, password: Secret },
    Token(TokenSource),
}

impl Sasl {
    pub(crate) fn of(settings: &BTreeMap<String, String>) -> Result<Self, SecurityError> {
        let mechanism = mechanism(settings)?;
        let credentials = match mechanism {
            Mechanism::OauthBearer => Credentials::Token(token_source(settings)?),
            _ => named(settings)?,
        };
        Ok(Self {
            mechanism,
            credentials,
        })
    }

    /// How brokers are convinced.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// A new exchange.
    ///
    /// # Errors
    /// When there is no token to show.
    pub fn begin(&self) -> Result<Exchange, SaslError> {
        let state = match &self.credentials {
            Credentials::Token(source) => State::Bearer(source.token()?),
            Credentials::Password { username, password } => {
                let (name, word) = (username.as_str(), password.reveal());
                match self.mechanism {
                    Mechanism::ScramSha256 => {
                        State::Scram(Box::new(scram::Scram::sha256(name, word)))
                    }
                    Mechanism::ScramSha512 => {
                        State::Scram(Box::new(scram::Scram::sha512(name, word)))
                    }
                    _ => State::Plain(plain::message(name, word)),
                }
            }
        };
        Ok(Exchange(state))
    }

    /// The token to show now, for OAUTHBEARER.
    ///
    /// # Errors
    /// When there is none.
    pub fn token(&self) -> Result<Option<Token>, TokenError> {
        match &self.credentials {
            Credentials::Token(source) => source.token().map(Some),
            Credentials::Password { .. } => Ok(None),
        }
    }

    pub(crate) fn password(&self) -> Option<&Secret> {
        match &self.credentials {
            Credentials::Password { password, .. } => Some(password),
            Credentials::Token(_) => None,
        }
    }
}

/// One authentication, from its first message to its end.
pub struct Exchange(State);

enum State {
    Plain(Vec<u8>),
    Scram(Box<scram::Scram>),
    Bearer(Token),
}

impl Exchange {
    /// The first message.
    #[must_use]
    pub fn first(&self) -> Vec<u8> {
        match &self.0 {
            State::Plain(message) => message.clone(),
            State::Scram(scram) => scram.first(),
            State::Bearer(token) => bearer::message(token.value.reveal()),
        }
    }

    /// What to send after the broker's answer; `None` when all is said and both sides are content.
    ///
    /// # Errors
    /// When the broker refuses, or does not prove what it has to.
    pub fn handle_answer(&mut self, answer: &[u8]) -> Result<Option<Vec<u8>>, SaslError> {
        match &mut self.0 {
            State::Plain(_) => Ok(None),
            State::Scram(scram) => scram.handle_answer(answer),
            State::Bearer(_) => bearer::check(answer).map(|()| None),
        }
    }
}

fn mechanism(settings: &BTreeMap<String, String>) -> Result<Mechanism, SecurityError> {
    let (one, many) = (settings.get(MECHANISM), settings.get(MECHANISMS));
    if let (Some(one), Some(many)) = (one, many)
        && one != many
    {
        let reason = "this and kafka.sasl.mechanism say different things: set one of them";
        return Err(SecurityError::setting(MECHANISMS, reason));
    }
    let named = one.or(many).map(|name| name.to_ascii_uppercase());
    let mut all = Mechanism::ALL.into_iter();
    all.find(|mechanism| named.as_deref() == Some(mechanism.name()))
        .ok_or_else(|| {
            let reason = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER is expected";
            SecurityError::setting(MECHANISMS, reason)
        })
}

fn named(settings: &BTreeMap<String, String>) -> Result<Credentials, SecurityError> {
    let missing = |name| SecurityError::setting(name, "it is not set, and this mechanism needs it");
    let username = settings.get(names::USERNAME);
    let username = username.ok_or_else(|| missing(names::USERNAME))?.clone();
    let given = settings.get(names::PASSWORD);
    let password = match (given, settings.get(names::PASSWORD_FILE)) {
        (Some(password), None) => Secret::new(password),
        (None, Some(path)) => password_in(path)?,
        (None, None) => return Err(missing(names::PASSWORD)),
        (Some(_), Some(_)) => {
            let reason = "kafka.sasl.password is set too: set one of them";
            return Err(SecurityError::setting(names::PASSWORD_FILE, reason));
        }
    };
    Ok(Credentials::Password { username, password })
}

fn password_in(path: &str) -> Result<Secret, SecurityError> {
    let read = std::fs::read_to_string(path);
    let text = read.map_err(|error| {
        let reason = format!("{path} cannot be read: {error}");
        SecurityError::setting(names::PASSWORD_FILE, reason)
    })?;
    // Editors end files with a line break, which is no part of the password.
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

fn token_source(settings: &BTreeMap<String, String>) -> Result<TokenSource, SecurityError> {
    if let Some(method) = settings.get(names::BEARER_METHOD)
        && method != "default"
    {
        let reason = "default is expected: tokens are not fetched from a server here; let something that does renew a file, and name it in kafka.sasl.oauthbearer.token-file";
        return Err(SecurityError::setting(names::BEARER_METHOD, reason));
    }
    let unsecured = settings.get(names::UNSECURED).map(String::as_str) == Some("true");
    let (token, file) = (settings.get(names::TOKEN), settings.get(names::TOKEN_FILE));
    match (token, file, unsecured) {
        (Some(token), None, false) => Ok(TokenSource::Fixed(Secret::new(token))),
        (None, Some(path), false) => Ok(TokenSource::File(path.into())),
        (None, None, true) => {
            let config = settings.get(names::BEARER_CONFIG);
            let words = config.map(String::as_str).unwrap_or_default();
            let mut words = words.split_whitespace();
            let principal = words.find_map(|word| word.strip_prefix("principal="));
            let principal = principal.ok_or_else(|| {
                let reason = "principal=NAME is expected for a token that nobody signs";
                SecurityError::setting(names::BEARER_CONFIG, reason)
            })?;
            Ok(TokenSource::Unsecured {
                principal: principal.to_owned(),
            })
        }
        _ => {
            let reason = "exactly one is expected of kafka.sasl.oauthbearer.token-file, kafka.sasl.oauthbearer.token, and kafka.enable.sasl.oauthbearer.unsecure.jwt=true";
            Err(SecurityError::setting(names::TOKEN_FILE, reason))
        }
    }
}
