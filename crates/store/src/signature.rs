//! Signatures of what decides a restore: manifests, and the journals of restores.
//!
//! A signature is a BLAKE3 keyed with a secret that only admin APIs have: who can write the store but has no key can make no
//! checkpoint that a restore believes. It is over a document's exact bytes, its place, and the repository's id, so that
//! what was signed for one place means nothing in another. Keys never print. What a document says is not known here.

use std::{fmt, io::Read, path::Path, sync::Arc};

use bytes::Bytes;
use cutline_model::Epoch;
use serde::Serialize;

use crate::{
    Key, Repository, StoreError,
    document::{self, Layout},
};

/// The largest file of keys, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// The most keys: one that signs, and those before it whose checkpoints are still kept.
const KEYS_MAX: usize = 16;
/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Digits of a key's name: enough to tell a few keys apart, and nothing of the key.
const NAME_DIGITS: usize = 16;
/// What keys are derived for, so that a secret used elsewhere as well gives nothing away.
const SIGNING: &str = "cutline 2026-11 signatures of documents";
const NAMING: &str = "cutline 2026-11 names of signing keys";

/// The keys of an installation: the first one signs, any of them is believed.
#[derive(Clone)]
pub struct SigningKeys {
    keys: Vec<SigningKey>,
    unsigned_until: Epoch,
}

#[derive(Clone)]
struct SigningKey {
    name: String,
    secret: [u8; KEY_BYTES],
}

impl SigningKeys {
    /// Reads a file of keys: 64 hexadecimal digits a line; empty lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// [`StoreError::BadSigningKeys`] when it cannot be read or means nothing.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let text = || {
            let mut text = String::new();
            let file = std::fs::File::open(path)?;
            file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
            Ok::<_, std::io::Error>(text)
        };
        let text = text().map_err(|error| error.to_string());
        text.and_then(|text| Self::parse(&text))
            .map_err(|reason| StoreError::BadSigningKeys {
                path: path.display().to_string(),
                reason,
            })
    }

    /// The keys in `text`; what is wrong never repeats any of it.
    fn parse(text: &str) -> Result<Self, String> {
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
        }
        let lines = text.lines().map(str::trim).zip(1..);
        let lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        let mut keys: Vec<SigningKey> = Vec::new();
        for (line, number) in lines {
            // A hash and a key are of one form.
            let secret = blake3::Hash::from_hex(line).map_err(|_| {
                format!("line {number} is not {} hexadecimal digits", 2 * KEY_BYTES)
            })?;
            let key = SigningKey::of(secret.as_bytes());
            if keys.iter().any(|other| other.name == key.name) {
                return Err(format!("line {number} repeats a key"));
            }
            keys.push(key);
        }
        match keys.len() {
            0 => Err("it has no key; make one with: openssl rand -hex 32".to_owned()),
            found if found > KEYS_MAX => Err(format!("it has more than {KEYS_MAX} keys")),
            _ => Ok(Self {
                keys,
                unsigned_until: Epoch(0),
            }),
        }
    }

    /// The same keys, where checkpoints up to `epoch` were taken without one and are believed without a signature.
    #[must_use]
    pub fn accepting_unsigned_until(self, epoch: Epoch) -> Self {
        Self {
            unsigned_until: epoch,
            ..self
        }
    }

    /// Whether what belongs to `epoch` may be without a signature.
    pub(crate) fn accepts_unsigned(&self, epoch: Epoch) -> bool {
        epoch <= self.unsigned_until
    }

    /// The signature of `body` in `place`.
    pub(crate) fn sign(&self, repository: &str, place: &Key, body: &[u8]) -> String {
        let key = &self.keys[0];
        let mac = key.mac(repository, place, body);
        format!("{} {}", key.name, mac.to_hex())
    }

    /// Whether `signature` is that of `body` in `place`; what is wrong is said in words.
    pub(crate) fn check(
        &self,
        repository: &str,
        place: &Key,
        body: &[u8],
        signature: &str,
    ) -> Result<(), String> {
        let (name, mac) = signature.split_once(' ').unwrap_or((signature, ""));
        let Some(key) = self.keys.iter().find(|key| key.name == name) else {
            return Err("it is signed with a key that is not among this installation's".to_owned());
        };
        // Compared in constant time, which this type does.
        match blake3::Hash::from_hex(mac) {
            Ok(mac) if mac == key.mac(repository, place, body) => Ok(()),
            _ => Err(format!(
                "it was changed, or made elsewhere, after key {name} signed it"
            )),
        }
    }
}

impl SigningKey {
    fn of(secret: &[u8; KEY_BYTES]) -> Self {
        let name = blake3::Hash::from_bytes(blake3::derive_key(NAMING, secret)).to_hex();
        Self {
            name: name[..NAME_DIGITS].to_owned(),
            secret: blake3::derive_key(SIGNING, secret),
        }
    }

    fn mac(&self, repository: &str, place: &Key, body: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        // With their lengths, so that nothing of one can pass for the beginning of the next.
        for part in [repository.as_bytes(), place.as_str().as_bytes(), body] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize()
    }
}

impl Repository {
    /// The same repository as one who has the keys of the installation sees it: what decides a restore is signed when it is
    /// written, and believed only with a signature.
    #[must_use]
    pub fn signed_with(mut self, keys: SigningKeys) -> Self {
        self.signing = Some(Arc::new(keys));
        self
    }

    /// A document that decides a restore, signed where there are keys.
    pub(crate) fn seal(&self, key: &Key, value: &impl Serialize) -> Result<Bytes, StoreError> {
        document::seal_signed(value, Layout::Indented, |body| {
            let keys = self.signing.as_ref()?;
            Some(keys.sign(self.id(), key, body))
        })
    }

    /// Whether the document `bytes` at `key` has a signature; where there are no keys nobody asks.
    ///
    /// # Errors
    /// [`StoreError::NotSigned`] when it has one that is wrong.
    pub(crate) fn is_signed(&self, key: &Key, bytes: &[u8]) -> Result<bool, StoreError> {
        let Some(keys) = &self.signing else {
            return Ok(true);
        };
        let Some((body, signature)) = document::signature(bytes) else {
            return Ok(false);
        };
        let checked = keys.check(self.id(), key, body, signature);
        checked
            .map(|()| true)
            .map_err(|detail| StoreError::NotSigned {
                key: key.to_string(),
                detail,
            })
    }

    /// Whether what belongs to `epoch` is believed without a signature.
    pub(crate) fn accepts_unsigned(&self, epoch: Epoch) -> bool {
        let keys = self.signing.as_ref();
        keys.is_none_or(|keys| keys.accepts_unsigned(epoch))
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.keys.iter().map(|key| &key.name);
        f.debug_list().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "0101010101010101010101010101010101010101010101010101010101010101";
    const NEW: &str = "0202020202020202020202020202020202020202020202020202020202020202";

    fn keys(text: &str) -> SigningKeys {
        SigningKeys::parse(text).unwrap()
    }

    fn place(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    #[test]
    fn a_signature_is_of_these_bytes_in_this_place_by_a_known_key() {
        let old = keys(OLD);
        let (here, there) = (place("a/1.json"), place("a/2.json"));
        let signature = old.sign("r", &here, b"body");
        assert_eq!(old.check("r", &here, b"body", &signature), Ok(()));
        assert!(old.check("r", &here, b"bodY", &signature).is_err());
        assert!(old.check("r", &there, b"body", &signature).is_err());
        assert!(old.check("other", &here, b"body", &signature).is_err());
        assert!(keys(NEW).check("r", &here, b"body", &signature).is_err());
        for forged in ["", " ", &signature[..20], &signature.replace(' ', "")] {
            assert!(old.check("r", &here, b"body", forged).is_err(), "{forged}");
        }
    }

    #[test]
    fn a_new_key_signs_and_the_old_one_is_still_believed() {
        let here = place("a");
        let before = keys(OLD).sign("r", &here, b"x");
        let both = keys(&format!("# since Monday\n{NEW}\n\n  {OLD}  \n"));
        assert_eq!(both.check("r", &here, b"x", &before), Ok(()));
        let after = both.sign("r", &here, b"x");
        assert_eq!(keys(NEW).check("r", &here, b"x", &after), Ok(()));
        assert!(keys(OLD).check("r", &here, b"x", &after).is_err());
    }

    #[test]
    fn what_cannot_be_a_key_is_refused_and_never_shown() {
        for text in [
            "",
            "# none",
            "secret-sesame",
            &OLD[1..],
            &format!("{OLD}\n{OLD}"),
        ] {
            let error = SigningKeys::parse(text).unwrap_err();
            assert!(
                !error.contains("sesame") && !error.contains("0101"),
                "{error}"
            );
        }
        assert!(!format!("{:?}", keys(OLD)).contains("0101"));
    }
}
