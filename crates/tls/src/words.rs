//! Why a TLS connection did not come to be, in words that say what to do.

use std::{error::Error as StdError, io};

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use crate::identity::timestamp;

/// What TLS says is wrong, when `error` or anything that caused it comes from TLS. "The other side" is whoever is at the other
/// end of the connection.
#[must_use]
pub fn explain(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<Error>() {
            return Some(words(error));
        }
        // An I/O error that wraps another is asked for what it wraps: its source is what lies below that.
        if let Some(inner) = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            return explain(inner);
        }
        next = error.source();
    }
    None
}

fn words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => received(*alert),
        Error::NoCertificatesPresented => "the other side showed no certificate".to_owned(),
        // What HTTP and Kafka begin with are no types of TLS.
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "what the other side speaks is not TLS".to_owned()
        }
        error => error.to_string(),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "the other side's certificate is signed by nobody who is believed here: see that the right CA file is named".to_owned()
        }
        CertificateError::Expired => "the other side's certificate expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the other side's certificate expired at {}", timestamp(*not_after))
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the other side's certificate is not valid yet: see that the clocks are right".to_owned()
        }
        CertificateError::NotValidForName => {
            "the other side's certificate is for another name".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the other side's certificate is for {}, not for {}",
            match presented.as_slice() {
                [] => "no name at all".to_owned(),
                names => names.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", "),
            },
            expected.to_str(),
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the other side's certificate is not for this purpose: servers need the extended key usage serverAuth, clients clientAuth".to_owned()
        }
        // What `openssl req -x509` makes, used as it is.
        CertificateError::Other(error) if error.to_string().contains("CaUsedAsEndEntity") => {
            "the other side's certificate is an authority's own (CA:TRUE): let that authority sign one for it".to_owned()
        }
        error => format!("the other side's certificate is no good: {error}"),
    }
}

/// A name of a certificate, which rustls tells as `DnsName("x")`.
fn plain(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

/// What the other side thinks of us.
fn received(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the other side asks for a certificate, and none was shown".to_owned()
        }
        // Java says so of a certificate that was not shown at all, too.
        AlertDescription::BadCertificate => {
            "the other side asks for a certificate, and either none was shown, or it does not accept the certificate shown (BadCertificate)".to_owned()
        }
        AlertDescription::UnknownCA
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateRevoked => {
            format!("the other side does not accept the certificate shown ({alert:?})")
        }
        AlertDescription::CertificateExpired => {
            "the other side says that the certificate shown is expired or not valid yet".to_owned()
        }
        AlertDescription::HandshakeFailure => {
            "the other side broke off the handshake: it may ask for a certificate, or share no cipher".to_owned()
        }
        alert => format!("the other side broke off: {alert:?}"),
    }
}
