//! Timelines: what each restore started. A timeline's number is taken by conditional create and never reused.

use cutline_model::{Epoch, Timeline};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Created, FORMAT, MaskRecord, Repository, StoreError,
    document::{self, Layout},
    layout,
};

/// A timeline as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimelineRecord {
    /// The version of this form.
    pub format: u32,
    /// Its number.
    pub timeline: Timeline,
    /// The timeline that was left.
    pub parent: Timeline,
    /// The restore that started it.
    pub restore: String,
    /// The checkpoint that was restored.
    pub epoch: Epoch,
    /// When it was started.
    pub created_at: Timestamp,
    /// The masks in force on it.
    #[serde(default)]
    pub masks: Vec<MaskRecord>,
}

impl TimelineRecord {
    /// The timeline after `parent`, started now by `restore` of `epoch`.
    #[must_use]
    pub fn new(parent: Timeline, restore: &str, epoch: Epoch, masks: Vec<MaskRecord>) -> Self {
        Self {
            format: FORMAT,
            timeline: parent.next(),
            parent,
            restore: restore.to_owned(),
            epoch,
            created_at: Timestamp::now(),
            masks,
        }
    }
}

impl Repository {
    /// Starts a timeline. Starting the same one again is success.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] when another restore took the number.
    pub async fn create_timeline(&self, record: &TimelineRecord) -> Result<(), StoreError> {
        let key = layout::timeline(record.timeline);
        let bytes = document::seal(record, Layout::Indented)?;
        match self.objects.put_new(&key, bytes.clone()).await? {
            Created::Created => Ok(()),
            Created::AlreadyExists
                if self.objects.get(&key, document::DOCUMENT_BYTES_MAX).await? == bytes =>
            {
                Ok(())
            }
            Created::AlreadyExists => Err(StoreError::Superseded {
                what: format!("timeline {}", record.timeline),
            }),
        }
    }

    /// Every timeline, in order. Before the first restore there is none, and the current one is zero.
    ///
    /// # Errors
    /// When one is damaged.
    pub async fn timelines(&self) -> Result<Vec<TimelineRecord>, StoreError> {
        let mut found = Vec::new();
        for meta in self.objects.list(layout::TIMELINES).await? {
            let Some(number) = layout::number(layout::TIMELINES, &meta.key) else {
                continue;
            };
            let record: TimelineRecord = document::read(&*self.objects, &meta.key).await?;
            if record.timeline.0 != number {
                let detail = format!("it is timeline {}", record.timeline);
                return Err(StoreError::Damaged {
                    key: meta.key.to_string(),
                    detail,
                });
            }
            found.push(record);
        }
        Ok(found)
    }
}
