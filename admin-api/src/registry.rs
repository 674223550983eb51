//! The sidecars that are connected now: who they are, what they said last, and a way to speak to each.
//!
//! A newer connection of the same sidecar replaces the older. What was asked of a connection that breaks is answered
//! with an error, never left open. The registry knows no epochs and no restores, and nothing of what is registered in
//! the control topic.

mod sidecar;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cutline_client::link::{Downlink, Uplink};
use cutline_model::{FromSidecar, Incarnation, Offset, SidecarId, ToSidecar};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    time::Instant,
};

pub use sidecar::{Connected, Hello, SidecarStatus};

/// Messages that may wait for one sidecar; one that reads slower than that is cut off.
pub const OUTBOX_MAX: usize = 4_096;
/// Link events that a listener may be behind; more than a few for each of 10,000 sidecars.
const EVENTS_BEHIND_MAX: usize = 65_536;

/// What happened on some link.
#[derive(Clone, Debug)]
pub enum LinkEvent {
    /// A sidecar connected.
    Connected {
        /// Who.
        sidecar: SidecarId,
        /// Which run.
        incarnation: Incarnation,
    },
    /// A sidecar's connection is gone.
    Lost {
        /// Who.
        sidecar: SidecarId,
        /// Which run.
        incarnation: Incarnation,
        /// Why, for people.
        reason: String,
    },
    /// A sidecar spoke about an epoch.
    Epoch {
        /// Who.
        sidecar: SidecarId,
        /// Which run.
        incarnation: Incarnation,
        /// What it said.
        message: Arc<FromSidecar>,
    },
}

/// Why something could not be said to a sidecar, or was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It is not connected.
    #[error("the sidecar {0} is not connected")]
    NotConnected(SidecarId),
    /// Its connection broke before it answered.
    #[error("the sidecar {0} was lost before it answered")]
    Lost(SidecarId),
    /// It did not answer in time.
    #[error("the sidecar {0} did not answer within {1:?}")]
    TimedOut(SidecarId, Duration),
    /// It answered that it did not do it.
    #[error("the sidecar {0}: {1}")]
    Refused(SidecarId, String),
}

/// One connection; a newer one of the same sidecar has a higher number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    sidecar: SidecarId,
    number: u64,
}

/// An admitted connection.
#[derive(Debug)]
pub struct Admitted {
    /// Names it to the registry.
    pub token: Token,
    /// What to send; ends when the connection was replaced or cut off.
    pub outbox: mpsc::Receiver<Downlink>,
}

struct Entry {
    number: u64,
    connected: Connected,
    outbox: mpsc::Sender<Downlink>,
    asked: HashMap<u64, oneshot::Sender<Uplink>>,
}

struct Inner {
    entries: Mutex<BTreeMap<SidecarId, Entry>>,
    /// Whether connections are taken in; changed and looked at under the lock of the entries.
    closed: AtomicBool,
    events: broadcast::Sender<LinkEvent>,
    /// Raised whenever something was applied, came or went.
    changes: watch::Sender<u64>,
    next: AtomicU64,
}

/// The connected sidecars. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

impl Default for Registry {
    fn default() -> Self {
        Self(Arc::new(Inner {
            entries: Mutex::default(),
            closed: AtomicBool::new(false),
            events: broadcast::channel(EVENTS_BEHIND_MAX).0,
            changes: watch::channel(0).0,
            next: AtomicU64::new(1),
        }))
    }
}

impl Registry {
    /// Takes a connection in; an older one of the same sidecar is lost by that. `None` after [`Registry::cut_all`], until
    /// [`Registry::open`]: a connection that was under way then would otherwise stay with a leader that was.
    #[must_use]
    pub fn admit(&self, hello: Hello) -> Option<Admitted> {
        let number = self.number();
        let (outbox, receiver) = mpsc::channel(OUTBOX_MAX);
        let (sidecar, incarnation) = (hello.sidecar.clone(), hello.incarnation.clone());
        let connected = Connected {
            hello,
            connected_at: Timestamp::now(),
            status: None,
            applied: None,
        };
        let entry = Entry {
            number,
            connected,
            outbox,
            asked: HashMap::new(),
        };
        let older = {
            let mut entries = self.0.entries.lock();
            if self.0.closed.load(Ordering::Relaxed) {
                return None;
            }
            entries.insert(sidecar.clone(), entry)
        };
        if let Some(older) = older {
            self.tell_lost(older, "a newer connection replaced it");
        }
        self.tell(LinkEvent::Connected {
            sidecar: sidecar.clone(),
            incarnation,
        });
        Some(Admitted {
            token: Token { sidecar, number },
            outbox: receiver,
        })
    }

    /// Takes a message of an admitted connection; one that was replaced is not listened to.
    pub fn receive(&self, token: &Token, message: Uplink) {
        let mut entries = self.0.entries.lock();
        let Some(entry) = entries
            .get_mut(&token.sidecar)
            .filter(|entry| entry.number == token.number)
        else {
            return;
        };
        match message {
            Uplink::Epoch { message } => {
                let event = LinkEvent::Epoch {
                    sidecar: token.sidecar.clone(),
                    incarnation: entry.connected.hello.incarnation.clone(),
                    message: Arc::new(message),
                };
                // Sent under the lock, so that what a connection said comes before its loss.
                let _ = self.0.events.send(event);
            }
            Uplink::Applied { offset } => {
                entry.connected.applied = entry.connected.applied.max(Some(offset));
                self.0.changes.send_modify(|change| *change += 1);
            }
            Uplink::Status { .. } => {
                entry.connected.status = SidecarStatus::read(message);
            }
            Uplink::Delivered { request, .. } | Uplink::Done { request, .. } => {
                if let Some(asker) = entry.asked.remove(&request) {
                    // Whoever asked may have given up.
                    let _ = asker.send(message);
                }
            }
            Uplink::Hello { .. } => {
                tracing::warn!(service = %token.sidecar.service, instance = %token.sidecar.instance, "a second hello is ignored");
            }
        }
    }

    /// The connection is gone.
    pub fn lose(&self, token: &Token, reason: &str) {
        let lost = {
            let mut entries = self.0.entries.lock();
            let current = entries
                .get(&token.sidecar)
                .is_some_and(|entry| entry.number == token.number);
            current.then(|| entries.remove(&token.sidecar)).flatten()
        };
        if let Some(entry) = lost {
            self.tell_lost(entry, reason);
        }
    }

    /// Cuts a sidecar's connection, whichever it is.
    pub fn cut(&self, sidecar: &SidecarId, reason: &str) {
        let lost = self.0.entries.lock().remove(sidecar);
        if let Some(entry) = lost {
            self.tell_lost(entry, reason);
        }
    }

    /// Takes connections in: this admin API leads now.
    pub fn open(&self) {
        let _entries = self.0.entries.lock();
        self.0.closed.store(false, Ordering::Relaxed);
    }

    /// Cuts every connection and takes none in: this admin API does not lead any more.
    pub fn cut_all(&self, reason: &str) {
        let lost = {
            let mut entries = self.0.entries.lock();
            self.0.closed.store(true, Ordering::Relaxed);
            std::mem::take(&mut *entries)
        };
        for entry in lost.into_values() {
            self.tell_lost(entry, reason);
        }
    }

    /// Everyone who is connected.
    #[must_use]
    pub fn connected(&self) -> BTreeMap<SidecarId, Connected> {
        let entries = self.0.entries.lock();
        let all = entries
            .iter()
            .map(|(id, entry)| (id.clone(), entry.connected.clone()));
        all.collect()
    }

    /// One sidecar, when it is connected.
    #[must_use]
    pub fn get(&self, sidecar: &SidecarId) -> Option<Connected> {
        let entries = self.0.entries.lock();
        entries.get(sidecar).map(|entry| entry.connected.clone())
    }

    /// Every connected sidecar and its run.
    #[must_use]
    pub fn incarnations(&self) -> BTreeMap<SidecarId, Incarnation> {
        let entries = self.0.entries.lock();
        let all = entries
            .iter()
            .map(|(id, entry)| (id.clone(), entry.connected.hello.incarnation.clone()));
        all.collect()
    }

    /// What happens on the links from now on. A listener that falls too far behind is told so and has to give up what
    /// it was doing.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<LinkEvent> {
        self.0.events.subscribe()
    }

    /// Changes whenever a sidecar applied something, connected or was lost.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Sends `message`; it is on its way when this returns. A sidecar that does not read is cut off.
    ///
    /// # Errors
    /// [`LinkError::NotConnected`].
    pub fn send(&self, sidecar: &SidecarId, message: Downlink) -> Result<(), LinkError> {
        let sent = {
            let entries = self.0.entries.lock();
            let entry = entries
                .get(sidecar)
                .ok_or_else(|| LinkError::NotConnected(sidecar.clone()))?;
            entry.outbox.try_send(message).is_ok()
        };
        if sent {
            return Ok(());
        }
        self.cut(sidecar, "it does not read what it is sent");
        Err(LinkError::NotConnected(sidecar.clone()))
    }

    /// Sends a message about an epoch, which belongs to `trace`.
    ///
    /// # Errors
    /// [`LinkError::NotConnected`].
    pub fn send_epoch(
        &self,
        sidecar: &SidecarId,
        message: ToSidecar,
        trace: Option<String>,
    ) -> Result<(), LinkError> {
        self.send(sidecar, Downlink::Epoch { message, trace })
    }

    /// Asks and waits for the answer; `make` is given the request's number. [`Uplink::Done`] with an error is an error.
    ///
    /// # Errors
    /// When it is not connected, is lost, does not answer within `limit`, or answers that it did not do it.
    pub async fn ask(
        &self,
        sidecar: &SidecarId,
        limit: Duration,
        make: impl FnOnce(u64) -> Downlink,
    ) -> Result<Uplink, LinkError> {
        let request = self.number();
        let (asker, answer) = oneshot::channel();
        {
            let mut entries = self.0.entries.lock();
            let entry = entries
                .get_mut(sidecar)
                .ok_or_else(|| LinkError::NotConnected(sidecar.clone()))?;
            entry.asked.insert(request, asker);
        }
        self.send(sidecar, make(request))?;
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(Uplink::Done {
                error: Some(error), ..
            })) => Err(LinkError::Refused(sidecar.clone(), error)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(LinkError::Lost(sidecar.clone())),
            Err(_) => {
                if let Some(entry) = self.0.entries.lock().get_mut(sidecar) {
                    entry.asked.remove(&request);
                }
                Err(LinkError::TimedOut(sidecar.clone(), limit))
            }
        }
    }

    /// Waits until every one of `sidecars` has applied the control topic up to and including `offset`. Who was
    /// connected under another run counts: a new run reads the topic before it forwards anything.
    ///
    /// # Errors
    /// Those that had not at `deadline`.
    pub async fn wait_applied(
        &self,
        offset: Offset,
        sidecars: &BTreeSet<SidecarId>,
        deadline: Instant,
    ) -> Result<(), BTreeSet<SidecarId>> {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            let missing = self.not_applied(offset, sidecars);
            if missing.is_empty() {
                return Ok(());
            }
            match tokio::time::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                _ => return Err(missing),
            }
        }
    }

    fn not_applied(&self, offset: Offset, sidecars: &BTreeSet<SidecarId>) -> BTreeSet<SidecarId> {
        let entries = self.0.entries.lock();
        let has = |id: &SidecarId| {
            entries
                .get(id)
                .is_some_and(|entry| entry.connected.applied >= Some(offset))
        };
        sidecars.iter().filter(|id| !has(id)).cloned().collect()
    }

    fn tell_lost(&self, entry: Entry, reason: &str) {
        // Dropping the entry drops its outbox, which ends the connection, and everything asked of it.
        let hello = entry.connected.hello;
        self.tell(LinkEvent::Lost {
            sidecar: hello.sidecar,
            incarnation: hello.incarnation,
            reason: reason.to_owned(),
        });
    }

    fn tell(&self, event: LinkEvent) {
        // Nobody listening is no error.
        let _ = self.0.events.send(event);
        self.0.changes.send_modify(|change| *change += 1);
    }

    fn number(&self) -> u64 {
        self.0.next.fetch_add(1, Ordering::Relaxed)
    }
}
