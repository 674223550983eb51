//! The name of an object: a relative path of plain segments, safe on every backend.
//!
//! A key that exists cannot leave the store's root, hide in it, or mean two things on two backends. Names from outside
//! become segments through [`segment`], which loses nothing.

use std::fmt;

use crate::StoreError;

/// The longest key: S3 allows 1,024 bytes, the prefix of a store takes some.
const KEY_BYTES_MAX: usize = 700;
/// The longest segment: file systems allow 255 bytes, a backend may add to a name while it writes.
const SEGMENT_BYTES_MAX: usize = 200;

/// A validated key: segments of `A–Z a–z 0–9 . _ - % @`, none starting with a dot, joined by `/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// Validates `text`.
    ///
    /// # Errors
    /// [`StoreError::BadKey`] for anything that is not a plain relative path: `..`, absolute paths, empty segments,
    /// backslashes, NUL and other characters, hidden names, and what is too long.
    pub fn new(text: impl Into<String>) -> Result<Self, StoreError> {
        let text = text.into();
        match fault(&text) {
            None => Ok(Self(text)),
            Some(reason) => Err(StoreError::BadKey {
                key: text.chars().take(200).collect(),
                reason,
            }),
        }
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// A key made of parts this crate already knows to be plain.
    pub(crate) fn known(text: String) -> Self {
        assert!(
            fault(&text).is_none(),
            "the layout makes only plain keys: {text:?}"
        );
        Self(text)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.len() > KEY_BYTES_MAX {
        return Some("it is too long");
    }
    text.split('/').find_map(segment_fault)
}

fn segment_fault(segment: &str) -> Option<&'static str> {
    match segment.as_bytes() {
        [] => Some("a segment is empty"),
        [b'.', ..] => Some("a segment starts with a dot"),
        bytes if bytes.len() > SEGMENT_BYTES_MAX => Some("a segment is too long"),
        bytes
            if bytes
                .iter()
                .all(|&byte| is_plain(byte) || byte == b'%' || byte == b'@') =>
        {
            None
        }
        _ => Some("only letters, digits and . _ - % @ are allowed"),
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// A name from outside as one segment: other characters percent-encoded, names too long for that replaced by their
/// hash. Different names give different segments.
pub(crate) fn segment(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for (index, byte) in name.bytes().enumerate() {
        if is_plain(byte) && !(index == 0 && byte == b'.') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02x}"));
        }
    }
    // Half of the limit, so that two names and a separator still fit into one segment.
    if encoded.is_empty() || encoded.len() > SEGMENT_BYTES_MAX / 2 - 2 {
        return format!("%%{}", blake3::hash(name.as_bytes()).to_hex());
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_that_could_leave_the_root_is_a_key() {
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "a/../b",
            "a/..",
            "./a",
            "a//b",
            "a/",
            "a\\b",
            "a\0b",
            "a b",
            "ä",
            ".tmp/x",
            "a/.hidden",
            "c:evil",
            "a\nb",
        ] {
            assert!(Key::new(bad).is_err(), "{bad:?}");
        }
        assert!(Key::new("a/".repeat(400) + "b").is_err());
        assert!(Key::new("checkpoints/00000000000000000001/manifest.json").is_ok());
    }

    proptest! {
        #[test]
        fn whatever_is_a_key_stays_below_any_root(text in "[a./%@ -]{0,12}|.*") {
            if let Ok(key) = Key::new(text.as_str()) {
                let plain = |name| matches!(name, std::path::Component::Normal(_));
                prop_assert!(std::path::Path::new(key.as_str()).components().all(plain));
                prop_assert!(!key.as_str().split('/').any(|name| name.starts_with('.')));
                // What a backend makes of it is one name for one key.
                let parts: Vec<_> = std::path::Path::new(key.as_str()).iter().collect();
                prop_assert_eq!(parts.len(), key.as_str().split('/').count());
            }
        }

        #[test]
        fn any_name_becomes_a_plain_segment(name in ".*") {
            prop_assert!(Key::new(segment(&name)).is_ok());
        }

        #[test]
        fn different_names_become_different_segments(a in "[a%./ ]{0,6}", b in "[a%./ ]{0,6}") {
            prop_assert_eq!(a == b, segment(&a) == segment(&b));
        }
    }
}
