//! Where PEM is, and what certificates and keys are in it.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{Error as PemError, PemObject},
};

use crate::TlsError;

/// The longest file that is read: a bundle of every public authority is a quarter of a megabyte.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// How an encrypted key begins.
const ENCRYPTED: &[u8] = b"BEGIN ENCRYPTED PRIVATE KEY";
/// How an encrypted key of the old form goes on.
const ENCRYPTED_OLD: &[u8] = b"Proc-Type: 4,ENCRYPTED";

/// Where the PEM of a certificate, of several, or of a key is. It prints as where that is, never as what it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// In a file, which is looked at again.
    File(PathBuf),
    /// Here.
    Text {
        /// What errors call it, as the setting's name.
        name: String,
        /// The PEM itself.
        text: String,
    },
}

impl Pem {
    /// PEM in a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(path.into())
    }

    /// PEM that was given as it is.
    pub fn text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Text {
            name: name.into(),
            text: text.into(),
        }
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Text { name, .. } => f.write_str(name),
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({self})")
    }
}

/// What several [`Pem`]s hold, all read at one time.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Contents {
    pub(crate) fn read(pems: &[&Pem]) -> Result<Self, TlsError> {
        let mut files = BTreeMap::new();
        for pem in pems {
            if let Pem::File(path) = pem {
                let bytes = read_file(path).map_err(|reason| TlsError::Unreadable {
                    pem: pem.to_string(),
                    reason,
                })?;
                files.insert(path.clone(), bytes);
            }
        }
        Ok(Self { files })
    }

    fn of<'a>(&'a self, pem: &'a Pem) -> &'a [u8] {
        match pem {
            Pem::File(path) => self.files.get(path).map_or(&[], Vec::as_slice),
            Pem::Text { text, .. } => text.as_bytes(),
        }
    }

    /// Every certificate, in the order they stand there; at least one.
    pub(crate) fn certificates(&self, pem: &Pem) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.of(pem)).collect();
        let found = found.map_err(|error| not_pem(pem, &error))?;
        if found.is_empty() {
            return Err(TlsError::NoCertificate {
                pem: pem.to_string(),
            });
        }
        Ok(found)
    }

    /// The first private key.
    pub(crate) fn key(&self, pem: &Pem) -> Result<PrivateKeyDer<'static>, TlsError> {
        let bytes = self.of(pem);
        let says = |words: &[u8]| bytes.windows(words.len()).any(|window| window == words);
        if says(ENCRYPTED) || says(ENCRYPTED_OLD) {
            return Err(TlsError::EncryptedKey {
                pem: pem.to_string(),
            });
        }
        PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
            PemError::NoItemsFound => TlsError::NoKey {
                pem: pem.to_string(),
            },
            error => not_pem(pem, &error),
        })
    }
}

fn read_file(path: &PathBuf) -> Result<Vec<u8>, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if length.len() > FILE_BYTES_MAX {
        return Err(format!("it is longer than {FILE_BYTES_MAX} bytes"));
    }
    std::fs::read(path).map_err(|error| error.to_string())
}

/// In words of our own: what the parser tells quotes lines, and lines may be a key's.
fn not_pem(pem: &Pem, error: &PemError) -> TlsError {
    TlsError::NotPem {
        pem: pem.to_string(),
        reason: match error {
            PemError::MissingSectionEnd { .. } => "a section has no -----END …----- line",
            PemError::IllegalSectionStart { .. } => "a -----BEGIN …----- line is damaged",
            PemError::Base64Decode(_) => "what is between BEGIN and END is no base64",
            PemError::SectionTooLarge => "a section is too long",
            _ => "it cannot be parsed",
        },
    }
}
