//! A certificate with its chain and its private key: who somebody is.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use rustls::{
    CertificateError, Error, InconsistentKeys, RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    pki_types::{CertificateDer, UnixTime},
    server::ParsedCertificate,
    sign::CertifiedKey,
};

use crate::{Pem, TlsError, pem::Contents, provider};

/// Long after every certificate: the year 9999.
const END_OF_TIME: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(253_370_764_800));

/// Where a certificate and its key are. Both may be in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitySpec {
    /// The certificate, then those between it and an authority.
    pub certificate: Pem,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1, without a passphrase.
    pub key: Pem,
}

/// An identity that can be shown.
pub(crate) struct Identity {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) expires: Timestamp,
}

impl IdentitySpec {
    pub(crate) fn pems(&self) -> [&Pem; 2] {
        [&self.certificate, &self.key]
    }

    pub(crate) fn load(&self, contents: &Contents) -> Result<Identity, TlsError> {
        let chain = contents.certificates(&self.certificate)?;
        let key = contents.key(&self.key)?;
        let expires = check_valid(&chain[0], &self.certificate)?;
        let certified = CertifiedKey::from_der(chain, key, &provider());
        let key = certified.map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::KeyDoesNotFit {
                key: self.key.to_string(),
                certificate: self.certificate.to_string(),
            },
            error => unusable(&self.key, &error),
        })?;
        Ok(Identity {
            key: Arc::new(key),
            expires,
        })
    }
}

pub(crate) fn unusable(pem: &Pem, error: &Error) -> TlsError {
    TlsError::Unusable {
        pem: pem.to_string(),
        reason: error.to_string(),
    }
}

/// That a certificate is valid now; until when.
fn check_valid(certificate: &CertificateDer<'_>, pem: &Pem) -> Result<Timestamp, TlsError> {
    let parsed = ParsedCertificate::try_from(certificate);
    let parsed = parsed.map_err(|error| unusable(pem, &error))?;
    match at(&parsed, UnixTime::now()) {
        Validity::Over(end) => {
            return Err(TlsError::Expired {
                pem: pem.to_string(),
                at: end,
            });
        }
        Validity::Ahead(start) => {
            return Err(TlsError::NotYetValid {
                pem: pem.to_string(),
                at: start,
            });
        }
        Validity::Now => {}
    }
    Ok(match at(&parsed, END_OF_TIME) {
        Validity::Over(end) => end,
        Validity::Ahead(_) | Validity::Now => Timestamp::MAX,
    })
}

enum Validity {
    Ahead(Timestamp),
    Now,
    Over(Timestamp),
}

/// How a certificate stands at a time. Validity is what is checked first, so that it is told although nobody is trusted here
/// and the check must fail.
fn at(certificate: &ParsedCertificate<'_>, now: UnixTime) -> Validity {
    let nobody = RootCertStore::empty();
    let algorithms = provider().signature_verification_algorithms.all;
    match verify_server_cert_signed_by_trust_anchor(certificate, &nobody, &[], now, algorithms) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Validity::Over(timestamp(not_after))
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
            not_before, ..
        })) => Validity::Ahead(timestamp(not_before)),
        _ => Validity::Now,
    }
}

pub(crate) fn timestamp(time: UnixTime) -> Timestamp {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}
