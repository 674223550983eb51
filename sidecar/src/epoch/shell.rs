//! The loop that carries out what the process core asks for.
//!
//! One turn: wait for one thing (a message, an answer, time, work left by the proxy), feed it to the core, drain the core's
//! queue to its end. Whatever takes time is started as a task of its own and comes back as an answer, so that heartbeats
//! of the core, above all its watchdog, never wait for a broker, a hook or the store.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use cutline_client::link::Uplink;
use cutline_control::{ControlTopic, Record};
use cutline_model::{
    Epoch, FromSidecar, GroupId, InputPartition, MarkerId, Offset, PartRef, PartitionOffset,
    Purpose, SidecarId, ToSidecar, TopicName, TopicPartition,
};
use cutline_protocol::{Committed, ConnId, MarkPair, Moment, Process, ProcessOutput};
use cutline_state::Hook;
use cutline_wire::client::Client;
use tokio::sync::mpsc;

use super::{Breakers, Markers, StateKeeper, Transactions, look, trace::EpochTrace};
use crate::proxy::{Decide, Proxy};

/// Answers on their way to the loop; each is one thing the core asked for, and it asks for few at a time.
const ANSWERS_MAX: usize = 256;
/// How long the loop sleeps when no timer is set.
const IDLE: Duration = Duration::from_secs(3600);

/// Something that was asked for has come back.
enum Answer {
    Pairs(Epoch, Result<(MarkerId, MarkerId), String>),
    Committed(u64, Result<Committed, String>),
    Looked(TopicPartition, Offset, Offset, Result<bool, String>),
    Proved(Vec<ConnId>),
    Paused(Epoch, Result<BTreeMap<TopicPartition, Offset>, String>),
    Resumed(Epoch, Result<bool, String>),
    Recorded(Epoch, Result<(), String>),
    Stored(Epoch, Result<Option<PartRef>, String>),
    Marked(Epoch, MarkPair, Result<(), String>),
    Located(Epoch, MarkPair, Result<Vec<PartitionOffset>, String>),
    Registered(Vec<TopicName>),
    Ready(ToSidecar, Result<(), String>),
}

/// What the shell works with.
pub struct ShellParts {
    /// The core, shared with the proxy.
    pub core: Arc<Decide>,
    /// Whose sidecar's.
    pub sidecar: SidecarId,
    /// The raw Kafka client.
    pub client: Client,
    /// The control topic.
    pub control: Arc<ControlTopic>,
    /// The proxy.
    pub proxy: Arc<Proxy>,
    /// The state.
    pub states: Arc<StateKeeper>,
    /// The hook, when the application has one.
    pub hook: Option<Arc<Hook>>,
    /// What is not asked after it failed too often.
    pub breakers: Breakers,
    /// The marker writers.
    pub markers: Arc<Markers>,
    /// The look at transactions that the proxy did not see begin or end.
    pub transactions: Arc<Transactions>,
    /// Where messages to the coordinator go.
    pub uplink: mpsc::Sender<Uplink>,
}

/// A message of the coordinator, with the trace it belongs to.
#[derive(Clone, Debug)]
pub struct Told {
    /// The message.
    pub message: ToSidecar,
    /// As W3C's `traceparent`.
    pub trace: Option<String>,
}

/// The shell of one sidecar's core.
pub struct Shell {
    parts: ShellParts,
    trace: EpochTrace,
    answers: mpsc::Sender<Answer>,
    inbox: mpsc::Receiver<Answer>,
    /// The epoch that is not begun before something was looked at.
    waiting: Option<Epoch>,
}

impl Shell {
    /// A shell around `parts`.
    #[must_use]
    pub fn new(parts: ShellParts) -> Self {
        let (answers, inbox) = mpsc::channel(ANSWERS_MAX);
        Self {
            trace: EpochTrace::of(parts.sidecar.clone()),
            parts,
            answers,
            inbox,
            waiting: None,
        }
    }

    /// Runs until `messages` closes. `None` among them: the connection to the coordinator was lost.
    pub async fn run(mut self, mut messages: mpsc::Receiver<Option<Told>>) {
        let core = Arc::clone(&self.parts.core);
        loop {
            tokio::select! {
                () = core.wait(IDLE) => {
                    core.with(|process, now| process.handle_timeout(now));
                }
                message = messages.recv() => match message {
                    Some(Some(Told { message, trace })) => {
                        self.trace.told(&message, trace.as_deref());
                        self.hear(message);
                    }
                    Some(None) => {
                        self.waiting = None;
                        self.trace.lost();
                        core.with(|process, now| process.handle_coordinator_lost(now));
                    }
                    None => return,
                },
                Some(answer) = self.inbox.recv() => self.feed(answer),
            }
            while let Some(output) = core.poll_output() {
                self.carry_out(output);
            }
        }
    }

    /// A message of the coordinator. An epoch that begins while something is known to be out of order waits for a look at
    /// that, which nobody is held for.
    fn hear(&mut self, message: ToSidecar) {
        if self.waiting == Some(message.epoch()) || matches!(message, ToSidecar::Prepare { .. }) {
            self.waiting = None;
        }
        let records = matches!(
            &message,
            ToSidecar::Prepare { purpose, .. } if *purpose != Purpose::Stop
        );
        if !records || self.parts.breakers.are_closed() {
            let core = &self.parts.core;
            core.with(|process, now| process.handle_message(now, message));
            return;
        }
        let (breakers, states) = (self.parts.breakers.clone(), Arc::clone(&self.parts.states));
        self.waiting = Some(message.epoch());
        self.start(async move {
            let checked = breakers.check(&states).await;
            Answer::Ready(message, checked)
        });
    }

    fn feed(&mut self, answer: Answer) {
        if let Answer::Ready(message, _) = &answer
            && self
                .waiting
                .take_if(|epoch| *epoch == message.epoch())
                .is_none()
        {
            // It is over, or another has begun.
            return;
        }
        self.parts.core.with(|process, now| match answer {
            Answer::Pairs(epoch, pairs) => process.handle_pairs(now, epoch, pairs),
            Answer::Committed(read, committed) => process.handle_committed(now, read, committed),
            Answer::Looked(partition, from, to, seen) => {
                process.handle_looked(now, &partition, from, to, seen)
            }
            Answer::Proved(conns) => process.handle_proved(now, &conns),
            Answer::Paused(epoch, positions) => process.handle_paused(now, epoch, positions),
            Answer::Resumed(epoch, held) => process.handle_resumed(now, epoch, held),
            Answer::Recorded(epoch, done) => self.recorded(process, now, epoch, done),
            Answer::Stored(epoch, part) => process.handle_stored(now, epoch, part),
            Answer::Marked(epoch, pair, done) => process.handle_marked(now, epoch, pair, done),
            Answer::Located(epoch, pair, found) => {
                process.handle_located(now, epoch, pair, found);
            }
            Answer::Registered(topics) => process.handle_registered(topics),
            Answer::Ready(message, checked) => {
                process.handle_message(now, message);
                if let Err(reason) = checked {
                    process.decline(now, reason);
                }
            }
        });
    }

    /// The state is fixed: the copy starts at once, beside everything else.
    fn recorded(&self, process: &mut Process, now: Moment, epoch: Epoch, done: Result<(), String>) {
        if process.epoch() != Some(epoch) {
            return;
        }
        let fixed = done.is_ok();
        process.handle_recorded(now, epoch, done);
        if fixed {
            let states = Arc::clone(&self.parts.states);
            let upload = self.trace.whole(epoch).child("upload");
            let breakers = self.parts.breakers.clone();
            self.start(async move {
                let part = upload.clone().done_by(states.store(epoch)).await;
                breakers.note_state(&part);
                if let Ok(part) = &part {
                    upload.within(|| tell_stored(epoch, part));
                }
                let stored = part.map(Some).map_err(|error| error.to_string());
                Answer::Stored(epoch, stored)
            });
        }
    }

    fn start(&self, task: impl Future<Output = Answer> + Send + 'static) {
        let answers = self.answers.clone();
        tokio::spawn(async move {
            // The loop is gone when the sidecar ends; then nobody needs the answer.
            let _gone = answers.send(task.await).await;
        });
    }

    fn carry_out(&self, output: ProcessOutput) {
        match output {
            ProcessOutput::Send(message) => self.send(message),
            // Whoever waits for these was woken where the core was asked.
            ProcessOutput::HoldsChanged => {}
            ProcessOutput::GateChanged => {
                let closed = self
                    .parts
                    .core
                    .with(|process, _| process.outputs().is_closed());
                self.trace.gate(closed.unwrap_or_default());
            }
            ProcessOutput::TakePairs(epoch) => {
                let markers = Arc::clone(&self.parts.markers);
                let transactions = Arc::clone(&self.parts.transactions);
                let span = self.trace.whole(epoch).child("take pairs");
                self.start(async move {
                    let pairs = async {
                        transactions.check().await?;
                        let pairs = markers.take_pairs().await;
                        pairs.map_err(|error| format!("no marker pair: {error}"))
                    };
                    Answer::Pairs(epoch, span.done_by(pairs).await)
                });
            }
            ProcessOutput::Mark {
                epoch,
                pair,
                marker,
                partitions,
            } => {
                let markers = Arc::clone(&self.parts.markers);
                let span = self.trace.whole(epoch).child("mark");
                span.set(
                    "partitions",
                    i64::try_from(partitions.len()).unwrap_or(i64::MAX),
                );
                self.start(async move {
                    let marked = span.done_by(markers.mark(pair, marker, &partitions)).await;
                    Answer::Marked(epoch, pair, text(marked))
                });
            }
            ProcessOutput::Locate {
                epoch,
                pair,
                marker,
                partitions,
            } => {
                let markers = Arc::clone(&self.parts.markers);
                let span = self.trace.whole(epoch).child("locate markers");
                self.start(async move {
                    let found = span
                        .done_by(markers.locate(pair, marker, &partitions))
                        .await;
                    Answer::Located(epoch, pair, text(found))
                });
            }
            ProcessOutput::ReadCommitted { read, inputs } => {
                let client = self.parts.client.clone();
                self.start(async move {
                    Answer::Committed(read, read_committed(&client, &inputs).await)
                });
            }
            ProcessOutput::LookAside {
                partition,
                from,
                to,
                committed_only,
            } => {
                self.look(partition, from, to, committed_only);
            }
            ProcessOutput::ProveUnacked(conns) => {
                let proxy = Arc::clone(&self.parts.proxy);
                self.start(async move { Answer::Proved(proxy.prove(&conns).await) });
            }
            ProcessOutput::PauseHook(epoch) => self.call_hook(epoch, pause, Answer::Paused),
            ProcessOutput::ResumeHook(epoch) => self.call_hook(epoch, resume, Answer::Resumed),
            ProcessOutput::Record(epoch) => {
                let states = Arc::clone(&self.parts.states);
                let span = self.trace.whole(epoch).child("record");
                let breakers = self.parts.breakers.clone();
                self.start(async move {
                    let fixed = span.done_by(states.fix(epoch)).await;
                    // A success says little before the copy is made.
                    if fixed.is_err() {
                        breakers.note_state(&fixed);
                    }
                    Answer::Recorded(epoch, text(fixed))
                });
            }
            ProcessOutput::Discard(epoch) => {
                let states = Arc::clone(&self.parts.states);
                tokio::spawn(async move { states.discard(epoch).await });
            }
            ProcessOutput::RegisterTopics(topics) => self.register(topics),
        }
    }

    fn send(&self, message: FromSidecar) {
        self.trace.said(&message);
        if let FromSidecar::Declined { epoch, reason } = &message {
            let share = self.trace.whole(*epoch);
            share.within(|| tracing::warn!(%epoch, reason, "declined"));
        }
        if self
            .parts
            .uplink
            .try_send(Uplink::Epoch { message })
            .is_err()
        {
            // A full or closed uplink is a lost coordinator: the epoch fails there by its deadline, and here at once.
            self.parts
                .core
                .with(|process, now| process.handle_coordinator_lost(now));
        }
    }

    fn look(&self, partition: TopicPartition, from: Offset, to: Offset, committed_only: bool) {
        let client = self.parts.client.clone();
        let masked = self
            .parts
            .core
            .with(|process, _| process.masks().of(&partition).cloned());
        let masked = masked.flatten().unwrap_or_default();
        self.start(async move {
            let seen =
                look::is_visible(&client, &partition, (from, to), committed_only, &masked).await;
            Answer::Looked(partition, from, to, seen.map_err(|error| error.to_string()))
        });
    }

    fn call_hook<T, F>(
        &self,
        epoch: Epoch,
        call: impl FnOnce(Arc<Hook>) -> F,
        answer: fn(Epoch, Result<T, String>) -> Answer,
    ) where
        T: Send + 'static,
        F: Future<Output = Result<T, String>> + Send + 'static,
    {
        match self.parts.hook.clone() {
            Some(hook) => {
                let calling = self.trace.whole(epoch).around(call(hook));
                let breakers = self.parts.breakers.clone();
                self.start(async move {
                    let called = calling.await;
                    breakers.note_hook(&called);
                    answer(epoch, called)
                });
            }
            None => {
                self.start(async move { answer(epoch, Err("no hook is configured".to_owned())) })
            }
        }
    }

    /// A topic is in the control topic before anything is produced to it. Until then its Produces wait, so this is
    /// repeated for as long as the sidecar runs.
    fn register(&self, topics: Vec<TopicName>) {
        let (control, service) = (
            Arc::clone(&self.parts.control),
            self.parts.sidecar.service.clone(),
        );
        self.start(async move {
            for topic in &topics {
                let record = Record::Output { service: service.clone(), topic: topic.clone() };
                while let Err(error) = control.append(&record).await {
                    tracing::warn!(%error, %topic, "topic not registered yet; what is produced to it waits");
                }
            }
            Answer::Registered(topics)
        });
    }
}

fn tell_stored(epoch: Epoch, part: &PartRef) {
    let (bytes, uploaded) = (part.state_bytes, part.uploaded_bytes);
    tracing::info!(%epoch, bytes, uploaded, latencyMs = part.async_ms, "state stored");
}

/// Errors travel into reports and reasons as text.
fn text<T>(answer: Result<T, impl std::fmt::Display>) -> Result<T, String> {
    answer.map_err(|error| error.to_string())
}

async fn pause(hook: Arc<Hook>) -> Result<BTreeMap<TopicPartition, Offset>, String> {
    let positions = hook.pause().await.map_err(|error| error.to_string())?;
    Ok(positions
        .into_iter()
        .map(|position| (position.partition, position.offset))
        .collect())
}

async fn resume(hook: Arc<Hook>) -> Result<bool, String> {
    hook.resume().await.map_err(|error| error.to_string())
}

/// Stable committed offsets of every input, all groups at once.
async fn read_committed(client: &Client, inputs: &[InputPartition]) -> Result<Committed, String> {
    let mut by_group: BTreeMap<&GroupId, Vec<TopicPartition>> = BTreeMap::new();
    for input in inputs {
        by_group
            .entry(&input.group)
            .or_default()
            .push(input.partition.clone());
    }
    let reads = by_group.into_iter().map(|(group, partitions)| async move {
        let committed = client
            .committed_on(group, &partitions, true)
            .await
            .map_err(|error| error.to_string())?;
        let offsets = partitions.into_iter().map(|partition| {
            let offset = committed.get(&partition).copied();
            ((group.clone(), partition), offset)
        });
        Ok::<_, String>(offsets.collect::<Vec<_>>())
    });
    let answers = futures_util::future::try_join_all(reads).await?;
    Ok(answers.into_iter().flatten().collect())
}
