//! Everything that changes, one after another: kept in a bounded ring and handed to whoever listens.
//!
//! An event's id is the run and a number: after a restart, or when the ring has moved on, a listener that resumes is told
//! so by an event of its own instead of being given a stream with a hole.

use std::{collections::VecDeque, sync::Arc};

use cutline_client::{EVENT_RESET, Event};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::broadcast;

/// Events kept for those who resume.
pub const RING_EVENTS_MAX: usize = 4_096;
/// How far a listener may fall behind before it has to resume.
const BEHIND_MAX: usize = 1_024;

/// The bus. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    run: String,
    ring: Mutex<Ring>,
    live: broadcast::Sender<Arc<Event>>,
}

#[derive(Debug, Default)]
struct Ring {
    /// The number of the next event.
    next: u64,
    kept: VecDeque<(u64, Arc<Event>)>,
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
        }))
    }

    /// Tells everyone that `kind` happened.
    pub fn publish(&self, kind: &str, data: Value) {
        let mut ring = self.0.ring.lock();
        let number = ring.next;
        ring.next += 1;
        let event = Arc::new(self.event(number, kind, data));
        if ring.kept.len() == RING_EVENTS_MAX {
            ring.kept.pop_front();
        }
        ring.kept.push_back((number, Arc::clone(&event)));
        // Sent under the lock, so that a subscription sees each event exactly once. Nobody listening is no error.
        let _ = self.0.live.send(event);
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
        let seen = last
            .split_once('-')
            .filter(|(run, _)| *run == self.0.run)
            .and_then(|(_, number)| number.parse::<u64>().ok())
            .filter(|seen| *seen < ring.next);
        let oldest = ring.kept.front().map_or(ring.next, |(number, _)| *number);
        let wanted = seen.map_or(oldest, |seen| seen + 1);
        let mut backlog = Vec::new();
        if seen.is_none() || wanted < oldest {
            // It carries the number before the first one kept, so that resuming from it works.
            let data = json!({ "last_event_id": last });
            backlog.push(Arc::new(self.event_with_id(
                self.id_before(oldest),
                EVENT_RESET,
                data,
            )));
        }
        let missed = ring.kept.iter().filter(|(number, _)| *number >= wanted);
        backlog.extend(missed.map(|(_, event)| Arc::clone(event)));
        Subscription { backlog, live }
    }

    fn event(&self, number: u64, kind: &str, data: Value) -> Event {
        self.event_with_id(format!("{}-{number}", self.0.run), kind, data)
    }

    fn event_with_id(&self, id: String, kind: &str, data: Value) -> Event {
        Event {
            id,
            at: Timestamp::now(),
            kind: kind.to_owned(),
            data,
        }
    }

    fn id_before(&self, number: u64) -> String {
        match number.checked_sub(1) {
            Some(before) => format!("{}-{before}", self.0.run),
            None => format!("{}-start", self.0.run),
        }
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
}
