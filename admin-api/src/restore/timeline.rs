//! The commit of a restore (1-protocol §6.7): a timeline with its masks, in the store and in the control topic; then
//! holds and fence lift and applications may go on.
//!
//! The number is taken by conditional create; a restore that took one before it was interrupted keeps it.

use std::time::Duration;

use cutline_client::link::Downlink;
use cutline_control::{Masked, Record};
use cutline_model::{Closing, Timeline, ToSidecar, TopicPartition};
use cutline_protocol::restore::Entry;
use cutline_store::{MaskRecord, StoreError, TimelineRecord};
use futures_util::future::join_all;

use super::{RestoreError, run::Run, stop::put_in_force};

/// How long an application may take to answer that it goes on.
const RESUME_TIMEOUT: Duration = Duration::from_secs(30);
/// Numbers tried when others take them; only one who lost the lead and does not know would.
const TAKES_MAX: u32 = 8;

/// Takes the timeline's number.
pub async fn take(run: &mut Run) -> Result<Entry, RestoreError> {
    let mut last = None;
    for _ in 0..TAKES_MAX {
        let timelines = run.app.repository.timelines().await?;
        if let Some(own) = timelines.iter().find(|record| record.restore == run.id) {
            return Ok(Entry::TimelineTaken {
                timeline: own.timeline,
            });
        }
        let stored = timelines
            .last()
            .map_or(Timeline(0), |record| record.timeline);
        let in_force = run.app.control.state().borrow().timeline;
        let parent = stored.max(in_force);
        let record = TimelineRecord::new(parent, &run.id, run.epoch, run.masks.clone());
        match run.app.repository.create_timeline(&record).await {
            Ok(()) => {
                return Ok(Entry::TimelineTaken {
                    timeline: record.timeline,
                });
            }
            Err(error @ StoreError::Superseded { .. }) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
        run.app
            .leadership
            .check()
            .map_err(|_| RestoreError::NotLeading)?;
    }
    let nothing = || RestoreError::Journal("no timeline was tried".to_owned());
    Err(last.map_or_else(nothing, RestoreError::Store))
}

/// Puts the timeline and its masks in force.
pub async fn commit(run: &mut Run) -> Result<Entry, RestoreError> {
    let missing = || RestoreError::Journal("no timeline was taken".to_owned());
    let timeline = run.journal.timeline().ok_or_else(missing)?;
    let masks = run.masks.iter().map(masked).collect();
    let record = Record::Timeline { timeline, masks };
    let (offset, _) = put_in_force(&run.app, &record, "the masks").await?;
    Ok(Entry::TimelineCommitted { offset })
}

fn masked(record: &MaskRecord) -> Masked {
    Masked {
        service: record.service.clone(),
        partition: TopicPartition::new(record.topic.clone(), record.partition),
        topic_id: record.topic_id.clone(),
        ranges: record.ranges.clone(),
    }
}

/// Lifts holds and fence. Safe as soon as it is written; the wait is only so that whoever asks next finds it done.
pub async fn lift(run: &Run) -> Result<(), RestoreError> {
    let holds = Record::Holds {
        restore: run.id.clone(),
        holds: Vec::new(),
    };
    run.app.control.append_and_read(&holds).await?;
    match put_in_force(
        &run.app,
        &Record::Fence { fence: None },
        "the end of the fence",
    )
    .await
    {
        Err(error @ RestoreError::NotApplied { .. }) => {
            tracing::warn!(%error, restore = run.id, "some sidecars have not lifted the fence yet");
            Ok(())
        }
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

/// Opens what stood still without having been fenced, when a restore is given up.
pub fn let_go(run: &Run) {
    let Some(epoch) = run.still_for() else { return };
    let reason = run.journal.given_up().unwrap_or("the restore is given up");
    for (sidecar, _) in run.app.registry.connected() {
        if run.begun.services.contains(&sidecar.service) {
            let closing = Closing::Failed {
                reason: reason.to_owned(),
            };
            // One that is not there any more has opened by itself.
            let close = ToSidecar::Close { epoch, closing };
            let _ = run.app.registry.send_epoch(&sidecar, close);
        }
    }
}

/// Tells applications that were paused by their hook to go on. Answers who could not be told.
pub async fn resume_hooks(run: &Run) -> Vec<String> {
    let connected = run.app.registry.connected();
    let restored = connected
        .into_keys()
        .filter(|sidecar| run.begun.services.contains(&sidecar.service));
    let told = restored.map(|sidecar| async move {
        let resume = |request| Downlink::ResumeHook { request };
        let asked = run.app.registry.ask(&sidecar, RESUME_TIMEOUT, resume);
        asked.await.err().map(|error| error.to_string())
    });
    join_all(told).await.into_iter().flatten().collect()
}
