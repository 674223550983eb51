//! Who is at the other end of a connection: its address, and whether it showed a certificate.
//!
//! A certificate that was shown is one of the named authorities: others do not get past the handshake. Who somebody is and what
//! they may do, their token says.

use std::{fmt, net::SocketAddr};

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use tokio::net::TcpListener;

use crate::tls::TlsListener;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// What it showed.
    pub certificate: Certificate,
}

/// What was shown of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// None is asked for here.
    NotAsked,
    /// One is asked for, and none was shown.
    Missing,
    /// One that is accepted.
    Shown,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self {
            address: *stream.remote_addr(),
            certificate: Certificate::NotAsked,
        }
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        *stream.remote_addr()
    }
}
