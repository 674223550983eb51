//! An authority of a test's own, and certificates it signs, as PEM files that can be replaced.
//!
//! It knows no program: it writes files, and tells where they are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// What every certificate is for: both ends of connections on this machine.
const NAMES: [&str; 2] = ["127.0.0.1", "localhost"];

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// Where a certificate and its key are.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When its key cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let pem = params.self_signed(&key).expect("a key signs itself").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Writes its certificate to `path`.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write_to(&self, path: &Path) {
        fs::write(path, &self.pem).expect("a file can be written");
    }

    /// Signs a new certificate for this machine and writes it to `directory`, over what was there under that name.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn sign(&self, directory: &Path, name: &str) -> Identity {
        self.sign_for(&[], directory, name)
    }

    /// The same for hosts of these names too.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn sign_for(&self, hosts: &[&str], directory: &Path, name: &str) -> Identity {
        let names: Vec<String> = (NAMES.iter().chain(hosts))
            .map(ToString::to_string)
            .collect();
        let mut params = CertificateParams::new(names).expect("they are names");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key can be made");
        let signed = params.signed_by(&key, &self.issuer);
        let pem = signed.expect("the authority signs").pem();
        let identity = Identity {
            certificate: directory.join(format!("{name}.crt")),
            key: directory.join(format!("{name}.key")),
        };
        fs::write(&identity.certificate, pem).expect("a file can be written");
        fs::write(&identity.key, key.serialize_pem()).expect("a file can be written");
        identity
    }
}

impl Identity {
    /// The flags of a program that shows it.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        [
            "--tls-certificate",
            &certificate.to_string(),
            "--tls-key",
            &key.to_string(),
        ]
        .map(str::to_owned)
        .into()
    }
}
