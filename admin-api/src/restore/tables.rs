//! Compacted topics in a restore (1-protocol §6.5): what masked records replaced is found and kept in the store before
//! anything is touched, and appended behind the fence.
//!
//! Which key needs what is the core's word. Kept in the store, because a restore that touched something only goes on, and
//! the cleaner does not wait for it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use cutline_model::{Offset, RangeSet, ServiceName, TopicName, TopicPartition};
use cutline_protocol::{
    Rules,
    restore::{Entry, Facts, Problem, Repair, Repairs, TableNow, masks_of, plan, touched_tables},
};
use cutline_store::{Manifest, PieceWriter, TableRecord};
use cutline_wire::batch::batches;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{RestoreError, gather, log, run::Run, scan::Producers};
use crate::{
    app::App,
    table::{Line, Payload, Sorter, TableReader},
};

/// Rows of one piece, in bytes: what one transaction appends. It must be over within 30 s.
const PIECE_BYTES: usize = 4 * 1024 * 1024;

/// What a piece begins with: a line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Head {
    /// Where to.
    pub(super) partition: TopicPartition,
    /// Whose records these become; `None` for producers behind no sidecar.
    pub(super) by: Option<ServiceName>,
}

/// Finds out what is to be known of every table that something was appended to outside the cut.
///
/// # Errors
/// When Kafka does not answer.
pub async fn look(
    app: &App,
    manifest: &Manifest,
    facts: &mut Facts,
    ends: &BTreeMap<TopicPartition, Offset>,
) -> Result<(), RestoreError> {
    facts.cut_ms = manifest.started_at.as_millisecond();
    facts.tables.clear();
    // Where the masks cannot be made the plan says why.
    if let Ok(masks) = masks_of(facts, ends, &facts.writers) {
        let touched = touched_tables(facts, &masks);
        let topics: BTreeSet<TopicName> = touched.keys().map(|p| p.topic.clone()).collect();
        let topics: Vec<TopicName> = topics.into_iter().collect();
        let configs = app.kafka.topic_configs(&topics).await?;
        for (partition, from) in touched {
            let then = manifest.topics.iter().find(|t| t.name == partition.topic);
            let then = then.and_then(|topic| topic.min_compaction_lag_ms);
            let now = configs.get(&partition.topic);
            let now = now.map_or(0, |config| config.min_compaction_lag_ms);
            let table = TableNow {
                lag_ms: then.unwrap_or(0).min(now),
                first: first_batch(app, facts, &partition, from).await?,
                embedded: embedded(manifest, facts, &partition).is_some(),
            };
            facts.tables.insert(partition, table);
        }
    }
    facts.now_ms = Timestamp::now().as_millisecond();
    Ok(())
}

async fn first_batch(
    app: &App,
    facts: &Facts,
    partition: &TopicPartition,
    from: Offset,
) -> Result<Option<(Offset, i64)>, RestoreError> {
    let start = facts.partition_now(partition).map(|now| now.log_start);
    let from = from.max(start.unwrap_or(Offset(0)));
    let fetched = app
        .kafka
        .retrying(|client| async move { client.fetch(partition, from, 0).await })
        .await?;
    let first = batches(&fetched.records).find(|batch| batch.last_offset >= from);
    Ok(first.map(|batch| (batch.base_offset, batch.max_timestamp)))
}

/// The table as the checkpoint has it, when it is of this very topic.
fn embedded<'a>(
    manifest: &'a Manifest,
    facts: &Facts,
    partition: &TopicPartition,
) -> Option<&'a TableRecord> {
    let id = facts.topics_now.get(&partition.topic).map(|now| &now.id);
    let is_it = |table: &&TableRecord| {
        table.topic == partition.topic && table.partition == partition.partition
    };
    let table = manifest.tables.iter().find(is_it);
    table.filter(|table| Some(&table.topic_id) == id)
}

/// Works out what every table needs and keeps it in the store.
pub async fn read(run: &mut Run) -> Result<Entry, RestoreError> {
    let app = run.app.clone();
    let manifest = run.wanted.manifest.clone();
    let control = gather::present(&app).await?;
    let producers = Producers::of(&control);
    let missing = || RestoreError::Journal("the masks are not made".to_owned());
    let masks = run.journal.masks().cloned().ok_or_else(missing)?;
    let ends = run.journal.ends().cloned().unwrap_or_default();
    let restore = run.id.clone();
    let facts = &mut run.survey()?.facts;
    let name = uuid::Uuid::new_v4().simple().to_string();
    let mut kept = Kept {
        writer: app.repository.piece_writer(&restore, &name),
        open: BTreeMap::new(),
        records: 0,
    };
    let mut believed = Vec::new();
    for (partition, from) in touched_tables(facts, &masks) {
        let nothing = RangeSet::default();
        let sorter = sort(
            &app,
            facts,
            &producers,
            &partition,
            masks.of(&partition).unwrap_or(&nothing),
            ends.get(&partition).copied().unwrap_or(Offset(0)),
        );
        let sorter = sorter.await?;
        let table = facts.tables.get(&partition).cloned().unwrap_or_default();
        let guaranteed = table.is_guaranteed(from, facts.now_ms, &Rules::default());
        let from_store = embedded(&manifest, facts, &partition).filter(|_| !guaranteed);
        let own = facts.writers_of(&partition.topic).into_iter().next();
        let mut needs = Needs {
            kept: &mut kept,
            partition: &partition,
            own,
        };
        match from_store {
            Some(table) => needs.by_store(&app, sorter, table).await?,
            None => {
                needs.by_log(sorter).await?;
                believed.push((partition.clone(), from));
            }
        }
        kept.flush_all().await?;
    }
    // Reading took its time: judge once more whether the log could be believed meanwhile.
    look(&app, &manifest, facts, &log::ends(facts)).await?;
    plan(facts).map_err(RestoreError::NotFeasible)?;
    check_believed(facts, &believed)?;
    let records = kept.records;
    let (pieces, hash) = kept.writer.finish();
    tracing::info!(restore, records, pieces, "tables read");
    let repairs = Repairs {
        name,
        pieces,
        records,
        hash,
    };
    Ok(Entry::TablesRead { repairs })
}

/// A log that was read could be believed until it was read.
fn check_believed(facts: &Facts, read: &[(TopicPartition, Offset)]) -> Result<(), RestoreError> {
    for (partition, from) in read {
        let table = facts.tables.get(partition).cloned().unwrap_or_default();
        if !table.is_guaranteed(*from, facts.now_ms, &Rules::default()) {
            let problem = Problem::CleanerAhead {
                partition: partition.clone(),
                lag_ms: table.lag_ms,
                age_ms: facts.now_ms.saturating_sub(facts.cut_ms),
            };
            return Err(RestoreError::NotFeasible(vec![problem]));
        }
    }
    Ok(())
}

/// Everything a log has below the fence marker, by key.
async fn sort(
    app: &App,
    facts: &Facts,
    producers: &Producers,
    partition: &TopicPartition,
    masked: &RangeSet,
    end: Offset,
) -> Result<Sorter, RestoreError> {
    let own = facts.writers_of(&partition.topic).into_iter().next();
    let start = facts.partition_now(partition).map(|now| now.log_start);
    let mut sorter = Sorter::new(partition);
    let start = start.unwrap_or(Offset(0));
    let mut reader = TableReader::new(&app.kafka, partition, start, end);
    while let Some(found) = reader.read().await? {
        for found in found {
            let by = match producers.service(found.producer_id) {
                // Nobody can tell whose it is but that it is one of the restored writers'.
                None if found.producer_id < 0 => own.clone(),
                by => by.cloned(),
            };
            let masked = masked.contains(found.record.offset);
            crate::table::note(&mut sorter, found.record, by, masked)?;
        }
    }
    Ok(sorter)
}

/// What is worked out for one partition.
struct Needs<'a> {
    kept: &'a mut Kept,
    partition: &'a TopicPartition,
    own: Option<ServiceName>,
}

impl Needs<'_> {
    async fn by_log(&mut self, sorter: Sorter) -> Result<(), RestoreError> {
        let mut rows = sorter.sorted()?;
        while let Some((key, row)) = rows.next_row()? {
            if let Some(repair) = row.repair(&Rules::default()) {
                self.keep(key, repair).await?;
            }
        }
        Ok(())
    }

    /// Rows and the checkpoint's table are both in the order of keys.
    async fn by_store(
        &mut self,
        app: &App,
        sorter: Sorter,
        table: &TableRecord,
    ) -> Result<(), RestoreError> {
        let mut rows = sorter.sorted()?;
        let mut row = rows.next_row()?;
        let mut stored = crate::table::StoredTable::open(app, table).await?;
        let mut line = stored.next().await?;
        let rules = Rules::default();
        loop {
            let before = match (&row, &line) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((key, _)), Some(line)) => key.cmp(&line.key),
            };
            let from_log = if before.is_le() { row.take() } else { None };
            let from_store = if before.is_ge() { line.take() } else { None };
            if before.is_le() {
                row = rows.next_row()?;
            }
            if before.is_ge() {
                line = stored.next().await?;
            }
            let value = from_store.and_then(|line| Some((line.key, line.visible?.1?)));
            let repair = match (from_log, value) {
                (Some((key, row)), value) => {
                    let value = value.map(|(_, value)| value);
                    row.repair_from(value, &rules).map(|repair| (key, repair))
                }
                (None, Some((key, value))) => Some((key, Repair::Value(value))),
                (None, None) => None,
            };
            if let Some((key, repair)) = repair {
                self.keep(key, repair).await?;
            }
        }
    }

    async fn keep(&mut self, key: Bytes, repair: Repair<Payload>) -> Result<(), RestoreError> {
        let payload = match repair {
            Repair::Value(payload) => Some(payload),
            Repair::Tombstone => None,
        };
        let by = match &payload {
            Some(payload) => payload.by.clone(),
            None => self.own.clone(),
        };
        let partition = self.partition.clone();
        let line = Line {
            key,
            masked: None,
            visible: Some((Offset(0), payload)),
        };
        self.kept.push(Head { partition, by }, &line).await
    }
}

/// What is kept in the store, piece by piece.
struct Kept {
    writer: PieceWriter,
    open: BTreeMap<Head, BytesMut>,
    records: u64,
}

impl Kept {
    async fn push(&mut self, head: Head, line: &Line) -> Result<(), RestoreError> {
        self.records += 1;
        let open = self.open.entry(head.clone()).or_insert_with(|| {
            let mut bytes = BytesMut::new();
            let json = serde_json::to_vec(&head).expect("names and numbers are JSON");
            bytes.put_slice(&json);
            bytes.put_u8(b'\n');
            bytes
        });
        line.write(open);
        if open.len() >= PIECE_BYTES
            && let Some(piece) = self.open.remove(&head)
        {
            self.writer.push(&piece).await?;
        }
        Ok(())
    }

    async fn flush_all(&mut self) -> Result<(), RestoreError> {
        for piece in std::mem::take(&mut self.open).into_values() {
            self.writer.push(&piece).await?;
        }
        Ok(())
    }
}

/// Removes what was kept; it is of no use when the restore is over.
pub async fn forget(run: &Run) {
    if run.begun.tables
        && let Err(error) = run.app.repository.delete_pieces(&run.id).await
    {
        tracing::warn!(restore = run.id, %error, "what was kept of tables is not removed");
    }
}
