//! What TLS connections to brokers are made with, from the settings.

use std::{collections::BTreeMap, path::Path};

use cutline_tls::{ClientSpec, ClientTls, IdentitySpec, Pem, ServerCheck};

use crate::{error::SecurityError, names};

type Settings = BTreeMap<String, String>;

pub(crate) fn client(settings: &Settings) -> Result<ClientTls, SecurityError> {
    if settings.contains_key(names::KEY_PASSWORD) {
        let reason = "keys behind a passphrase cannot be read: give the key without one, in a file that only this program can read";
        return Err(SecurityError::setting(names::KEY_PASSWORD, reason));
    }
    let roots = pem(settings, names::CA_LOCATION, names::CA_PEM)?;
    if let Some(location) = settings.get(names::CA_LOCATION)
        && Path::new(location).is_dir()
    {
        let reason = "it is a directory: name one file with all certificates in it";
        return Err(SecurityError::setting(names::CA_LOCATION, reason));
    }
    let certificate = pem(
        settings,
        names::CERTIFICATE_LOCATION,
        names::CERTIFICATE_PEM,
    )?;
    let key = pem(settings, names::KEY_LOCATION, names::KEY_PEM)?;
    let identity = match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(IdentitySpec { certificate, key }),
        (Some(_), None) => {
            let reason = "the certificate has no key: set this or kafka.ssl.key.pem";
            return Err(SecurityError::setting(names::KEY_LOCATION, reason));
        }
        (None, Some(_)) => {
            let reason = "the key has no certificate: set this or kafka.ssl.certificate.pem";
            return Err(SecurityError::setting(names::CERTIFICATE_LOCATION, reason));
        }
    };
    let check = check(settings)?;
    Ok(ClientTls::load(ClientSpec {
        roots,
        identity,
        check,
    })?)
}

fn pem(settings: &Settings, location: &str, text: &str) -> Result<Option<Pem>, SecurityError> {
    match (settings.get(location), settings.get(text)) {
        (None, None) => Ok(None),
        (Some(path), None) => Ok(Some(Pem::file(path))),
        (None, Some(pem)) => Ok(Some(Pem::text(format!("kafka.{text}"), pem))),
        (Some(_), Some(_)) => {
            let reason = format!("kafka.{location} is set too: set one of them");
            Err(SecurityError::setting(text, reason))
        }
    }
}

fn check(settings: &Settings) -> Result<ServerCheck, SecurityError> {
    let verifies = match settings.get(names::CHECK).map(String::as_str) {
        None | Some("true") => true,
        Some("false") => false,
        Some(_) => {
            return Err(SecurityError::setting(
                names::CHECK,
                "true or false is expected",
            ));
        }
    };
    let names_too = match settings.get(names::NAME_CHECK).map(String::as_str) {
        None | Some("https") => true,
        Some("none") => false,
        Some(_) => {
            let reason = "https or none is expected";
            return Err(SecurityError::setting(names::NAME_CHECK, reason));
        }
    };
    Ok(match (verifies, names_too) {
        (false, _) => ServerCheck::Nothing,
        (true, false) => ServerCheck::AnyName,
        (true, true) => ServerCheck::Full,
    })
}
