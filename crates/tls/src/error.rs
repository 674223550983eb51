//! What is wrong with certificates and keys: which one, and what to do. Nothing of a key is ever part of it.

use jiff::Timestamp;

/// Why a configuration cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("CL0400 {pem} cannot be read: {reason}")]
    Unreadable {
        /// Which.
        pem: String,
        /// Why.
        reason: String,
    },
    /// What should be PEM is none.
    #[error("CL0401 {pem} is no PEM: {reason}")]
    NotPem {
        /// Which.
        pem: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// PEM without a certificate.
    #[error("CL0401 {pem} holds no certificate: PEM with -----BEGIN CERTIFICATE----- is expected")]
    NoCertificate {
        /// Which.
        pem: String,
    },
    /// PEM without a key.
    #[error("CL0401 {pem} holds no private key: PEM with -----BEGIN PRIVATE KEY----- is expected")]
    NoKey {
        /// Which.
        pem: String,
    },
    /// A key behind a passphrase.
    #[error(
        "CL0401 the private key in {pem} is encrypted, which cannot be read: give it without a passphrase (openssl pkey -in … -out …)"
    )]
    EncryptedKey {
        /// Which.
        pem: String,
    },
    /// The key of another certificate.
    #[error("CL0402 the private key in {key} does not belong to the certificate in {certificate}")]
    KeyDoesNotFit {
        /// Where the key is.
        key: String,
        /// Where the certificate is.
        certificate: String,
    },
    /// A certificate of yesterday.
    #[error("CL0403 the certificate in {pem} expired at {at}: renew it")]
    Expired {
        /// Which.
        pem: String,
        /// When.
        at: Timestamp,
    },
    /// A certificate of tomorrow.
    #[error(
        "CL0403 the certificate in {pem} is valid from {at} on, which is not yet: see that the clock is right"
    )]
    NotYetValid {
        /// Which.
        pem: String,
        /// From when on.
        at: Timestamp,
    },
    /// A certificate or key that cannot be worked with.
    #[error("CL0404 what is in {pem} cannot be used: {reason}")]
    Unusable {
        /// Which.
        pem: String,
        /// Why.
        reason: String,
    },
    /// The system knows no authorities.
    #[error(
        "CL0405 this system has no list of certificate authorities ({reason}): install one (Debian: ca-certificates), or name a file of your own"
    )]
    NoSystemRoots {
        /// What was found.
        reason: String,
    },
}
