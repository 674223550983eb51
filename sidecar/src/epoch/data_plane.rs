//! What the epoch's shell needs of the proxy, and nothing more.

use std::{future::Future, pin::Pin};

use cutline_protocol::ConnId;

/// A boxed future, so that the proxy can stand behind a trait object.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The running proxy, as seen by whoever fences and asks.
pub trait DataPlane: Send + Sync {
    /// Closes the application's connections, each after its outstanding Produces are answered (bounded), and refuses new
    /// ones until [`Self::lift`]. Returns when none is left open.
    fn fence(&self) -> Pending<'_, ()>;

    /// Lets the application connect again.
    fn lift(&self);

    /// While suspended no fetch is forwarded: the control topic has not been read for too long to know the masks.
    fn suspend(&self, suspended: bool);

    /// Sends something harmless upstream on each of these connections and waits for its answer: then everything sent before
    /// was processed. Connections that are gone count as proved.
    fn prove<'a>(&'a self, conns: &'a [ConnId]) -> Pending<'a, ()>;

    /// Open connections of the application.
    fn app_connections(&self) -> u32;
}
