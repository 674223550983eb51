//! Whom the command line believes over TLS, and what it shows.

use std::path::PathBuf;

use clap::Args;
use cutline_tls::{ClientSpec, IdentitySpec, Pem, ServerCheck};
use serde::{Deserialize, Serialize};

use crate::GENERAL;

/// Certificates and keys, as PEM files: on the command line, and in a context.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Files {
    /// The authorities that are believed about an admin API with https:// [default: the system's]
    #[arg(
        long,
        global = true,
        env = "CUTLINE_TLS_CA",
        value_name = "PATH",
        help_heading = GENERAL
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_ca: Option<PathBuf>,
    /// The certificate to show, where the admin API asks for one
    #[arg(
        long,
        global = true,
        env = "CUTLINE_TLS_CERTIFICATE",
        value_name = "PATH",
        requires = "tls_key",
        help_heading = GENERAL
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_certificate: Option<PathBuf>,
    /// The private key of --tls-certificate
    #[arg(
        long,
        global = true,
        env = "CUTLINE_TLS_KEY",
        value_name = "PATH",
        requires = "tls_certificate",
        help_heading = GENERAL
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_key: Option<PathBuf>,
}

impl Files {
    /// How to speak TLS, when anything was said about it.
    #[must_use]
    pub fn spec(&self) -> Option<ClientSpec> {
        let identity = self.tls_certificate.clone().zip(self.tls_key.clone());
        let spec = ClientSpec {
            roots: self.tls_ca.clone().map(Pem::File),
            identity: identity.map(|(certificate, key)| IdentitySpec {
                certificate: Pem::File(certificate),
                key: Pem::File(key),
            }),
            check: ServerCheck::Full,
        };
        (spec != ClientSpec::default()).then_some(spec)
    }

    /// These, and of `others` what is not among them.
    #[must_use]
    pub fn or(self, others: &Self) -> Self {
        let (certificate, key) = match (self.tls_certificate, self.tls_key) {
            // A certificate and its key belong together.
            (None, None) => (others.tls_certificate.clone(), others.tls_key.clone()),
            own => own,
        };
        Self {
            tls_ca: self.tls_ca.or_else(|| others.tls_ca.clone()),
            tls_certificate: certificate,
            tls_key: key,
        }
    }

    /// The same, each path found from wherever a later command is run.
    #[must_use]
    pub fn absolute(self) -> Self {
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Self {
            tls_ca: self.tls_ca.map(absolute),
            tls_certificate: self.tls_certificate.map(absolute),
            tls_key: self.tls_key.map(absolute),
        }
    }

    /// The paths, as they are shown: name and path of each that there is.
    pub fn shown(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        let all = [
            ("tls ca", &self.tls_ca),
            ("tls certificate", &self.tls_certificate),
            ("tls key", &self.tls_key),
        ];
        all.into_iter()
            .filter_map(|(name, path)| Some((name, path.as_ref()?.display().to_string())))
    }
}
