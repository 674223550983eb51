//! The commit of a restore (1-protocol §6.7): a timeline with its masks, in the store and in the control topic.
//!
//! The number is taken by conditional create; a restore that took one before it was interrupted keeps it.

use cutline_control::{Masked, Record};
use cutline_model::{Timeline, TopicPartition};
use cutline_protocol::restore::Entry;
use cutline_store::{MaskRecord, StoreError, TimelineRecord};

use super::{RestoreError, run::Run, stop::put_in_force};

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
