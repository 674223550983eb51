//! Where the token of OAUTHBEARER comes from, and what it says of itself.
//!
//! A file is read for every token that is asked for, so whoever renews it renews the connections. Whether a token is genuine is
//! the broker's business.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::Secret;

/// How long a token without an end of its own is used before it is read again.
const LIFETIME_UNSAID: Duration = Duration::from_secs(300);
/// How long an unsecured token is valid, as librdkafka has it.
const LIFETIME_UNSECURED: Duration = Duration::from_secs(3600);
/// The longest token that is read.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("CL0612 the token in {path} cannot be read: {reason}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// What is there is no token.
    #[error("CL0612 {origin} holds no token that can be sent: {reason}")]
    NoToken {
        /// Where it is.
        origin: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A token, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The token.
    pub value: Secret,
    /// Whose it is, where it says so.
    pub principal: String,
    /// When it ends, in milliseconds since 1970.
    pub ends_ms: i64,
}

/// Where tokens come from.
#[derive(Clone, Debug)]
pub(crate) enum TokenSource {
    Fixed(Secret),
    File(PathBuf),
    /// Nobody signs it: for brokers that believe anybody, as tests have them.
    Unsecured {
        principal: String,
    },
}

impl TokenSource {
    pub(crate) fn token(&self) -> Result<Token, TokenError> {
        match self {
            Self::Fixed(secret) => read(secret.reveal(), "kafka.sasl.oauthbearer.token"),
            Self::File(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|error| TokenError::Unreadable {
                        path: path.clone(),
                        reason: error.to_string(),
                    })?;
                read(text.trim(), &path.display().to_string())
            }
            Self::Unsecured { principal } => Ok(unsecured(principal)),
        }
    }
}

fn read(text: &str, origin: &str) -> Result<Token, TokenError> {
    let wrong = |reason| TokenError::NoToken {
        origin: origin.to_owned(),
        reason,
    };
    if text.is_empty() {
        return Err(wrong("it is empty"));
    }
    if text.len() > TOKEN_BYTES_MAX {
        return Err(wrong("it is too long"));
    }
    // What is in it ends up between control characters of the mechanism.
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("it has spaces or control characters in it"));
    }
    let claims = claims(text);
    let ends = claims["exp"].as_f64().map(|seconds| seconds * 1000.0);
    let ends_ms = ends.map_or_else(|| now_ms() + millis(LIFETIME_UNSAID), |ends| ends as i64);
    if ends_ms <= now_ms() {
        return Err(wrong("it has expired"));
    }
    Ok(Token {
        value: Secret::new(text),
        principal: claims["sub"].as_str().unwrap_or_default().to_owned(),
        ends_ms,
    })
}

/// What a JWT says of itself; nothing for a token of another kind.
fn claims(text: &str) -> Value {
    let body = text.split('.').nth(1);
    let decoded = body.and_then(|body| URL_SAFE_NO_PAD.decode(body).ok());
    let parsed = decoded.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    parsed.unwrap_or(Value::Null)
}

fn unsecured(principal: &str) -> Token {
    let now_ms = now_ms();
    let ends_ms = now_ms + millis(LIFETIME_UNSECURED);
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({"alg": "none"}));
    let body = part(json!({"sub": principal, "iat": now_ms / 1000, "exp": ends_ms / 1000}));
    Token {
        value: Secret::new(format!("{head}.{body}.")),
        principal: principal.to_owned(),
        ends_ms,
    }
}

fn now_ms() -> i64 {
    // A clock before 1970 is as good as none: everything is then valid.
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, millis)
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_whose_it_is_and_when_it_ends() {
        let made = unsecured("anna");
        let token = read(made.value.reveal(), "here").unwrap();
        assert_eq!(token.principal, "anna");
        assert_eq!(token.ends_ms, made.ends_ms / 1000 * 1000);
    }

    #[test]
    fn what_is_no_token_is_not_sent() {
        let body = URL_SAFE_NO_PAD.encode(r#"{"sub":"a","exp":1}"#);
        for text in ["", "a b", "a\u{1}b", &format!("x.{body}.")] {
            let error = read(text, "/run/token").unwrap_err().to_string();
            assert!(error.contains("/run/token"), "{error}");
        }
        assert!(read("opaque", "here").unwrap().ends_ms > now_ms());
    }
}
