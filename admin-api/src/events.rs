//! Everything that changes, one after another: kept in a bounded ring and handed to whoever listens.
//!
//! An event's id is the run it happened in and a number, and stays the same wherever it is shown; so a listener may resume
//! at another admin API that was told of it. When the ring has moved on, or an event is not known here, a listener that
//! resumes is told so by an event of its own instead of being given a stream with a hole.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use cutline_client::{EVENT_RESET, Event};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

/// Events kept for those who resume.
pub const RING_EVENTS_MAX: usize = 4_096;
/// How far a listener may fall behind before it has to resume.
const BEHIND_MAX: usize = 1_024;
/// Runs of others whose last number is remembered; admin APIs are few, and a run is long.
const RUNS_MAX: usize = 256;
/// Begins the id of an event that tells of a gap: the gap is before the event whose id follows.
const BEFORE: &str = "before-";

/// The bus. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    run: String,
    ring: Mutex<Ring>,
    live: broadcast::Sender<Arc<Event>>,
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Ring {
    /// The number of this run's next event.
    next: u64,
    kept: VecDeque<Kept>,
    /// True when something was dropped from it.
    dropped: bool,
    /// The last number known of each other run.
    others: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Kept {
    event: Arc<Event>,
    /// True when it is known to stand where admin APIs share events.
    stored: bool,
}

/// What a listener gets: first `backlog`, then what `live` brings.
#[derive(Debug)]
pub struct Subscription {
    /// What it missed.
    pub backlog: Vec<Arc<Event>>,
    /// What happens from now on.
    pub live: broadcast::Receiver<Arc<Event>>,
}

impl Events {
    /// The bus of this run.
    #[must_use]
    pub fn new(run: &str) -> Self {
        let (live, _) = broadcast::channel(BEHIND_MAX);
        Self(Arc::new(Inner {
            // Ids begin with it: eight digits tell runs apart.
            run: run
                .chars()
                .filter(char::is_ascii_hexdigit)
                .take(8)
                .collect(),
            ring: Mutex::default(),
            live,
            changes: watch::Sender::new(()),
        }))
    }

    /// Tells everyone that `kind` happened.
    pub fn publish(&self, kind: &str, data: Value) {
        let mut ring = self.0.ring.lock();
        let id = format!("{}-{}", self.0.run, ring.next);
        ring.next += 1;
        let event = event_of(id, kind, data);
        self.keep(&mut ring, event, false);
        self.0.changes.send_replace(());
    }

    /// Takes in an event that another admin API, or an earlier run, published. What is known already is passed over.
    pub fn take_in(&self, event: Event) {
        let Some((run, number)) = parts(&event.id) else {
            return;
        };
        if run == self.0.run {
            return;
        }
        let mut ring = self.0.ring.lock();
        let last = ring.others.get(run).copied();
        if last.is_some_and(|last| number <= last) {
            return;
        }
        if last.is_some_and(|last| number > last + 1) {
            let id = format!("{BEFORE}{}", event.id);
            let gap = event_of(id, EVENT_RESET, json!({ "lost_before": event.id }));
            self.keep(&mut ring, gap, true);
        }
        if ring.others.len() == RUNS_MAX && last.is_none() {
            ring.others.pop_first();
        }
        ring.others.insert(run.to_owned(), number);
        self.keep(&mut ring, event, true);
    }

    /// Changes with every event of this run.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    /// The oldest events that are not known to be stored, `count` at most.
    #[must_use]
    pub fn unstored(&self, count: usize) -> Vec<Arc<Event>> {
        let ring = self.0.ring.lock();
        let unstored = ring.kept.iter().filter(|kept| !kept.stored);
        unstored
            .take(count)
            .map(|kept| Arc::clone(&kept.event))
            .collect()
    }

    /// These are stored now.
    pub fn stored(&self, ids: &BTreeSet<&str>) {
        let mut ring = self.0.ring.lock();
        for kept in &mut ring.kept {
            kept.stored |= ids.contains(kept.event.id.as_str());
        }
    }

    /// What was stored is gone.
    pub fn all_unstored(&self) {
        for kept in &mut self.0.ring.lock().kept {
            // What tells of a gap is of this ring alone.
            kept.stored = kept.event.id.starts_with(BEFORE);
        }
    }

    /// Listens from the event after `last` on; without one, from now on.
    #[must_use]
    pub fn subscribe(&self, last: Option<&str>) -> Subscription {
        let ring = self.0.ring.lock();
        let live = self.0.live.subscribe();
        let Some(last) = last else {
            return Subscription {
                backlog: Vec::new(),
                live,
            };
        };
        let wanted = self.after(&ring, last);
        let mut backlog = Vec::new();
        if wanted.is_none() {
            let data = json!({ "last_event_id": last });
            backlog.push(Arc::new(event_of(self.id_before(&ring), EVENT_RESET, data)));
        }
        let missed = ring.kept.range(wanted.unwrap_or(0)..);
        backlog.extend(missed.map(|kept| Arc::clone(&kept.event)));
        Subscription { backlog, live }
    }

    /// Where in the ring the event after `last` is or will be; `None` when that is not known.
    fn after(&self, ring: &Ring, last: &str) -> Option<usize> {
        // Whoever resumes is seldom far behind.
        let find = |id: &str| ring.kept.iter().rposition(|kept| kept.event.id == id);
        if let Some(at) = find(last) {
            return Some(at + 1);
        }
        if let Some(next) = last.strip_prefix(BEFORE) {
            return find(next);
        }
        let start = !ring.dropped && last == format!("{}-start", self.0.run);
        start.then_some(0)
    }

    /// An id such that resuming from it brings everything kept.
    fn id_before(&self, ring: &Ring) -> String {
        match ring.kept.front() {
            Some(oldest) if oldest.event.id.starts_with(BEFORE) => oldest.event.id.clone(),
            Some(oldest) => format!("{BEFORE}{}", oldest.event.id),
            None => format!("{}-start", self.0.run),
        }
    }

    fn keep(&self, ring: &mut Ring, event: Event, stored: bool) {
        let event = Arc::new(event);
        if ring.kept.len() == RING_EVENTS_MAX {
            ring.kept.pop_front();
            ring.dropped = true;
        }
        ring.kept.push_back(Kept {
            event: Arc::clone(&event),
            stored,
        });
        // Sent under the lock, so that a subscription sees each event exactly once. Nobody listening is no error.
        let _ = self.0.live.send(event);
    }
}

/// The run and the number of an event's id.
fn parts(id: &str) -> Option<(&str, u64)> {
    let (run, number) = id.split_once('-')?;
    Some((run, number.parse().ok()?))
}

fn event_of(id: String, kind: &str, data: Value) -> Event {
    Event {
        id,
        at: Timestamp::now(),
        kind: kind.to_owned(),
        data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(subscription: &Subscription) -> Vec<&str> {
        let events = subscription.backlog.iter();
        events.map(|event| event.kind.as_str()).collect()
    }

    #[test]
    fn who_resumes_gets_what_it_missed_and_nothing_twice() {
        let events = Events::new("0123456789");
        for kind in ["a", "b", "c"] {
            events.publish(kind, Value::Null);
        }
        let first = events.subscribe(Some("01234567-0"));
        assert_eq!(kinds(&first), ["b", "c"]);
        assert!(kinds(&events.subscribe(Some("01234567-2"))).is_empty());
        assert!(kinds(&events.subscribe(None)).is_empty());
    }

    #[test]
    fn a_gap_is_told_and_never_passed_over() {
        let events = Events::new("0123456789");
        for _ in 0..=RING_EVENTS_MAX {
            events.publish("x", Value::Null);
        }
        events.publish("y", Value::Null);
        let late = events.subscribe(Some("01234567-0"));
        assert_eq!(late.backlog[0].kind, EVENT_RESET);
        assert_eq!(late.backlog.len(), RING_EVENTS_MAX + 1);
        // Resuming from the event that told of the gap brings the same events and no second one.
        let again = events.subscribe(Some(&late.backlog[0].id));
        assert_eq!(again.backlog.len(), RING_EVENTS_MAX);
    }

    #[test]
    fn ids_of_another_run_are_a_gap() {
        let events = Events::new("aaaaaaaa");
        events.publish("x", Value::Null);
        for last in ["bbbbbbbb-0", "nonsense", "aaaaaaaa-99"] {
            assert_eq!(
                kinds(&events.subscribe(Some(last))),
                [EVENT_RESET, "x"],
                "{last}"
            );
        }
    }

    #[test]
    fn who_resumes_at_another_admin_api_gets_what_it_missed() {
        let (first, second) = (Events::new("aaaaaaaa"), Events::new("bbbbbbbb"));
        for kind in ["a", "b", "c"] {
            first.publish(kind, Value::Null);
        }
        // Told twice, as after an answer that was lost: shown once.
        for event in first.unstored(2).into_iter().chain(first.unstored(9)) {
            second.take_in((*event).clone());
        }
        second.publish("d", Value::Null);
        assert_eq!(
            kinds(&second.subscribe(Some("aaaaaaaa-0"))),
            ["b", "c", "d"]
        );
        assert_eq!(
            kinds(&second.subscribe(Some("aaaaaaaa-9"))),
            [EVENT_RESET, "a", "b", "c", "d"]
        );
        // Only what happened here is still to be stored, until everything stored is lost.
        assert_eq!(second.unstored(9).len(), 1);
        second.stored(&BTreeSet::from(["bbbbbbbb-0"]));
        assert!(second.unstored(9).is_empty());
        second.all_unstored();
        assert_eq!(second.unstored(9).len(), 4);
    }

    #[test]
    fn an_event_of_another_run_that_was_never_told_of_is_a_gap() {
        let (first, second) = (Events::new("aaaaaaaa"), Events::new("bbbbbbbb"));
        for kind in ["a", "b", "c"] {
            first.publish(kind, Value::Null);
        }
        let mut live = second.subscribe(None).live;
        for event in [&first.unstored(9)[0], &first.unstored(9)[2]] {
            second.take_in((**event).clone());
        }
        let told: Vec<String> = std::iter::from_fn(|| live.try_recv().ok())
            .map(|event| event.kind.clone())
            .collect();
        assert_eq!(told, ["a", EVENT_RESET, "c"]);
        let again = second.subscribe(Some("before-aaaaaaaa-2"));
        assert_eq!(kinds(&again), ["c"]);
    }
}
