//! One application connection: what both of its directions share, and the queue of answers that are owed.
//!
//! A request goes app → broker and leaves a [`Pending`] in the queue before its bytes are written; a response goes
//! broker → app and takes the oldest. Answers of our own stand in the same queue, so that order is kept.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use cutline_protocol::{ConnId, Ticket};
use cutline_wire::frame::Frame;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::{
    Shared,
    fetch_session::{Expected, FetchSession},
    request::{Meaning, Sent},
};

/// Requests of one connection that may be unanswered; more wait in the socket.
pub const IN_FLIGHT_MAX: usize = 1_000;

/// What both directions of a connection share.
pub struct Session {
    /// Which connection.
    pub conn: ConnId,
    /// Everything that is the proxy's.
    pub shared: Arc<Shared>,
    /// The host by which the application reached the sidecar.
    pub host: String,
    /// Its fetches.
    pub fetches: Mutex<FetchSession>,
    /// Produces that were let through and are not answered.
    produces: AtomicUsize,
    quiet: Notify,
}

impl Session {
    /// A connection that has done nothing yet.
    #[must_use]
    pub fn new(conn: ConnId, shared: Arc<Shared>, host: String) -> Self {
        Self {
            conn,
            shared,
            host,
            fetches: Mutex::default(),
            produces: AtomicUsize::new(0),
            quiet: Notify::new(),
        }
    }

    /// Waits until no Produce of this connection is unanswered.
    pub async fn produces_answered(&self) {
        loop {
            let quiet = self.quiet.notified();
            if self.produces.load(Ordering::Acquire) == 0 {
                return;
            }
            quiet.await;
        }
    }
}

/// An answer that is owed to the application.
pub struct Pending {
    /// As the request had it.
    pub correlation_id: i32,
    /// As the request had it.
    pub api_key: i16,
    /// As the request had it.
    pub api_version: i16,
    /// When the request came.
    pub since: Instant,
    /// Where the answer comes from.
    pub answer: Answer,
}

/// Where an answer comes from.
pub enum Answer {
    /// The broker, and this is what it means.
    Broker(Meaning),
    /// The broker, to a Fetch; what the core was told of it, if there is one.
    Fetch(Option<Box<Expected>>),
    /// The broker, to a Produce.
    Produce(ProduceGuard),
    /// Nobody: a Fetch of which everything is held waits here, for at most its time.
    Held(Box<Expected>, u64),
    /// We have it.
    Here(Bytes),
    /// The broker, to a request of ours; the application never hears of it.
    Ours(oneshot::Sender<()>),
    /// A message of our own authentication: it goes to whoever authenticates.
    Login(oneshot::Sender<Frame>),
}

/// A Produce that was let through. Dropped without an answer, it is lost.
pub struct ProduceGuard {
    session: Arc<Session>,
    ticket: Option<Ticket>,
    /// Where it went.
    pub sent: Vec<Sent>,
}

impl ProduceGuard {
    /// A Produce on its way.
    #[must_use]
    pub fn new(session: &Arc<Session>, ticket: Option<Ticket>, sent: Vec<Sent>) -> Self {
        session.produces.fetch_add(1, Ordering::AcqRel);
        Self {
            session: session.clone(),
            ticket,
            sent,
        }
    }

    /// The core's ticket; afterwards the Produce counts as answered.
    pub fn take_ticket(&mut self) -> Option<Ticket> {
        self.ticket.take()
    }
}

impl Drop for ProduceGuard {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.session.shared.decide.produce_lost(ticket);
        }
        if self.session.produces.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.session.quiet.notify_waiters();
        }
    }
}
