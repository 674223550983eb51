//! Keys as a part keeps them: what there is of them in `about.json`, and `keys`, one after another in the order of their
//! bytes.
//!
//! A key that did not change has the same bytes in every part, its expiry time included, since that is absolute; so
//! checkpoints share what did not change. The moment of the cut stands beside them, once.

use serde::{Deserialize, Serialize};

use super::RedisError;

/// The version of this form.
pub(super) const FORMAT: u32 = 1;
/// The entry of [`About`].
pub(super) const ABOUT: &str = "about.json";
/// The entry of the keys.
pub(super) const KEYS: &str = "keys";
/// The longest `about.json`.
pub(super) const ABOUT_BYTES_MAX: usize = 64 * 1024;
/// Lengths and expiry before each key.
pub(super) const HEAD_BYTES: usize = 16;
/// Redis' own limit for keys and values.
const FIELD_BYTES_MAX: u32 = 512 * 1024 * 1024;
/// Kept where a key has no expiry.
const NEVER: i64 = -1;

/// What `about.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) format: u32,
    /// The moment of the cut by the server's clock, in milliseconds since 1970.
    pub(super) cut_ms: i64,
    /// The server's version: only the same or a newer one reads its values.
    pub(super) redis_version: String,
    /// Which keys these are all of; empty: all of the database.
    pub(super) prefix: String,
    /// How many.
    pub(super) count: u64,
}

/// The beginning of one key's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) key_bytes: u32,
    pub(super) value_bytes: u32,
    /// When it expires by the clock of the server it was copied from, in milliseconds since 1970.
    pub(super) expires_ms: Option<i64>,
}

impl Head {
    pub(super) fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..4].copy_from_slice(&self.key_bytes.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.value_bytes.to_le_bytes());
        bytes[8..].copy_from_slice(&self.expires_ms.unwrap_or(NEVER).to_le_bytes());
        bytes
    }

    pub(super) fn read(bytes: [u8; HEAD_BYTES]) -> Result<Self, RedisError> {
        let [k0, k1, k2, k3, v0, v1, v2, v3, e @ ..] = bytes;
        let expires_ms = i64::from_le_bytes(e);
        let head = Self {
            key_bytes: u32::from_le_bytes([k0, k1, k2, k3]),
            value_bytes: u32::from_le_bytes([v0, v1, v2, v3]),
            expires_ms: (expires_ms != NEVER).then_some(expires_ms),
        };
        if head.key_bytes > FIELD_BYTES_MAX || head.value_bytes > FIELD_BYTES_MAX {
            return Err(RedisError::Part(format!(
                "{KEYS} names a field longer than {FIELD_BYTES_MAX} bytes"
            )));
        }
        Ok(head)
    }

    /// The whole record, this head included.
    pub(super) fn record_bytes(self) -> u64 {
        HEAD_BYTES as u64 + u64::from(self.key_bytes) + u64::from(self.value_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        for expires_ms in [None, Some(0), Some(1_790_000_000_000)] {
            let head = Head {
                key_bytes: 7,
                value_bytes: 300_000_000,
                expires_ms,
            };
            assert_eq!(Head::read(head.to_bytes()).unwrap(), head);
        }
        assert!(Head::read([0xff; HEAD_BYTES]).is_err());
    }
}
