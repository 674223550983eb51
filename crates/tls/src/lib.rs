//! Certificates and keys, from PEM to what a TLS connection is made with; and looked at again, so that they can be replaced.
//!
//! [`ClientTls`] and [`ServerTls`] are asked for their configuration before every connection: files that changed since are read
//! then. The crate opens no connection and reads no settings; whoever does brings a [`Pem`] for each certificate and key.

mod client;
mod error;
mod identity;
mod pem;
mod reload;
mod roots;
mod server;
mod words;

pub use client::{ClientSpec, ClientTls, ServerCheck};
pub use error::TlsError;
pub use identity::IdentitySpec;
pub use pem::Pem;
pub use reload::LOOK_PERIOD;
pub use server::{ClientCertificates, ServerSpec, ServerTls};
pub use words::explain;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The cryptography of every connection: never a process-wide default, which somebody else may have chosen.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
