//! The journal of a restore: what was decided and done, so that whoever goes on after a crash knows.
//!
//! Each record is created under the next number; of two writers one loses, learns that it was superseded and stops.
//! A restore whose last record is not final keeps its checkpoint from being deleted. Where there are signing keys a journal
//! is followed only when all of it is signed; one that is over and has no signature at all is history, and may be read.

use cutline_model::Epoch;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{CheckpointStatus, Created, FORMAT, Key, Repository, StoreError, document, layout};

/// The most records a journal may have: a restore has a few dozen steps.
const RECORDS_MAX: u64 = 100_000;
/// Restores that are over and remembered as such.
const OVER_MAX: usize = 10_000;
/// Journals read at the same time.
const READS_MAX: usize = 16;

/// One record of a restore's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalRecord {
    /// The version of this form.
    pub format: u32,
    /// The restore.
    pub restore: String,
    /// The record's place: 0, 1, 2, …
    pub seq: u64,
    /// The checkpoint being restored.
    pub epoch: Epoch,
    /// When it was written.
    pub at: Timestamp,
    /// What was reached, in a word.
    pub step: String,
    /// True for the last record: the restore is over, one way or the other.
    pub finished: bool,
    /// What belongs to the step; its form is the writer's.
    #[serde(default)]
    pub data: serde_json::Value,
}

impl JournalRecord {
    /// A record written now that is not the last.
    #[must_use]
    pub fn new(restore: &str, seq: u64, epoch: Epoch, step: &str, data: serde_json::Value) -> Self {
        Self {
            format: FORMAT,
            restore: restore.to_owned(),
            seq,
            epoch,
            at: Timestamp::now(),
            step: step.to_owned(),
            finished: false,
            data,
        }
    }

    /// The same record as the last of its journal.
    #[must_use]
    pub fn finished(self) -> Self {
        Self {
            finished: true,
            ..self
        }
    }
}

/// A restore as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct RestoreSummary {
    /// Its id.
    pub id: String,
    /// Its first record.
    pub first: JournalRecord,
    /// Its last record.
    pub last: JournalRecord,
}

impl Repository {
    /// Writes the next record of a journal. Writing the same one again is success.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] when another writer was first; [`StoreError::NotCompleted`] for the first record of a
    /// restore whose checkpoint cannot be used.
    pub async fn append_journal(&self, record: &JournalRecord) -> Result<(), StoreError> {
        let key = layout::journal(&record.restore, record.seq)?;
        if record.seq >= RECORDS_MAX {
            let what = format!("the journal of restore {}", record.restore);
            return Err(StoreError::TooLarge {
                what,
                found: record.seq + 1,
                limit: RECORDS_MAX,
            });
        }
        if record.seq > 0 {
            self.check_predecessor(record).await?;
        }
        self.create_record(&key, record).await?;
        if record.seq == 0 && !record.finished {
            self.check_pinned(record).await?;
        }
        Ok(())
    }

    /// Every record of a journal, in order; none when there is no such restore.
    ///
    /// # Errors
    /// When a record is missing, damaged or of another restore.
    pub async fn read_journal(&self, restore: &str) -> Result<Vec<JournalRecord>, StoreError> {
        let prefix = layout::restore(restore)?;
        let (mut records, mut signed) = (Vec::new(), Vec::new());
        for meta in self.objects.list(&prefix).await? {
            let expected = layout::journal(restore, records.len() as u64)?;
            if layout::number(&prefix, &meta.key).is_none() {
                continue;
            }
            if meta.key != expected {
                return Err(StoreError::Missing {
                    key: expected.to_string(),
                });
            }
            let (record, is_signed) = self.record(restore, records.len() as u64).await?;
            records.push(record);
            signed.push(is_signed);
        }
        if let Some(last) = records.last() {
            self.check_signed(last, &signed)?;
        }
        Ok(records)
    }

    /// Every restore there was, oldest first.
    ///
    /// # Errors
    /// When a journal cannot be read.
    pub async fn restores(&self) -> Result<Vec<RestoreSummary>, StoreError> {
        let mut last: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
        for meta in self.objects.list(layout::RESTORES).await? {
            let rest = meta
                .key
                .as_str()
                .strip_prefix(layout::RESTORES)
                .and_then(|rest| rest.split_once('/'));
            let Some((id, _)) = rest else { continue };
            let Some(seq) = layout::number(&layout::restore(id)?, &meta.key) else {
                continue;
            };
            last.insert(id.to_owned(), seq);
        }
        let mut found: Vec<RestoreSummary> = stream::iter(last)
            .map(|(id, seq)| self.summary(id, seq))
            .buffer_unordered(READS_MAX)
            .try_collect()
            .await?;
        found.sort_by_key(|restore| restore.first.at);
        Ok(found)
    }

    /// The restore `id`, whose last record is the one under `seq`; read once when it is over.
    async fn summary(&self, id: String, seq: u64) -> Result<RestoreSummary, StoreError> {
        let known = self.over.lock().get(&id).cloned();
        if let Some(known) = known.filter(|known| known.last.seq == seq) {
            return Ok(known);
        }
        let (first, first_signed) = self.record(&id, 0).await?;
        let (last, last_signed) = self.record(&id, seq).await?;
        self.check_signed(&last, &[first_signed, last_signed])?;
        let summary = RestoreSummary { id, first, last };
        if summary.last.finished {
            let mut over = self.over.lock();
            over.insert(summary.id.clone(), summary.clone());
            if over.len() > OVER_MAX {
                over.pop_first();
            }
        }
        Ok(summary)
    }

    /// Fails when a restore that is not over needs `epoch`.
    pub async fn not_in_use(&self, epoch: Epoch) -> Result<(), StoreError> {
        let restores = self.restores().await?;
        let user = restores
            .into_iter()
            .find(|restore| restore.first.epoch == epoch && !restore.last.finished);
        user.map_or(Ok(()), |restore| {
            Err(StoreError::InUse {
                epoch,
                restore: restore.id,
            })
        })
    }

    /// One record, and whether it is signed.
    async fn record(&self, restore: &str, seq: u64) -> Result<(JournalRecord, bool), StoreError> {
        let key = layout::journal(restore, seq)?;
        let bytes = self.objects.get(&key, document::DOCUMENT_BYTES_MAX).await?;
        let record: JournalRecord = document::unseal(&key, &bytes)?;
        if record.restore != restore || record.seq != seq {
            let detail = format!("it is record {} of restore {}", record.seq, record.restore);
            return Err(StoreError::Damaged {
                key: key.to_string(),
                detail,
            });
        }
        let signed = self.is_signed(&key, &bytes)?;
        Ok((record, signed))
    }

    /// Whether a journal that ends with `last` can be followed, by which of its records are signed.
    fn check_signed(&self, last: &JournalRecord, signed: &[bool]) -> Result<(), StoreError> {
        let all = signed.iter().all(|signed| *signed);
        let none = signed.iter().all(|signed| !signed);
        if all || (none && last.finished) || self.accepts_unsigned(last.epoch) {
            return Ok(());
        }
        let detail = match none {
            true => "it has no signature, and the restore is not over",
            false => "records of the journal that it belongs to have no signature",
        };
        Err(StoreError::NotSigned {
            key: layout::journal(&last.restore, last.seq)?.to_string(),
            detail: detail.to_owned(),
        })
    }

    async fn check_predecessor(&self, record: &JournalRecord) -> Result<(), StoreError> {
        let (before, _) = self.record(&record.restore, record.seq - 1).await?;
        if before.finished {
            return Err(StoreError::Superseded {
                what: format!("the end of restore {}", record.restore),
            });
        }
        if before.epoch != record.epoch {
            let what = format!(
                "restore {} is of epoch {}, not {}",
                record.restore, before.epoch, record.epoch
            );
            return Err(StoreError::Invalid { what });
        }
        Ok(())
    }

    async fn create_record(&self, key: &Key, record: &JournalRecord) -> Result<(), StoreError> {
        let bytes = self.seal(key, record)?;
        match self.objects.put_new(key, bytes.clone()).await? {
            Created::Created => Ok(()),
            Created::AlreadyExists
                if self.objects.get(key, document::DOCUMENT_BYTES_MAX).await? == bytes =>
            {
                Ok(())
            }
            Created::AlreadyExists => Err(StoreError::Superseded {
                what: format!("record {} of restore {}", record.seq, record.restore),
            }),
        }
    }

    /// The journal's first record pins the checkpoint; only then is it looked at, so that a deletion beside us is seen
    /// by at least one of the two.
    async fn check_pinned(&self, first: &JournalRecord) -> Result<(), StoreError> {
        let status = self.status(first.epoch).await;
        let refused = match status {
            Ok(CheckpointStatus::Completed) => return Ok(()),
            Ok(status) => StoreError::NotCompleted {
                epoch: first.epoch,
                status,
            },
            Err(error) => error,
        };
        let data = serde_json::json!({ "reason": refused.to_string() });
        let end = JournalRecord::new(&first.restore, 1, first.epoch, "REFUSED", data).finished();
        self.create_record(&layout::journal(&first.restore, 1)?, &end)
            .await?;
        Err(refused)
    }
}
