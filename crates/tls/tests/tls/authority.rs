//! An authority for one test, and what it signs.

use std::{fs, path::Path};

use cutline_tls::{IdentitySpec, Pem};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, as PEM.
pub struct Signed {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    pub fn pem(&self) -> Pem {
        Pem::text("the authority", &self.pem)
    }

    pub fn sign(&self, name: &str) -> Signed {
        self.sign_until(name, 4000)
    }

    /// One that ends with the year before `year`.
    pub fn sign_until(&self, name: &str, year: i32) -> Signed {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        Signed {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Signed {
    pub fn identity(&self) -> IdentitySpec {
        IdentitySpec {
            certificate: Pem::text("the certificate", &self.certificate),
            key: Pem::text("the key", &self.key),
        }
    }

    /// Writes both into `directory`.
    pub fn write_to(&self, directory: &Path) -> IdentitySpec {
        let spec = paths_in(directory);
        fs::write(directory.join("tls.crt"), &self.certificate).unwrap();
        fs::write(directory.join("tls.key"), &self.key).unwrap();
        spec
    }
}

pub fn paths_in(directory: &Path) -> IdentitySpec {
    IdentitySpec {
        certificate: Pem::file(directory.join("tls.crt")),
        key: Pem::file(directory.join("tls.key")),
    }
}
