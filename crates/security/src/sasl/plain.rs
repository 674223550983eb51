//! PLAIN (RFC 4616): name and password in one message. Whoever reads the connection reads them.

/// The only message.
pub(super) fn message(username: &str, password: &str) -> Vec<u8> {
    format!("\0{username}\0{password}").into_bytes()
}
