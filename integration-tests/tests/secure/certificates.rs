//! Certificates for brokers and clients, good ones and bad ones, as files.

use std::path::{Path, PathBuf};

use integration_tests::Run;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

pub struct Certificates {
    directory: PathBuf,
}

impl Certificates {
    /// An authority, a broker's certificate, one that expired, one for another host, a client's; and a second authority.
    pub fn make() -> Self {
        let made = Self {
            directory: Run::this().part("certificates"),
        };
        let ours = made.authority("ca");
        made.authority("strangers");
        made.sign(&ours, "broker", "127.0.0.1", false);
        made.sign(&ours, "expired", "127.0.0.1", true);
        made.sign(&ours, "elsewhere", "elsewhere.example", false);
        made.sign(&ours, "client", "client.example", false);
        made
    }

    pub fn path(&self, file: &str) -> String {
        self.directory.join(file).display().to_string()
    }

    fn authority(&self, name: &str) -> Issuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        self.write(&format!("{name}.pem"), &certificate.pem());
        Issuer::new(params, key)
    }

    fn sign(&self, issuer: &Issuer<'static, KeyPair>, name: &str, host: &str, expired: bool) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap().pem();
        self.write(&format!("{name}.pem"), &certificate);
        self.write(&format!("{name}.key"), &key.serialize_pem());
        // As Kafka wants it: key and certificate in one file.
        let both = format!("{}{certificate}", key.serialize_pem());
        self.write(&format!("{name}.store"), &both);
    }

    fn write(&self, file: &str, text: &str) {
        let path: &Path = &self.directory.join(file);
        std::fs::write(path, text).unwrap();
    }
}
