//! Drives one protocol coordinator: waits, feeds one input, drains the outputs, waits.
//!
//! Everything that takes time runs beside the loop and comes back as an input, so that a sidecar's word, a lost link or an
//! abort is never kept waiting by Kafka or the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cutline_model::{MarkerId, Offset, Purpose, ServiceName, TopicPartition};
use cutline_protocol::{
    Coordinator, CoordinatorConfig, CoordinatorOutput, Cut, End, EpochOutcome, IdleOffsets,
    ManifestAnswer, Moment, Registration, Rules, Topology, ViewSnapshot,
};
use cutline_store::Manifest;
use cutline_telemetry::Span;
use cutline_wire::client::Metadata;
use jiff::Timestamp;
use serde_json::json;
use tokio::{
    sync::{broadcast, watch},
    task::JoinSet,
    time::Instant,
};

use super::{
    EpochRequest, EpochResult, RunningEpoch, broker,
    decision::decide,
    manifest::{Surroundings, manifest_of},
    tables::{self, Tables},
    view,
};
use crate::{app::App, config::Channels, registry::LinkEvent};

/// A stale list of ends is asked for again no faster than this.
const ENDS_AGAIN: Duration = Duration::from_millis(5);

/// What came back from Kafka or the store.
enum Answer {
    Topology(Result<(Topology, Arc<Metadata>), String>),
    BarrierPair(Result<MarkerId, String>),
    Barriers(Result<BTreeMap<TopicPartition, Offset>, String>),
    Idle(Result<IdleOffsets, String>),
    Ends(Result<(BTreeMap<TopicPartition, End>, Arc<Metadata>), String>),
    Control(Result<Vec<Registration>, String>),
    Committed(ManifestAnswer, Box<Manifest>),
    FailureRecorded(ManifestAnswer),
    NotEmbedded(String),
}

/// What the loop waits for.
enum Input {
    Answer(Answer),
    Link(LinkEvent),
    LinksMissed,
    Aborted(String),
    Deadline,
}

struct Driver<'a> {
    app: &'a App,
    running: &'a RunningEpoch,
    request: &'a EpochRequest,
    view: ViewSnapshot,
    coordinator: Coordinator,
    origin: Instant,
    tasks: JoinSet<Answer>,
    manifest: Option<Box<Manifest>>,
    ends_asked: bool,
    /// The topics as they were when the topology was read, and then when the ends were listed: the ones that this epoch
    /// speaks of, whatever is made again later under their names.
    topics: Arc<Metadata>,
    /// What was read ahead of the tables to embed.
    tables: Option<Tables>,
    /// What the coordinator does just now, in the trace.
    stage: (&'static str, Span),
}

/// Takes `running`, which is claimed, to its end, and its trace.
pub async fn drive(app: &App, running: &RunningEpoch, request: &EpochRequest) -> EpochResult {
    let trace = &running.trace;
    trace.set("deployment", app.config.deployment.clone());
    let result = trace.around(attempt(app, running, request)).await;
    match &result {
        EpochResult::Completed { .. } => trace.set("outcome", "completed"),
        EpochResult::Failed { reason, .. } => {
            trace.set("outcome", "failed");
            trace.set("reason", reason.clone());
            trace.fail(reason);
        }
    }
    trace.end();
    result
}

async fn attempt(app: &App, running: &RunningEpoch, request: &EpochRequest) -> EpochResult {
    let mut aborts = running.aborted();
    let tables = tokio::select! {
        read = read_ahead(app, request) => read,
        reason = aborted(&mut aborts) => return give_up(app, running, reason, true).await,
    };
    let tables = match tables {
        Ok(tables) => tables,
        Err(reason) => return give_up(app, running, reason, false).await,
    };
    // Heard from before the view is taken: nobody of the view can be lost unheard.
    let mut links = app.registry.listen();
    let view = tokio::select! {
        view = view::snapshot(app, request.purpose) => view,
        reason = aborted(&mut aborts) => return give_up(app, running, reason, true).await,
    };
    let view = match view {
        Ok(view) => view,
        Err(reason) => return give_up(app, running, reason, false).await,
    };
    let config = CoordinatorConfig {
        epoch: running.epoch,
        mode: request.mode,
        purpose: request.purpose,
        stopped: request.stopped.clone(),
        limits: app.config.limits,
        timeout: app.config.checkpoint.timeout,
        prepare_timeout: app.config.checkpoint.prepare_timeout,
        rules: Rules::default(),
    };
    let mut driver = Driver {
        app,
        running,
        request,
        coordinator: Coordinator::new(Moment::default(), config, view.clone()),
        view,
        origin: Instant::now(),
        tasks: JoinSet::new(),
        manifest: None,
        ends_asked: false,
        topics: Arc::default(),
        tables,
        stage: ("", Span::none()),
    };
    driver.run(&mut links, &mut aborts).await
}

/// Reads the tables that this checkpoint is to embed.
async fn read_ahead(app: &App, request: &EpochRequest) -> Result<Option<Tables>, String> {
    if app.config.checkpoint.channels == Channels::Reference || request.purpose == Purpose::Stop {
        return Ok(None);
    }
    let limit = app.config.checkpoint.timeout;
    match tokio::time::timeout(limit, tables::read_ahead(app)).await {
        Ok(Ok(tables)) => Ok(Some(tables)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("tables were not read within {limit:?}")),
    }
}

impl Driver<'_> {
    async fn run(
        &mut self,
        links: &mut broadcast::Receiver<LinkEvent>,
        aborts: &mut watch::Receiver<Option<String>>,
    ) -> EpochResult {
        let mut ended_by_hand = false;
        loop {
            self.note_stage();
            if let Some(outcome) = self.drain() {
                self.stage.1.end();
                return self.result(outcome, ended_by_hand).await;
            }
            self.note_phase();
            match self.wait(links, aborts, ended_by_hand).await {
                Input::Answer(answer) => self.answered(answer),
                Input::Link(event) => self.heard(event),
                Input::LinksMissed => self
                    .coordinator
                    .abort("the coordinator fell behind its sidecars"),
                Input::Aborted(reason) => {
                    ended_by_hand = true;
                    self.coordinator.abort(&reason);
                }
                Input::Deadline => self.coordinator.handle_timeout(self.now()),
            }
        }
    }

    async fn wait(
        &mut self,
        links: &mut broadcast::Receiver<LinkEvent>,
        aborts: &mut watch::Receiver<Option<String>>,
        ended_by_hand: bool,
    ) -> Input {
        let deadline = self
            .coordinator
            .poll_timeout()
            .map(|moment| self.origin + moment.0);
        let expired = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(done) = self.tasks.join_next() => match done {
                Ok(answer) => Input::Answer(answer),
                Err(error) => Input::Aborted(format!("a task of the coordinator ended: {error}")),
            },
            event = links.recv() => match event {
                Ok(event) => Input::Link(event),
                Err(_) => Input::LinksMissed,
            },
            reason = aborted(aborts), if !ended_by_hand => Input::Aborted(reason),
            () = expired => Input::Deadline,
        }
    }

    /// Carries out every output there is; the outcome, when the epoch is over.
    fn drain(&mut self) -> Option<EpochOutcome> {
        while let Some(output) = self.coordinator.poll_output() {
            match output {
                CoordinatorOutput::Send(sidecar, message) => {
                    let trace = self.running.trace.traceparent();
                    let sent = self.app.registry.send_epoch(&sidecar, message, trace);
                    if sent.is_err() {
                        self.coordinator.handle_sidecar_lost(&sidecar);
                    }
                }
                CoordinatorOutput::Done(outcome) => return Some(outcome),
                CoordinatorOutput::Commit(cut) => self.commit(&cut),
                CoordinatorOutput::Fail(reason) => self.record_failure(reason),
                question => self.ask(question),
            }
        }
        None
    }

    fn ask(&mut self, question: CoordinatorOutput) {
        let (app, kafka) = (self.app.clone(), self.app.kafka.clone());
        match question {
            CoordinatorOutput::ReadTopology { groups, topics } => self.start(async move {
                let topology = broker::topology(&kafka, &groups, &topics).await;
                Answer::Topology(topology.map_err(|error| error.to_string()))
            }),
            CoordinatorOutput::TakeBarrierPair => self.start(async move {
                let pair = app.barriers.take_pair().await;
                Answer::BarrierPair(pair.map_err(|error| error.to_string()))
            }),
            CoordinatorOutput::WriteBarriers(partitions) => self.start(async move {
                let written = app.barriers.write(&partitions).await;
                Answer::Barriers(written.map_err(|error| error.to_string()))
            }),
            CoordinatorOutput::ReadIdle(groups) => {
                let idle: BTreeSet<ServiceName> = self.view.idle.keys().cloned().collect();
                self.start(async move {
                    let committed = broker::committed(&kafka, &groups, &idle).await;
                    Answer::Idle(committed.map_err(|error| error.to_string()))
                })
            }
            CoordinatorOutput::ListEnds(topics) => {
                let again = std::mem::replace(&mut self.ends_asked, true);
                let before = Arc::clone(&self.topics);
                self.start(async move {
                    if again {
                        tokio::time::sleep(ENDS_AGAIN).await;
                    }
                    let ends = broker::ends(&kafka, &topics, &before).await;
                    Answer::Ends(ends.map_err(|error| error.to_string()))
                })
            }
            CoordinatorOutput::ReadControl => {
                self.start(async move { Answer::Control(view::read_control(&app).await) })
            }
            // Carried out where outputs are drained.
            CoordinatorOutput::Send(..)
            | CoordinatorOutput::Done(_)
            | CoordinatorOutput::Commit(_)
            | CoordinatorOutput::Fail(_) => {}
        }
    }

    fn commit(&mut self, cut: &Cut) {
        let control = self.app.control.state().borrow().clone();
        let around = Surroundings {
            started_at: self.running.started_at,
            savepoint: self.request.savepoint.clone(),
            trace_id: self.running.trace.trace_id(),
            metadata: &self.topics,
            control: &control,
        };
        let mut manifest = Box::new(manifest_of(cut, around));
        let (app, cut) = (self.app.clone(), cut.clone());
        let tables = self.tables.take();
        let mut failed = failed(self.running, String::new());
        self.start(async move {
            tables::note_lags(&app, &mut manifest).await;
            if let Some(tables) = tables {
                let limit = app.config.checkpoint.timeout;
                let embedding = tables::embed(&app, &cut, &mut manifest, tables);
                let embedded = tokio::time::timeout(limit, embedding).await;
                let reason = match embedded {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(_) => Some(format!("tables were not embedded within {limit:?}")),
                };
                if let Some(reason) = reason {
                    failed.reason = Some(reason.clone());
                    decide(&app, &failed).await;
                    return Answer::NotEmbedded(reason);
                }
                manifest.completed_at = Timestamp::now();
            }
            let answer = decide(&app, &manifest).await;
            Answer::Committed(answer, manifest)
        });
    }

    fn record_failure(&mut self, reason: String) {
        let manifest = failed(self.running, reason);
        let app = self.app.clone();
        self.start(async move { Answer::FailureRecorded(decide(&app, &manifest).await) });
    }

    fn answered(&mut self, answer: Answer) {
        let now = self.now();
        let coordinator = &mut self.coordinator;
        match answer {
            Answer::Topology(answer) => {
                let answer = answer.map(|(topology, topics)| {
                    self.topics = topics;
                    topology
                });
                coordinator.handle_topology(now, answer);
            }
            Answer::BarrierPair(answer) => coordinator.handle_barrier_pair(now, answer),
            Answer::Barriers(answer) => coordinator.handle_barriers(now, answer),
            Answer::Idle(answer) => coordinator.handle_idle(now, answer),
            Answer::Ends(answer) => {
                let answer = answer.map(|(ends, topics)| {
                    self.topics = topics;
                    ends
                });
                coordinator.handle_ends(now, answer);
            }
            Answer::Control(answer) => coordinator.handle_control_read(now, answer),
            Answer::FailureRecorded(answer) => coordinator.handle_manifest(answer),
            Answer::NotEmbedded(why) => coordinator.handle_manifest(ManifestAnswer::Refused(why)),
            Answer::Committed(answer, manifest) => {
                self.manifest = Some(manifest);
                coordinator.handle_manifest(answer);
            }
        }
    }

    fn heard(&mut self, event: LinkEvent) {
        let now = self.now();
        match event {
            LinkEvent::Epoch {
                sidecar, message, ..
            } => self
                .coordinator
                .handle_message(now, &sidecar, message.as_ref().clone()),
            LinkEvent::Lost {
                sidecar,
                incarnation,
                ..
            } => {
                // The loss of an earlier run was before the view.
                if self.view.sidecars.get(&sidecar) == Some(&incarnation) {
                    self.coordinator.handle_sidecar_lost(&sidecar);
                }
            }
            LinkEvent::Connected { .. } => {}
        }
    }

    /// The trace shows a few stages, of one or more phases each.
    fn note_stage(&mut self) {
        let stage = stage_of(&self.coordinator.phase());
        if self.stage.0 != stage {
            self.stage.1.end();
            self.stage = (stage, self.running.trace.child(stage));
        }
    }

    /// Runs beside the loop, as a part of the present stage.
    fn start(&mut self, work: impl Future<Output = Answer> + Send + 'static) {
        self.tasks.spawn(self.stage.1.around(work));
    }

    fn note_phase(&self) {
        let phase = self.coordinator.phase();
        if self.app.running.note_phase(self.running.epoch, &phase) {
            let data = json!({ "epoch": self.running.epoch, "phase": phase });
            self.app.events.publish("checkpoint.phase", data);
        }
    }

    async fn result(&mut self, outcome: EpochOutcome, ended_by_hand: bool) -> EpochResult {
        match outcome {
            EpochOutcome::Completed(cut) => {
                if self.request.purpose == Purpose::Stop {
                    // The number is used up; whoever lists epochs finds why nothing is there.
                    let reason = "the processes stand still for a restore; nothing was recorded";
                    let stopped = failed(self.running, reason.to_owned());
                    decide(self.app, &stopped).await;
                }
                EpochResult::Completed {
                    cut,
                    manifest: self.manifest.take(),
                }
            }
            EpochOutcome::Failed(reason) => EpochResult::Failed {
                reason,
                aborted: ended_by_hand,
            },
        }
    }

    fn now(&self) -> Moment {
        Moment(self.origin.elapsed())
    }
}

fn stage_of(phase: &str) -> &'static str {
    match phase {
        "preparing" | "readingtopology" => "prepare",
        "arming" => "arm",
        "running" => "go",
        "listing" | "confirming" | "readingcontrol" | "rereading" => "bound",
        "storing" => "store",
        "committing" => "commit",
        _ => "end",
    }
}

/// Waits until somebody ends the epoch.
async fn aborted(aborts: &mut watch::Receiver<Option<String>>) -> String {
    let reason = aborts.wait_for(Option::is_some).await.ok();
    let reason = reason.and_then(|reason| reason.clone());
    match reason {
        Some(reason) => reason,
        None => std::future::pending().await,
    }
}

/// Ends an epoch that did not begin.
async fn give_up(app: &App, running: &RunningEpoch, reason: String, aborted: bool) -> EpochResult {
    decide(app, &failed(running, reason.clone())).await;
    EpochResult::Failed { reason, aborted }
}

fn failed(running: &RunningEpoch, reason: String) -> Manifest {
    let mut manifest = Manifest::failed(running.epoch, running.mode, running.started_at, reason);
    manifest.trace_id = running.trace.trace_id();
    manifest.savepoint = running.savepoint.clone();
    manifest
}
