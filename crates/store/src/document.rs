//! A JSON document with its own checksum: how every object that is not a pack is written.
//!
//! The last field of a document is `blake3`, the hash of every byte before it. Whatever changes a stored document by
//! one byte is noticed when it is read. It guards against damage, not against someone who recomputes the hash; against
//! that some documents have a signature, which is the field before.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Created, FORMAT, Key, Objects, StoreError};

/// The largest document read or written, in bytes: a part of [`crate::PART_CHUNKS_MAX`] chunks fits.
pub const DOCUMENT_BYTES_MAX: u64 = 256 * 1024 * 1024;

const SEAL_START: &str = ",\n  \"blake3\": \"";
const SEAL_END: &str = "\"\n}\n";
const HASH_DIGITS: usize = 64;
const SIGNATURE_START: &str = ",\n  \"signature\": \"";
const SEAL_BYTES: usize = SEAL_START.len() + HASH_DIGITS + SEAL_END.len();

/// How the bytes are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// For people.
    Indented,
    /// For lists as long as a part's.
    Compact,
}

/// `value` as a sealed document. It must serialise as an object with a field `format`.
pub(crate) fn seal(value: &impl Serialize, layout: Layout) -> Result<Bytes, StoreError> {
    seal_signed(value, layout, |_| None)
}

/// The same with the signature that `sign` makes of everything before it, if it makes one.
pub(crate) fn seal_signed(
    value: &impl Serialize,
    layout: Layout,
    sign: impl FnOnce(&[u8]) -> Option<String>,
) -> Result<Bytes, StoreError> {
    let invalid = |error: serde_json::Error| StoreError::Invalid {
        what: format!("cannot be stored: {error}"),
    };
    let mut bytes = match layout {
        Layout::Indented => serde_json::to_vec_pretty(value).map_err(invalid)?,
        Layout::Compact => serde_json::to_vec(value).map_err(invalid)?,
    };
    let close = bytes.pop();
    assert_eq!(close, Some(b'}'), "a document is a JSON object");
    while bytes.last().is_some_and(u8::is_ascii_whitespace) {
        bytes.pop();
    }
    if let Some(signature) = sign(&bytes) {
        bytes.extend_from_slice(SIGNATURE_START.as_bytes());
        bytes.extend_from_slice(signature.as_bytes());
        bytes.push(b'"');
    }
    let hash = blake3::hash(&bytes).to_hex();
    bytes.extend_from_slice(SEAL_START.as_bytes());
    bytes.extend_from_slice(hash.as_bytes());
    bytes.extend_from_slice(SEAL_END.as_bytes());
    match bytes.len() as u64 {
        found if found > DOCUMENT_BYTES_MAX => Err(StoreError::TooLarge {
            what: "a document".to_owned(),
            found,
            limit: DOCUMENT_BYTES_MAX,
        }),
        _ => Ok(bytes.into()),
    }
}

/// The value of a sealed document, its checksum and format verified. `key` names it in errors.
pub(crate) fn unseal<T: DeserializeOwned>(key: &Key, bytes: &[u8]) -> Result<T, StoreError> {
    let damaged = |detail: String| StoreError::Damaged {
        key: key.to_string(),
        detail,
    };
    // The format comes first: a newer one may seal its documents in another way.
    check_format(key, bytes)?;
    let body = bytes
        .len()
        .checked_sub(SEAL_BYTES)
        .map(|end| bytes.split_at(end));
    let Some((body, seal)) = body else {
        return Err(damaged(format!("it is truncated to {} bytes", bytes.len())));
    };
    let written = seal
        .strip_prefix(SEAL_START.as_bytes())
        .and_then(|rest| rest.strip_suffix(SEAL_END.as_bytes()))
        .ok_or_else(|| damaged("it is truncated: it does not end in its checksum".to_owned()))?;
    if blake3::hash(body).to_hex().as_bytes() != written {
        return Err(damaged(
            "its checksum does not match its content".to_owned(),
        ));
    }
    serde_json::from_slice(bytes).map_err(|error| damaged(format!("it cannot be read: {error}")))
}

/// What of a sealed document was signed, and the signature; `None` when it has none.
pub(crate) fn signature(bytes: &[u8]) -> Option<(&[u8], &str)> {
    let body = &bytes[..bytes.len().checked_sub(SEAL_BYTES)?];
    let at = memchr::memmem::rfind(body, SIGNATURE_START.as_bytes())?;
    let signature = body[at + SIGNATURE_START.len()..].strip_suffix(b"\"")?;
    // In a string a line break is escaped, so this begins a field; with a quote in it, it is not the last.
    let last = !signature.contains(&b'"');
    let text = std::str::from_utf8(signature).ok().filter(|_| last)?;
    Some((&body[..at], text))
}

/// Creates a document unless one exists.
pub(crate) async fn create(
    objects: &dyn Objects,
    key: &Key,
    value: &impl Serialize,
) -> Result<Created, StoreError> {
    objects.put_new(key, seal(value, Layout::Indented)?).await
}

/// Reads a document.
pub(crate) async fn read<T: DeserializeOwned>(
    objects: &dyn Objects,
    key: &Key,
) -> Result<T, StoreError> {
    unseal(key, &objects.get(key, DOCUMENT_BYTES_MAX).await?)
}

/// Reads a document that may not be there.
pub(crate) async fn find<T: DeserializeOwned>(
    objects: &dyn Objects,
    key: &Key,
) -> Result<Option<T>, StoreError> {
    match read(objects, key).await {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[derive(serde::Deserialize)]
struct Format {
    format: u64,
}

fn check_format(key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
    // What cannot even be parsed is left to the checksum, which says more.
    match serde_json::from_slice::<Format>(bytes) {
        Ok(Format { format }) if format > u64::from(FORMAT) => Err(StoreError::NewerFormat {
            key: key.to_string(),
            found: format,
            known: FORMAT,
        }),
        Ok(Format { format: 0 }) => Err(StoreError::Damaged {
            key: key.to_string(),
            detail: "format 0 does not exist".to_owned(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn key() -> Key {
        Key::new("some/manifest.json").unwrap()
    }

    #[test]
    fn a_document_is_ordinary_json_and_reads_back() {
        let value = json!({"format": 1, "name": "x", "list": [1, 2]});
        for layout in [Layout::Indented, Layout::Compact] {
            let bytes = seal(&value, layout).unwrap();
            let parsed: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(parsed["name"], "x");
            assert_eq!(parsed["blake3"].as_str().unwrap().len(), 64);
            assert_eq!(
                unseal::<Value>(&key(), &bytes).unwrap()["list"],
                json!([1, 2])
            );
        }
    }

    #[test]
    fn a_signature_is_over_everything_before_it() {
        let value = json!({"format": 1, "name": "\",\n  \"signature\": \"x"});
        for layout in [Layout::Indented, Layout::Compact] {
            let plain = seal(&value, layout).unwrap();
            assert_eq!(signature(&plain), None);
            let mut body = Vec::new();
            let signed = seal_signed(&value, layout, |bytes| {
                body = bytes.to_vec();
                Some("k m".to_owned())
            });
            let signed = signed.unwrap();
            assert_eq!(signature(&signed), Some((&body[..], "k m")));
            let read: Value = unseal(&key(), &signed).unwrap();
            assert_eq!(read["name"], value["name"]);
        }
        assert_eq!(signature(b""), None);
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let bytes = seal(&json!({"format": 9, "other": true}), Layout::Indented).unwrap();
        let error = unseal::<Value>(&key(), &bytes).unwrap_err();
        assert!(
            matches!(error, StoreError::NewerFormat { found: 9, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("some/manifest.json"), "{error}");
    }

    proptest! {
        #[test]
        fn one_changed_or_missing_byte_is_noticed(at in 0_usize..10_000, flip in 1_u8..=255, cut: bool) {
            let whole = seal(&json!({"format": 1, "positions": [{"offset": 17}]}), Layout::Indented).unwrap();
            let mut bytes = whole.to_vec();
            let at = at % bytes.len();
            if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
            prop_assert!(unseal::<Value>(&key(), &bytes).is_err());
        }
    }
}
