//! Where applications find the cluster's brokers: a local port for each.
//!
//! Promises that a broker's address has a listener before an application is told of it, and that a broker keeps its port
//! as long as the sidecar runs; over restarts too, where the preferred port is free.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
};

use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::mpsc,
};

/// Brokers given a local port; beyond it something is wrong with the metadata.
pub const BROKERS_MAX: usize = 5_000;
// Connections not yet accepted.
const BACKLOG: u32 = 1_024;

/// Which broker an application connection is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// Any of the bootstrap list.
    Bootstrap,
    /// The broker of this number.
    Node(i32),
}

#[derive(Debug)]
struct Broker {
    address: String,
    local: u16,
}

/// The brokers known so far.
#[derive(Debug)]
pub struct Brokers {
    bootstrap: Vec<String>,
    listen: SocketAddr,
    known: Mutex<BTreeMap<i32, Broker>>,
    opened: mpsc::UnboundedSender<(Upstream, TcpListener)>,
}

impl Brokers {
    /// Nobody known yet; listeners that are opened are sent to `opened`, at most [`BROKERS_MAX`].
    #[must_use]
    pub fn new(
        bootstrap: Vec<String>,
        listen: SocketAddr,
        opened: mpsc::UnboundedSender<(Upstream, TcpListener)>,
    ) -> Self {
        Self {
            bootstrap,
            listen,
            known: Mutex::default(),
            opened,
        }
    }

    /// The addresses to try for `upstream`.
    #[must_use]
    pub fn addresses(&self, upstream: Upstream) -> Vec<String> {
        match upstream {
            Upstream::Bootstrap => self.bootstrap.clone(),
            Upstream::Node(node) => {
                let known = self.known.lock();
                known
                    .get(&node)
                    .map(|broker| broker.address.clone())
                    .into_iter()
                    .collect()
            }
        }
    }

    /// The local port of broker `node`, which listens at `host:port`.
    pub fn local(&self, node: i32, host: &str, port: i32) -> io::Result<u16> {
        let address = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        let mut known = self.known.lock();
        if let Some(broker) = known.get_mut(&node) {
            if broker.address != address {
                broker.address = address;
            }
            return Ok(broker.local);
        }
        if known.len() >= BROKERS_MAX {
            return Err(io::Error::other("too many brokers"));
        }
        let listener = listen(SocketAddr::new(self.listen.ip(), self.preferred(node)))
            .or_else(|_| listen(SocketAddr::new(self.listen.ip(), 0)))?;
        let local = listener.local_addr()?.port();
        tracing::info!(node, address, port = local, "broker has a local port");
        known.insert(node, Broker { address, local });
        self.opened
            .send((Upstream::Node(node), listener))
            .map_err(|_| io::Error::other("stopping"))?;
        Ok(local)
    }

    fn preferred(&self, node: i32) -> u16 {
        // Node −1 and anything beyond the range of ports get any free one.
        let port = i64::from(self.listen.port()) + 1 + i64::from(node);
        u16::try_from(port).unwrap_or(0)
    }
}

/// Listens at `address` with a backlog for a crowd.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restarted sidecar must get its port back although old connections linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
