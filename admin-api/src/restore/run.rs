//! One restore from its plan to its end: does the journal's next step, records it, and goes on.
//!
//! Each entry is in the store before the step after it begins. An error ends the restore while nothing was touched; from
//! then on the step is tried again until it succeeds, and the fence stays. Which step comes next is the core's word.

use std::time::{Duration, Instant};

use cutline_model::Epoch;
use cutline_protocol::restore::{Entry, Facts, Journal, Resumption, Step};
use cutline_store::MaskRecord;
use cutline_telemetry::Span;
use jiff::Timestamp;
use serde_json::json;

use super::{
    RestoreError, append, empty, ends,
    gather::Wanted,
    lift,
    live::LiveGuard,
    log, put,
    scan::Scan,
    stop,
    stored::{self, Begun, Beside},
    tables, timeline, view,
};
use crate::{app::App, busy::BusyGuard};

/// Pauses between attempts at a step that must succeed: they double from the first to the second.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(500);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);

/// What was found out for the plan; it lives until state is touched.
pub struct Survey {
    /// The facts.
    pub facts: Facts,
    /// What was read of the logs.
    pub scan: Scan,
}

/// A restore that runs.
pub struct Run {
    pub(super) app: App,
    pub(super) guard: BusyGuard,
    pub(super) live: LiveGuard,
    pub(super) id: String,
    pub(super) epoch: Epoch,
    pub(super) started_at: Timestamp,
    pub(super) wanted: Wanted,
    pub(super) begun: Begun,
    pub(super) journal: Journal,
    pub(super) masks: Vec<MaskRecord>,
    pub(super) survey: Option<Survey>,
    pub(super) stillness: Option<stop::Stillness>,
    pub(super) seq: u64,
    pub(super) beside: Beside,
    /// Why it is given up, once it is.
    pub(super) doomed: Option<String>,
    /// Its trace, and the part of it that is the present step.
    pub(super) trace: Span,
    pub(super) step: Span,
}

impl Run {
    /// Waits until this admin API leads, looks what another may have done by then, and goes on.
    pub async fn drive_when_leading(mut self) {
        let mut leading = self.app.leadership.watch();
        if leading.wait_for(|leading| *leading).await.is_ok() {
            self.resync().await;
            self.drive().await;
        }
    }

    /// Goes on to the end, unless another admin API takes over.
    pub async fn drive(self) {
        let trace = self.trace.clone();
        trace.set("deployment", self.app.config.deployment.clone());
        trace.around(self.steps()).await;
        trace.end();
    }

    async fn steps(mut self) {
        if self.journal.resumption() == Resumption::GiveUp && self.survey.is_none() {
            let reason =
                "the admin API was interrupted before any state was touched; run the restore again";
            self.doomed = Some(reason.to_owned());
        }
        let mut pause = RETRY_PAUSE_MIN;
        while self.journal.next() != Step::Over {
            let Err(error) = self.advance().await else {
                pause = RETRY_PAUSE_MIN;
                self.live.live.note(None);
                continue;
            };
            if self.app.leadership.check().is_err() || matches!(error, RestoreError::NotLeading) {
                tracing::warn!(restore = self.id, %error, "restore left to the admin API that leads");
                return;
            }
            if self.journal.may_give_up() && self.doomed.is_none() {
                tracing::warn!(restore = self.id, %error, "restore is given up");
                self.beside.aborted = matches!(error, RestoreError::Aborted);
                self.doomed = Some(error.to_string());
                continue;
            }
            tracing::warn!(restore = self.id, %error, "restore step is tried again");
            self.live.live.note(Some(error.to_string()));
            self.resync().await;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
        self.tell_end();
    }

    async fn advance(&mut self) -> Result<(), RestoreError> {
        self.app
            .leadership
            .check()
            .map_err(|_| RestoreError::NotLeading)?;
        if self.live.live.is_aborted() && self.journal.may_give_up() && self.doomed.is_none() {
            return Err(RestoreError::Aborted);
        }
        if let Some(reason) = self.doomed.clone().filter(|_| self.journal.may_give_up()) {
            return self.give_up(reason).await;
        }
        let step = self.journal.next();
        let (began, name) = (Instant::now(), name_of(&step));
        self.step = self.trace.child(name);
        let done = self.step.clone().done_by(self.take(&step)).await;
        self.app.metrics.restore_step(name, began.elapsed());
        done
    }

    async fn take(&mut self, step: &Step) -> Result<(), RestoreError> {
        for entry in self.carry_out(step).await? {
            self.record(entry).await?;
        }
        Ok(())
    }

    async fn carry_out(&mut self, step: &Step) -> Result<Vec<Entry>, RestoreError> {
        let entry = match step {
            Step::WriteHolds => stop::write_holds(self).await?,
            Step::Quiesce => stop::quiesce(self).await?,
            Step::Fence => stop::fence(self).await?,
            Step::Empty => empty::empty(self).await?,
            Step::FixEnds => ends::fix_ends(self).await?,
            Step::MakeMasks => ends::make_masks(self).await?,
            Step::ReadTables => tables::read(self).await?,
            Step::BeginState => Entry::StateBegun,
            Step::RestoreStates(left) => return put::restore_states(self, left).await,
            Step::CommitOffsets => put::commit_offsets(self).await?,
            Step::AppendTables => append::append(self).await?,
            Step::TakeTimeline => timeline::take(self).await?,
            Step::CommitTimeline => timeline::commit(self).await?,
            Step::Lift => {
                lift::lift(self).await?;
                Entry::Lifted
            }
            Step::Finish => {
                tables::forget(self).await;
                Entry::Completed
            }
            Step::GiveUp => {
                lift::let_go(self);
                lift::lift(self).await?;
                tables::forget(self).await;
                Entry::GivenUp
            }
            Step::Over => return Ok(Vec::new()),
        };
        Ok(vec![entry])
    }

    /// Ends it before anything was touched. What stands still does not wait for a store that is out of reach: whoever
    /// finds the journal as it is gives up too, so lifting early is safe.
    async fn give_up(&mut self, reason: String) -> Result<(), RestoreError> {
        let recorded = self.record(Entry::GivingUp { reason }).await;
        if recorded.is_err() {
            lift::let_go(self);
            lift::lift(self).await?;
        }
        recorded
    }

    /// Makes an entry durable, and only then true here.
    async fn record(&mut self, entry: Entry) -> Result<(), RestoreError> {
        let metadata = self.app.kafka.metadata();
        let (id, seq, epoch) = (&self.id, self.seq, self.epoch);
        let record = stored::entry_record(id, seq, epoch, &entry, &self.beside, |topic| {
            log::topic_id(&metadata, topic)
        });
        self.app.repository.append_journal(&record).await?;
        self.seq += 1;
        let name = entry.name();
        if let Entry::MasksMade { masks } = &entry {
            self.masks = super::cut::mask_records(masks, |topic| log::topic_id(&metadata, topic));
        }
        if entry == Entry::StateBegun {
            self.survey = None;
        }
        self.journal
            .record(entry)
            .map_err(|error| RestoreError::Journal(error.to_string()))?;
        tracing::info!(restore = self.id, epoch = %self.epoch, step = name, "restore step done");
        let status = view::status_of(&self.journal, self.beside.aborted);
        let data = json!({ "id": self.id, "epoch": self.epoch, "step": name, "status": status });
        self.app.events.publish("restore.step", data);
        Ok(())
    }

    /// Reads the journal again: a record whose writing ended with an error may be there all the same.
    async fn resync(&mut self) {
        let records = self.app.repository.read_journal(&self.id).await;
        let Ok(read) = records.map_err(RestoreError::from).and_then(|records| {
            let count = records.len() as u64;
            stored::read(&records).map(|read| (count, read))
        }) else {
            return;
        };
        let (count, read) = read;
        if count > self.seq {
            self.seq = count;
            self.journal = read.journal;
            self.masks = read.masks;
            self.beside = read.beside;
        }
    }

    fn tell_end(&self) {
        let status = view::status_of(&self.journal, self.beside.aborted);
        let duration = Timestamp::now()
            .duration_since(self.started_at)
            .unsigned_abs();
        if status == cutline_client::RestoreStatus::Completed {
            let masked = view::masked_offsets(&self.masks, &self.begun.services);
            let at = Timestamp::now().as_millisecond() as f64 / 1_000.0;
            self.app.metrics.restore_completed(duration, masked, at);
        } else {
            self.app.metrics.restore_failed();
        }
        self.trace.set("outcome", status.as_str().to_lowercase());
        if let Some(reason) = self.journal.given_up() {
            self.trace.set("reason", reason.to_owned());
            self.trace.fail(reason);
        }
        let kind = format!("restore.{}", status.as_str().to_lowercase());
        let reason = self.journal.given_up();
        let data =
            json!({ "id": self.id, "epoch": self.epoch, "status": status, "reason": reason });
        self.app.events.publish(&kind, data);
        let took = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(restore = self.id, epoch = %self.epoch, %status, latencyMs = took, "restore ended");
    }

    /// The plan's facts; gone once the masks are made.
    pub(super) fn survey(&mut self) -> Result<&mut Survey, RestoreError> {
        let gone = || RestoreError::Journal("what was planned is no longer known".to_owned());
        self.survey.as_mut().ok_or_else(gone)
    }

    /// The epoch the services stand still for, when they do.
    pub(super) fn still_for(&self) -> Option<Epoch> {
        self.stillness.as_ref().map(stop::Stillness::epoch)
    }
}

/// A step in traces and metrics.
fn name_of(step: &Step) -> &'static str {
    match step {
        Step::WriteHolds => "write_holds",
        Step::Quiesce => "quiesce",
        Step::Fence => "fence",
        Step::Empty => "empty_groups",
        Step::FixEnds => "fix_ends",
        Step::MakeMasks => "make_masks",
        Step::ReadTables => "read_tables",
        Step::BeginState => "begin_state",
        Step::RestoreStates(_) => "restore_states",
        Step::CommitOffsets => "commit_offsets",
        Step::AppendTables => "append_tables",
        Step::TakeTimeline => "take_timeline",
        Step::CommitTimeline => "commit_timeline",
        Step::Lift => "lift",
        Step::Finish => "finish",
        Step::GiveUp => "give_up",
        Step::Over => "over",
    }
}
