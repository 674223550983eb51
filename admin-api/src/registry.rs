//! The sidecars that are connected now: who they are, what they said last, and a way to speak to each.
//!
//! A newer connection of the same sidecar replaces the older. What was asked of a connection that breaks is answered
//! with an error, never left open. The registry knows no epochs and no restores, and nothing of what is registered in
//! the control topic.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cutline_client::link::{Downlink, LINK_VERSION, Uplink};
use cutline_model::{
    Capture, FromSidecar, GroupMembers, Incarnation, Offset, Scope, SidecarId, ToSidecar,
    TopicName, TopicPartition,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    time::Instant,
};

/// Messages that may wait for one sidecar; one that reads slower than that is cut off.
pub const OUTBOX_MAX: usize = 4_096;
/// Link events that a listener may be behind; more than a few for each of 10,000 sidecars.
const EVENTS_BEHIND_MAX: usize = 65_536;

/// What a sidecar said when it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who it is.
    pub sidecar: SidecarId,
    /// Which run.
    pub incarnation: Incarnation,
    /// Whose state is one state.
    pub scope: Scope,
    /// How it captures.
    pub capture: Capture,
    /// The providers of its state.
    pub providers: Vec<String>,
    /// Where it listens for its application.
    pub listen: String,
}

impl Hello {
    /// Reads the first frame of a connection to the admin API of `deployment`.
    ///
    /// # Errors
    /// Why the sidecar is refused, for people.
    pub fn read(first: Uplink, deployment: &str) -> Result<Self, String> {
        let Uplink::Hello {
            version,
            deployment: theirs,
            sidecar,
            incarnation,
            scope,
            capture,
            providers,
            listen,
        } = first
        else {
            return Err("the first message must be hello".to_owned());
        };
        if version != LINK_VERSION {
            return Err(format!(
                "it speaks version {version} of this conversation, this admin API version {LINK_VERSION}: run both in the same version"
            ));
        }
        if theirs != deployment {
            return Err(format!(
                "it belongs to deployment {theirs:?}, this admin API to {deployment:?}"
            ));
        }
        if incarnation.as_str().is_empty() {
            return Err("its incarnation is empty".to_owned());
        }
        Ok(Self {
            sidecar,
            incarnation,
            scope,
            capture,
            providers,
            listen,
        })
    }
}

/// What a sidecar says every second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SidecarStatus {
    /// Open connections of its application.
    pub app_connections: u32,
    /// Members behind it.
    pub groups: Vec<GroupMembers>,
    /// Partitions its application reads.
    pub reads: Vec<TopicPartition>,
    /// Topics its service produces to.
    pub outputs: Vec<TopicName>,
    /// True while fenced.
    pub fenced: bool,
}

/// A connected sidecar, as the registry has it at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// What it said when it connected.
    pub hello: Hello,
    /// Since when.
    pub connected_at: Timestamp,
    /// What it said last; `None` in its first second.
    pub status: Option<SidecarStatus>,
    /// The last record of the control topic that it has applied.
    pub applied: Option<Offset>,
}

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
            events: broadcast::channel(EVENTS_BEHIND_MAX).0,
            changes: watch::channel(0).0,
            next: AtomicU64::new(1),
        }))
    }
}

impl Registry {
    /// Takes a connection in; an older one of the same sidecar is lost by that.
    #[must_use]
    pub fn admit(&self, hello: Hello) -> Admitted {
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
        let older = self.0.entries.lock().insert(sidecar.clone(), entry);
        if let Some(older) = older {
            self.tell_lost(older, "a newer connection replaced it");
        }
        self.tell(LinkEvent::Connected {
            sidecar: sidecar.clone(),
            incarnation,
        });
        Admitted {
            token: Token { sidecar, number },
            outbox: receiver,
        }
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
            Uplink::Status {
                app_connections,
                groups,
                reads,
                outputs,
                fenced,
            } => {
                entry.connected.status = Some(SidecarStatus {
                    app_connections,
                    groups,
                    reads,
                    outputs,
                    fenced,
                });
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

    /// Cuts every connection: this admin API does not lead any more.
    pub fn cut_all(&self, reason: &str) {
        let lost = std::mem::take(&mut *self.0.entries.lock());
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

    /// Sends a message about an epoch.
    ///
    /// # Errors
    /// [`LinkError::NotConnected`].
    pub fn send_epoch(&self, sidecar: &SidecarId, message: ToSidecar) -> Result<(), LinkError> {
        self.send(sidecar, Downlink::Epoch { message })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(incarnation: &str) -> Hello {
        Hello {
            sidecar: SidecarId::new("bank", "0"),
            incarnation: incarnation.into(),
            scope: Scope::Instance,
            capture: Capture::Commit,
            providers: Vec::new(),
            listen: "127.0.0.1:1".to_owned(),
        }
    }

    fn first_frame(version: u32, deployment: &str) -> Uplink {
        Uplink::Hello {
            version,
            deployment: deployment.to_owned(),
            sidecar: SidecarId::new("bank", "0"),
            incarnation: "i".into(),
            scope: Scope::Instance,
            capture: Capture::Commit,
            providers: Vec::new(),
            listen: String::new(),
        }
    }

    #[test]
    fn a_sidecar_of_another_version_or_deployment_is_refused_with_the_reason() {
        assert!(Hello::read(first_frame(LINK_VERSION, "here"), "here").is_ok());
        let version = Hello::read(first_frame(LINK_VERSION + 1, "here"), "here").unwrap_err();
        assert!(version.contains("version"), "{version}");
        let elsewhere = Hello::read(first_frame(LINK_VERSION, "there"), "here").unwrap_err();
        assert!(elsewhere.contains("\"there\""), "{elsewhere}");
        assert!(Hello::read(Uplink::Applied { offset: Offset(0) }, "here").is_err());
    }

    #[tokio::test]
    async fn a_newer_connection_replaces_the_older_and_is_not_ended_by_it() {
        let registry = Registry::default();
        let mut events = registry.listen();
        let older = registry.admit(hello("first"));
        let mut newer = registry.admit(hello("second"));
        registry.lose(&older.token, "closed");
        registry.receive(&older.token, Uplink::Applied { offset: Offset(9) });
        let now = registry.get(&hello("").sidecar).unwrap();
        assert_eq!(
            (now.hello.incarnation.as_str(), now.applied),
            ("second", None)
        );
        assert!(matches!(
            events.recv().await,
            Ok(LinkEvent::Connected { .. })
        ));
        let lost = events.recv().await.unwrap();
        assert!(
            matches!(lost, LinkEvent::Lost { incarnation, .. } if incarnation.as_str() == "first")
        );
        registry.cut(&hello("").sidecar, "enough");
        assert!(newer.outbox.recv().await.is_none());
    }

    #[tokio::test]
    async fn what_was_asked_of_a_lost_sidecar_ends_with_an_error() {
        let registry = Registry::default();
        let mut link = registry.admit(hello("first"));
        let id = link.token.sidecar.clone();
        let limit = Duration::from_secs(30);
        let asking = registry.clone();
        let asked = tokio::spawn({
            let id = id.clone();
            async move {
                asking
                    .ask(&id, limit, |request| Downlink::ResumeHook { request })
                    .await
            }
        });
        assert!(matches!(
            link.outbox.recv().await,
            Some(Downlink::ResumeHook { .. })
        ));
        registry.lose(&link.token, "closed");
        assert_eq!(asked.await.unwrap(), Err(LinkError::Lost(id.clone())));
        let nobody = registry.ask(&id, limit, |request| Downlink::ResumeHook { request });
        assert_eq!(nobody.await, Err(LinkError::NotConnected(id)));
    }

    #[tokio::test]
    async fn waiting_for_applied_names_who_is_missing() {
        let registry = Registry::default();
        let link = registry.admit(hello("first"));
        let all = BTreeSet::from([link.token.sidecar.clone(), SidecarId::new("x", "1")]);
        registry.receive(&link.token, Uplink::Applied { offset: Offset(7) });
        let missing = registry.wait_applied(Offset(7), &all, Instant::now()).await;
        assert_eq!(missing, Err(BTreeSet::from([SidecarId::new("x", "1")])));
        let one = BTreeSet::from([link.token.sidecar.clone()]);
        let deadline = Instant::now() + Duration::from_secs(30);
        let waiting = registry.wait_applied(Offset(8), &one, deadline);
        registry.receive(&link.token, Uplink::Applied { offset: Offset(8) });
        assert_eq!(waiting.await, Ok(()));
    }

    #[tokio::test]
    async fn a_sidecar_that_does_not_read_is_cut_off() {
        let registry = Registry::default();
        let link = registry.admit(hello("first"));
        let id = link.token.sidecar.clone();
        let refused = (0..=OUTBOX_MAX as u64)
            .find_map(|request| registry.send(&id, Downlink::ResumeHook { request }).err());
        assert_eq!(refused, Some(LinkError::NotConnected(id.clone())));
        assert!(registry.get(&id).is_none());
    }
}
