//! Whose signatures on certificates are believed.

use rustls::RootCertStore;

use crate::{Pem, TlsError, identity::unusable, pem::Contents};

/// The authorities in a PEM; all of them have to be usable, as a person named them.
pub(crate) fn named(pem: &Pem, contents: &Contents) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in contents.certificates(pem)? {
        let added = roots.add(certificate);
        added.map_err(|error| unusable(pem, &error))?;
    }
    Ok(roots)
}

/// The system's, found as OpenSSL finds them, `SSL_CERT_FILE` and `SSL_CERT_DIR` included.
pub(crate) fn of_the_system() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems keep some old authorities that no longer parse.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let first = found.errors.first();
        return Err(TlsError::NoSystemRoots {
            reason: first.map_or_else(|| "none was found".to_owned(), ToString::to_string),
        });
    }
    Ok(roots)
}
