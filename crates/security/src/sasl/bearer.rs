//! OAUTHBEARER (RFC 7628): a token in one message. A refusal comes as JSON in place of an empty answer.

use serde_json::Value;

use super::SaslError;

/// The only message.
pub(super) fn message(token: &str) -> Vec<u8> {
    format!("n,,\u{1}auth=Bearer {token}\u{1}\u{1}").into_bytes()
}

/// An empty answer is consent.
pub(super) fn check(answer: &[u8]) -> Result<(), SaslError> {
    if answer.is_empty() {
        return Ok(());
    }
    let said: Value = serde_json::from_slice(answer).unwrap_or(Value::Null);
    let status = said["status"].as_str().unwrap_or("without saying why");
    Err(SaslError::Refused(status.to_owned()))
}
