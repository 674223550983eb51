//! What a client connects with: whom it believes, and who it is.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
    sign::SingleCertAndKey,
};

use crate::{
    IdentitySpec, Pem, TlsError,
    pem::Contents,
    provider,
    reload::{Build, Built, Reloading},
    roots,
};

/// How a client connects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientSpec {
    /// The authorities that are believed, and no others; `None`: the system's.
    pub roots: Option<Pem>,
    /// What is shown to servers that ask.
    pub identity: Option<IdentitySpec>,
    /// What is checked of a server.
    pub check: ServerCheck,
}

/// What is checked of a server's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerCheck {
    /// Who signed it, when it is valid, and that it is for the name that was dialled.
    #[default]
    Full,
    /// As [`Self::Full`], for whatever name.
    AnyName,
    /// Nothing: the connection is encrypted, to whoever is there.
    Nothing,
}

/// A client's configuration. Cheap to clone; all clones look at the files together.
#[derive(Clone, Debug)]
pub struct ClientTls(Arc<Reloading<ClientSpec>>);

impl ClientTls {
    /// Reads everything, once.
    ///
    /// # Errors
    /// When something cannot be read or used.
    pub fn load(spec: ClientSpec) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(Reloading::load(spec)?)))
    }

    /// What to make the next connection with. Files that changed are read again, every [`crate::LOOK_PERIOD`] at most; what
    /// cannot be used is logged, and the last that could is given. It reads small files and does not wait for anything else.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        self.0.current()
    }

    /// When the certificate it shows ends.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.0.expires()
    }
}

impl Build for ClientSpec {
    type Config = ClientConfig;

    fn pems(&self) -> Vec<&Pem> {
        let identity = self.identity.iter().flat_map(IdentitySpec::pems);
        self.roots.iter().chain(identity).collect()
    }

    fn build(&self, contents: &Contents) -> Result<Built<ClientConfig>, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has what every protocol version needs");
        let verifier = self.verifier(contents)?;
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let Some(identity) = &self.identity else {
            return Ok(Built {
                config: builder.with_no_client_auth(),
                expires: None,
            });
        };
        let identity = identity.load(contents)?;
        Ok(Built {
            config: builder
                .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.key))),
            expires: Some(identity.expires),
        })
    }
}

impl ClientSpec {
    fn verifier(&self, contents: &Contents) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        let algorithms = provider().signature_verification_algorithms;
        if self.check == ServerCheck::Nothing {
            return Ok(Arc::new(Anyone { algorithms }));
        }
        let roots = match &self.roots {
            Some(pem) => roots::named(pem, contents)?,
            None => roots::of_the_system()?,
        };
        if self.check == ServerCheck::AnyName {
            return Ok(Arc::new(AnyName { roots, algorithms }));
        }
        let full = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        Ok(full.expect("there are roots, and no revocation lists"))
    }
}

/// Believes a certificate that one of the authorities signed, for whatever name.
#[derive(Debug)]
struct AnyName {
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let (roots, algorithms) = (&self.roots, self.algorithms.all);
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            roots,
            intermediates,
            now,
            algorithms,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Believes everyone, as was asked for in words. Signatures are not looked at either: the certificate may be of a kind that
/// cannot be parsed, and proves nothing.
#[derive(Debug)]
struct Anyone {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
