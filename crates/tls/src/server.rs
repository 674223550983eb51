//! What a server answers with: who it is, and whom it asks to say who they are.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::{
    ServerConfig,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::SingleCertAndKey,
};

use crate::{
    IdentitySpec, Pem, TlsError,
    pem::Contents,
    provider,
    reload::{Build, Built, Reloading},
    roots,
};

/// How a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSpec {
    /// What it shows.
    pub identity: IdentitySpec,
    /// What it asks of clients.
    pub clients: ClientCertificates,
}

/// Whether clients have to show certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    NotAsked,
    /// Those of these authorities are taken, and none is too; one of another authority is refused.
    Optional(Pem),
    /// One of these authorities is required.
    Required(Pem),
}

/// A server's configuration. Cheap to clone; all clones look at the files together.
#[derive(Clone, Debug)]
pub struct ServerTls(Arc<Reloading<ServerSpec>>);

impl ServerTls {
    /// Reads everything, once.
    ///
    /// # Errors
    /// When something cannot be read or used.
    pub fn load(spec: ServerSpec) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(Reloading::load(spec)?)))
    }

    /// What to answer the next connection with; as [`crate::ClientTls::config`].
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.0.current()
    }

    /// When the certificate it shows ends.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.0.expires()
    }
}

impl Build for ServerSpec {
    type Config = ServerConfig;

    fn pems(&self) -> Vec<&Pem> {
        let clients = match &self.clients {
            ClientCertificates::NotAsked => None,
            ClientCertificates::Optional(pem) | ClientCertificates::Required(pem) => Some(pem),
        };
        self.identity.pems().into_iter().chain(clients).collect()
    }

    fn build(&self, contents: &Contents) -> Result<Built<ServerConfig>, TlsError> {
        let identity = self.identity.load(contents)?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has what every protocol version needs")
            .with_client_cert_verifier(self.verifier(contents)?)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.key)));
        Ok(Built {
            config,
            expires: Some(identity.expires),
        })
    }
}

impl ServerSpec {
    fn verifier(&self, contents: &Contents) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let (pem, is_required) = match &self.clients {
            ClientCertificates::NotAsked => return Ok(WebPkiClientVerifier::no_client_auth()),
            ClientCertificates::Optional(pem) => (pem, false),
            ClientCertificates::Required(pem) => (pem, true),
        };
        let roots = Arc::new(roots::named(pem, contents)?);
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
        if !is_required {
            builder = builder.allow_unauthenticated();
        }
        Ok(builder
            .build()
            .expect("there are roots, and no revocation lists"))
    }
}
