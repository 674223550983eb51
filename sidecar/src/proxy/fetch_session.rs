//! One connection's fetch session (KIP-227), kept apart from the broker's so that partitions can be held.
//!
//! The application names what it wants once and then only what changes; the broker keeps the same list. A held partition
//! is taken out of the broker's list and put back when it is released, without the application noticing: this file knows
//! both lists and makes the request that goes upstream. While nothing is held the application's own bytes go, with at most
//! another session epoch. What may be fetched is asked of the core; nothing is decided here.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cutline_model::{TopicName, TopicPartition};
use cutline_protocol::ConnId;
use cutline_wire::{
    fetch::{AskedPartition, FetchAnswer, FetchAsk, FetchedPartition, TopicKey},
    frame::Frame,
};

use super::{
    decide::Decide,
    edit::{Edits, Segments},
    fetch_list::{FetchList, Key, Part, free_of},
    fetch_recent::Recent,
    fetch_request::build,
    metrics::TopicCounters,
    topics::Topics,
};

/// How long the broker may wait while something of the connection is held: how late a release is noticed.
pub const HELD_POLL_MS: i32 = 25;
/// How long an answer of ours waits for a release at most, whatever the application allows.
pub const HELD_WAIT_MAX: Duration = Duration::from_millis(500);

const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
const INVALID_FETCH_SESSION_EPOCH: i16 = 71;
const NO_SESSION: i32 = -1;
// The core takes a reader that it has not heard of for ten seconds for gone; a session does not repeat what it wants.
const SHOW_EVERY: Duration = Duration::from_secs(2);

/// What a partition's log looked like when it was last heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The end of what is replicated.
    pub high_watermark: i64,
    /// The end of what is stable.
    pub last_stable: i64,
    /// The first offset kept; −1: unknown.
    pub log_start: i64,
}

impl Marks {
    // Never heard of: one record is pretended to wait, since an end equal to the position would be an end of partition.
    fn unknown(offset: i64) -> Self {
        let end = offset.max(0).saturating_add(1);
        Self {
            high_watermark: end,
            last_stable: end,
            log_start: -1,
        }
    }

    /// As an answer tells.
    #[must_use]
    pub fn of(fetched: &FetchedPartition) -> Self {
        Self {
            high_watermark: fetched.high_watermark,
            last_stable: fetched.last_stable,
            log_start: fetched.log_start,
        }
    }
}

/// A partition that is left out of what goes upstream.
#[derive(Clone, Debug)]
pub struct Held {
    /// Which.
    pub key: Key,
    /// What the application is told of it.
    pub marks: Marks,
}

/// What becomes of a Fetch request.
#[derive(Debug)]
pub enum Plan {
    /// This goes to the broker.
    Send(Segments),
    /// Nothing goes to the broker: everything asked for is held.
    Wait,
    /// The application's session is not known: this error is answered.
    Refuse(i16),
}

/// What the answer to a planned Fetch has to look like.
#[derive(Debug)]
pub struct Expected {
    /// 1 reads committed.
    pub isolation: i8,
    /// The answer speaks of every partition asked for.
    pub full: bool,
    /// It founds a session.
    pub founds: bool,
    /// The application's session, 0 without.
    pub session_id: i32,
    /// How long the application would have waited.
    pub wait: Duration,
    /// What was left out; told as empty in a full answer.
    pub held: Vec<Held>,
}

/// One connection's fetches.
#[derive(Debug, Default)]
pub struct FetchSession {
    session: Option<FetchList>,
    names: HashMap<TopicKey, TopicName>,
    /// Partitions of fetches without a session.
    recent: Recent,
    /// When the core last saw every partition of the session.
    shown: Option<Instant>,
    /// What this connection's deliveries are counted by.
    pub counters: TopicCounters,
}

impl FetchSession {
    /// Ids of topics in `ask` that have no name here yet.
    #[must_use]
    pub fn unnamed(&mut self, ask: &FetchAsk, topics: &Topics) -> Vec<[u8; 16]> {
        let mut unnamed = Vec::new();
        for asked in &ask.partitions {
            if self.names.contains_key(&asked.topic) {
                continue;
            }
            match (topics.name(&asked.topic), &asked.topic) {
                (Some(name), key) => {
                    self.names.insert(key.clone(), name);
                }
                (None, TopicKey::Id(id)) if !unnamed.contains(id) => unnamed.push(*id),
                (None, _) => {}
            }
        }
        unnamed
    }

    /// The partition of a response's topic and index, when its topic has a name.
    #[must_use]
    pub fn partition(
        &mut self,
        topic: &TopicKey,
        index: i32,
        topics: &Topics,
    ) -> Option<TopicPartition> {
        if let Some(name) = self.names.get(topic) {
            return Some(TopicPartition::new(name.clone(), index));
        }
        let name = topics.name(topic)?;
        self.names.insert(topic.clone(), name.clone());
        Some(TopicPartition::new(name, index))
    }

    /// Decides what goes upstream for the request `ask` that came as `frame`.
    pub fn plan(
        &mut self,
        conn: ConnId,
        frame: &Frame,
        ask: &FetchAsk,
        decide: &Decide,
    ) -> (Plan, Expected) {
        let mut expected = Expected {
            isolation: ask.isolation,
            full: ask.session_epoch <= 0,
            founds: ask.session_epoch == 0,
            session_id: 0,
            wait: Duration::from_millis(u64::try_from(ask.wait_ms_max).unwrap_or(0))
                .min(HELD_WAIT_MAX),
            held: Vec::new(),
        };
        let plan = match ask.session_epoch {
            NO_SESSION => self.plan_once(conn, frame, ask, decide, &mut expected),
            0 => self.plan_founding(conn, frame, ask, decide, &mut expected),
            _ => self.plan_change(conn, frame, ask, decide, &mut expected),
        };
        (plan, expected)
    }

    fn plan_once(
        &mut self,
        conn: ConnId,
        frame: &Frame,
        ask: &FetchAsk,
        decide: &Decide,
        expected: &mut Expected,
    ) -> Plan {
        if ask.session_id != 0 {
            self.leave(conn, decide);
        }
        let parts: Vec<Part> = ask.partitions.iter().map(|want| self.part(want)).collect();
        self.recent.asked(conn, &parts, decide);
        let free = free_of(conn, parts.iter(), decide);
        let (free, held): (Vec<_>, Vec<_>) = parts.iter().zip(free).partition(|(_, free)| *free);
        expected.held = held
            .into_iter()
            .map(|(part, _)| self.recent.held(part))
            .collect();
        if expected.held.is_empty() {
            return Plan::Send(frame.whole().clone().into());
        }
        if free.is_empty() {
            return Plan::Wait;
        }
        let wanted = free.into_iter().map(|(part, _)| &part.want);
        let wait = ask.wait_ms_max.min(HELD_POLL_MS);
        Plan::Send(build(frame, ask, wait, (0, NO_SESSION), wanted, &[]).into())
    }

    fn plan_founding(
        &mut self,
        conn: ConnId,
        frame: &Frame,
        ask: &FetchAsk,
        decide: &Decide,
        expected: &mut Expected,
    ) -> Plan {
        self.leave(conn, decide);
        let parts = ask
            .partitions
            .iter()
            .map(|want| ((want.topic.clone(), want.index), self.part(want)));
        let mut session = FetchList {
            id: 0,
            app_epoch: 1,
            broker_epoch: 1,
            parts: parts.collect(),
            owed: Vec::new(),
            diverged: false,
        };
        expected.held = session.sort_out(conn, decide, true);
        if expected.held.is_empty() {
            session.settle();
            self.session = Some(session);
            return Plan::Send(frame.whole().clone().into());
        }
        if expected.held.len() == session.parts.len() {
            // No session is founded: the application will ask for one again.
            return Plan::Wait;
        }
        let wanted = session
            .parts
            .values()
            .filter(|part| !part.held)
            .map(|part| &part.want);
        let wait = ask.wait_ms_max.min(HELD_POLL_MS);
        let request = build(frame, ask, wait, (ask.session_id, 0), wanted, &[]);
        session.settle();
        self.session = Some(session);
        Plan::Send(request.into())
    }

    fn plan_change(
        &mut self,
        conn: ConnId,
        frame: &Frame,
        ask: &FetchAsk,
        decide: &Decide,
        expected: &mut Expected,
    ) -> Plan {
        let news: Vec<Part> = ask.partitions.iter().map(|want| self.part(want)).collect();
        let Some(session) = self
            .session
            .as_mut()
            .filter(|session| session.id == ask.session_id)
        else {
            return Plan::Refuse(FETCH_SESSION_ID_NOT_FOUND);
        };
        if session.app_epoch != ask.session_epoch {
            return Plan::Refuse(INVALID_FETCH_SESSION_EPOCH);
        }
        session.app_epoch = next_epoch(session.app_epoch);
        expected.session_id = session.id;
        let gone = session.forget(&ask.forgotten);
        decide.forgotten(conn, gone.iter());
        session.update(news);
        let all = session.diverged
            || decide.is_holding()
            || self.shown.is_none_or(|at| at.elapsed() >= SHOW_EVERY);
        if all {
            self.shown = Some(Instant::now());
        }
        expected.held = session.sort_out(conn, decide, all);
        let epoch = session.broker_epoch;
        if expected.held.is_empty() && !session.diverged {
            session.settle();
            session.broker_epoch = next_epoch(epoch);
            return Plan::Send(with_epoch(frame, ask, epoch));
        }
        session.diverged = true;
        if expected.held.len() == session.parts.len() {
            return Plan::Wait;
        }
        for part in session.parts.values_mut().filter(|part| part.held) {
            if std::mem::take(&mut part.listed) {
                session
                    .owed
                    .push((part.want.topic.clone(), part.want.index));
            }
        }
        let wait = match expected.held.is_empty() {
            true => ask.wait_ms_max,
            false => ask.wait_ms_max.min(HELD_POLL_MS),
        };
        let wanted = session
            .parts
            .values()
            .filter(|part| part.is_news())
            .map(|part| &part.want);
        let request = build(frame, ask, wait, (session.id, epoch), wanted, &session.owed);
        session.settle();
        session.broker_epoch = next_epoch(epoch);
        Plan::Send(request.into())
    }

    /// Takes note of the broker's answer to a Fetch.
    pub fn answered(&mut self, answer: &FetchAnswer, expected: &Expected) {
        if !expected.founds && expected.session_id == 0 {
            for fetched in &answer.partitions {
                let name = self.names.get(&answer.topics[fetched.topic]);
                if let Some(name) = name.filter(|_| fetched.error == 0) {
                    let partition = TopicPartition::new(name.clone(), fetched.index);
                    self.recent.heard(&partition, Marks::of(fetched));
                }
            }
            return;
        }
        if answer.error != 0 || answer.session_id == 0 {
            self.session = None;
            return;
        }
        let Some(session) = &mut self.session else {
            return;
        };
        session.id = answer.session_id;
        for fetched in &answer.partitions {
            let key = (answer.topics[fetched.topic].clone(), fetched.index);
            if let Some(part) = session.parts.get_mut(&key).filter(|_| fetched.error == 0) {
                part.marks = Marks::of(fetched);
            }
        }
    }

    // The application's list is given up.
    fn leave(&mut self, conn: ConnId, decide: &Decide) {
        if let Some(session) = self.session.take() {
            let partitions = session
                .parts
                .values()
                .filter_map(|part| part.partition.as_ref());
            decide.forgotten(conn, partitions);
        }
    }

    fn part(&self, want: &AskedPartition) -> Part {
        let name = self.names.get(&want.topic);
        Part {
            partition: name.map(|name| TopicPartition::new(name.clone(), want.index)),
            marks: Marks::unknown(want.offset),
            want: want.clone(),
            listed: false,
            dirty: true,
            held: false,
        }
    }
}

fn with_epoch(frame: &Frame, ask: &FetchAsk, epoch: i32) -> Segments {
    let mut edits = Edits::default();
    if let Some(at) = ask.session_at.filter(|_| ask.session_epoch != epoch) {
        edits.replace(at + 4..at + 8, Bytes::copy_from_slice(&epoch.to_be_bytes()));
    }
    edits.apply(frame.whole())
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}
