//! Whom the command line believes over TLS, and what it shows.

use std::path::PathBuf;

use clap::Args;
use cutline_tls::{ClientSpec, IdentitySpec, Pem, ServerCheck};

/// Certificates and keys, as PEM files.
#[derive(Debug, Default, Args)]
pub struct Arguments {
    /// The authorities that are believed about an admin API with https:// [default: the system's]
    #[arg(long, global = true, env = "CUTLINE_TLS_CA", value_name = "PATH")]
    tls_ca: Option<PathBuf>,
    /// The certificate to show, where the admin API asks for one
    #[arg(
        long,
        global = true,
        env = "CUTLINE_TLS_CERTIFICATE",
        value_name = "PATH",
        requires = "tls_key"
    )]
    tls_certificate: Option<PathBuf>,
    /// The private key of --tls-certificate
    #[arg(
        long,
        global = true,
        env = "CUTLINE_TLS_KEY",
        value_name = "PATH",
        requires = "tls_certificate"
    )]
    tls_key: Option<PathBuf>,
}

impl Arguments {
    /// How to speak TLS, when anything was said about it.
    #[must_use]
    pub fn spec(self) -> Option<ClientSpec> {
        let identity = self.tls_certificate.zip(self.tls_key);
        let spec = ClientSpec {
            roots: self.tls_ca.map(Pem::File),
            identity: identity.map(|(certificate, key)| IdentitySpec {
                certificate: Pem::File(certificate),
                key: Pem::File(key),
            }),
            check: ServerCheck::Full,
        };
        (spec != ClientSpec::default()).then_some(spec)
    }
}
