//! What a checkpoint keeps of compacted topics: how long their cleaner stays behind and, with `channels: embed`, the
//! tables themselves as they were at the cut.
//!
//! The cleaner does not wait for a checkpoint either: once an application goes on, what it overwrites may be gone at once.
//! So a table is read *before* the epoch, up to an end that lies below every marker; whatever replaces a record meanwhile
//! belongs to the cut itself and is read after it. Only the short rest up to the listed end is read when the epoch is
//! closed, and if an offset of that is missing the cleaner was faster: then the epoch fails rather than guess.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;
use cutline_control::ControlState;
use cutline_model::{Offset, RangeSet, ServiceName, TopicName, TopicPartition};
use cutline_protocol::{
    Cut, Rules,
    mask::{Masks, new_mask},
};
use cutline_store::{Entry, Manifest, StoreError, TableRecord};
use cutline_wire::client::{ClientError, ListedOffset, Metadata, Spot};

use crate::{
    app::App,
    restore::{Producers, masks_of},
    table::{self, FILE, Line, PROVIDER, Sorter, TableError, TableReader, process_of},
};

/// Tables of one checkpoint, by partition: each may keep temporary files open.
pub const TABLES_MAX: usize = 1_000;
/// Bytes given to the store at once.
const WRITE_BYTES: usize = 256 * 1024;

/// Why tables were not embedded.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// Reading or writing.
    #[error("a table could not be embedded: {0}")]
    Table(#[from] TableError),
    /// The cleaner was faster.
    #[error(
        "the table {partition} could not be embedded: the cleaner removed the record at {offset} before it was read; set min.compaction.lag.ms of {topic} to a minute",
        topic = partition.topic
    )]
    CleanerAhead {
        /// Which.
        partition: TopicPartition,
        /// The first offset that is missing.
        offset: Offset,
    },
    /// More than can be kept open.
    #[error(
        "{found} partitions of compacted topics cannot be embedded, {TABLES_MAX} can; use checkpoint.channels: reference and min.compaction.lag.ms"
    )]
    TooMany {
        /// How many there are.
        found: usize,
    },
}

impl From<ClientError> for EmbedError {
    fn from(error: ClientError) -> Self {
        Self::Table(error.into())
    }
}

impl From<StoreError> for EmbedError {
    fn from(error: StoreError) -> Self {
        Self::Table(error.into())
    }
}

/// Tables read up to some offset each, before the epoch.
#[derive(Debug, Default)]
pub struct Tables(BTreeMap<TopicPartition, (Sorter, Offset)>);

/// Notes `min.compaction.lag.ms` of every compacted topic of `manifest`. Where it cannot be had nothing is relied on later.
pub async fn note_lags(app: &App, manifest: &mut Manifest) {
    let names: Vec<TopicName> = manifest.topics.iter().map(|t| t.name.clone()).collect();
    let configs = match app.kafka.topic_configs(&names).await {
        Ok(configs) => configs,
        Err(error) => {
            tracing::warn!(%error, "the settings of topics are not known: compacted ones cannot be rolled back to this checkpoint");
            return;
        }
    };
    for topic in &mut manifest.topics {
        let config = configs.get(&topic.name).filter(|config| config.compacted);
        topic.min_compaction_lag_ms = config.map(|config| config.min_compaction_lag_ms);
    }
}

/// Reads every table up to its present end. Called before anybody is asked to prepare.
///
/// # Errors
/// When a table cannot be read.
pub async fn read_ahead(app: &App) -> Result<Tables, EmbedError> {
    let control = app.control.state().borrow().clone();
    let metadata = app.kafka.refresh_metadata().await?;
    let topics: BTreeSet<TopicName> = control.outputs.values().flatten().cloned().collect();
    let partitions = tables_among(app, &metadata, topics).await?;
    if partitions.len() > TABLES_MAX {
        let found = partitions.len();
        return Err(EmbedError::TooMany { found });
    }
    let starts = app.kafka.list_offsets(&partitions, Spot::Earliest).await?;
    let ends = app.kafka.list_offsets(&partitions, Spot::End).await?;
    let around = Around::of(&control, &metadata);
    let mut tables = Tables::default();
    for partition in partitions {
        let at = |offsets: &BTreeMap<TopicPartition, ListedOffset>| {
            offsets.get(&partition).map(|listed| listed.offset)
        };
        let (Some(start), Some(end)) = (at(&starts), at(&ends)) else {
            continue;
        };
        let mut sorter = Sorter::new(&partition);
        around
            .read(app, &partition, (start, end), None, &mut sorter)
            .await?;
        sorter.rest()?;
        tables.0.insert(partition, (sorter, end));
    }
    Ok(tables)
}

/// Reads what is left of every table below its listed end, and writes them all to the store.
///
/// # Errors
/// When a table cannot be read or written, or the cleaner was there.
pub async fn embed(
    app: &App,
    cut: &Cut,
    manifest: &mut Manifest,
    mut tables: Tables,
) -> Result<(), EmbedError> {
    let control = app.control.state().borrow().clone();
    let metadata = app.kafka.metadata();
    let topics: BTreeSet<TopicName> = cut.outputs.values().flatten().cloned().collect();
    let partitions = tables_among(app, &metadata, topics).await?;
    let around = Around::of(&control, &metadata);
    for partition in partitions {
        let Some(bound) = cut.end_of(&partition) else {
            continue;
        };
        let (mut sorter, next) = match tables.0.remove(&partition) {
            Some(read) => read,
            None => (Sorter::new(&partition), Offset(0)),
        };
        let outside = Outside::of(cut, &partition, bound);
        let gap = around
            .read(app, &partition, (next, bound), Some(&outside), &mut sorter)
            .await?;
        if let Some(offset) = gap {
            return Err(EmbedError::CleanerAhead { partition, offset });
        }
        let id = metadata.topics.get(&partition.topic).map(|topic| topic.id);
        let id = uuid::Uuid::from_bytes(id.unwrap_or_default()).to_string();
        let table = write(app, cut, partition, (id, bound), sorter).await?;
        manifest.tables.push(table);
    }
    Ok(())
}

/// Every partition of those of `topics` that are compacted.
async fn tables_among(
    app: &App,
    metadata: &Metadata,
    topics: BTreeSet<TopicName>,
) -> Result<Vec<TopicPartition>, EmbedError> {
    let known = topics
        .into_iter()
        .filter(|t| metadata.topics.contains_key(t));
    let known: Vec<TopicName> = known.collect();
    let configs = app.kafka.topic_configs(&known).await?;
    let compacted = configs.iter().filter(|(_, config)| config.compacted);
    Ok(compacted
        .flat_map(|(topic, _)| metadata.partitions_of(topic))
        .collect())
}

/// Whose records are whose, and what nobody sees any more.
struct Around {
    producers: Producers,
    masks: Masks,
    outputs: BTreeMap<ServiceName, BTreeSet<TopicName>>,
}

impl Around {
    fn of(control: &ControlState, metadata: &Metadata) -> Self {
        Self {
            producers: Producers::of(control),
            masks: masks_of(control, metadata),
            outputs: control.outputs.clone(),
        }
    }

    /// Gives `sorter` what the cut has between two offsets; the first that is missing, if any.
    async fn read(
        &self,
        app: &App,
        partition: &TopicPartition,
        (from, until): (Offset, Offset),
        outside: Option<&Outside>,
        sorter: &mut Sorter,
    ) -> Result<Option<Offset>, TableError> {
        let mut reader = TableReader::new(&app.kafka, partition, from, until);
        let masked = self.masks.of(partition);
        let mut writers = self.outputs.iter();
        let own = writers.find(|(_, topics)| topics.contains(&partition.topic));
        let own = own.map(|(service, _)| service);
        while let Some(found) = reader.read().await? {
            for found in found {
                let (id, offset) = (found.producer_id, found.record.offset);
                let service = self.producers.service(id);
                let hidden = masked.is_some_and(|set| set.contains(offset))
                    || outside.is_some_and(|outside| outside.has(id, service, offset));
                if !hidden {
                    let by = if id < 0 { own } else { service };
                    table::note(sorter, found.record, by.cloned(), false)?;
                }
            }
        }
        Ok(reader.gap())
    }
}

/// What each writer appended outside its part of the cut.
struct Outside {
    by: BTreeMap<ServiceName, RangeSet>,
    /// For records without a producer id, of whichever writer.
    any: RangeSet,
}

impl Outside {
    fn of(cut: &Cut, partition: &TopicPartition, bound: Offset) -> Self {
        let writes = |topics: &BTreeSet<TopicName>| topics.contains(&partition.topic);
        let own = cut.outputs.iter().filter(|(_, topics)| writes(topics));
        let own: BTreeSet<ServiceName> = own.map(|(service, _)| service.clone()).collect();
        let nobody = RangeSet::default();
        let mask = |services: &BTreeSet<ServiceName>| {
            new_mask(cut, partition, services, bound, &nobody, &Rules::default())
        };
        let of = |service: &ServiceName| (service.clone(), mask(&[service.clone()].into()));
        Self {
            by: own.iter().map(of).collect(),
            any: mask(&own),
        }
    }

    fn has(&self, producer_id: i64, service: Option<&ServiceName>, offset: Offset) -> bool {
        if producer_id < 0 {
            return self.any.contains(offset);
        }
        let of = service.and_then(|service| self.by.get(service));
        of.is_some_and(|set| set.contains(offset))
    }
}

async fn write(
    app: &App,
    cut: &Cut,
    partition: TopicPartition,
    (topic_id, bound): (String, Offset),
    sorter: Sorter,
) -> Result<TableRecord, EmbedError> {
    let process = process_of(&partition);
    let store = &app.repository;
    let mut part = store.part_writer(cut.epoch, &process, PROVIDER).await?;
    part.begin(Entry::file(FILE))?;
    let mut rows = sorter.sorted()?;
    let mut bytes = BytesMut::new();
    let mut records = 0;
    while let Some((key, row)) = rows.next_row()? {
        let visible = row.into_visible();
        if visible.as_ref().is_some_and(|(_, value)| value.is_some()) {
            let masked = None;
            let line = Line {
                key,
                masked,
                visible,
            };
            line.write(&mut bytes);
            records += 1;
        }
        if bytes.len() >= WRITE_BYTES {
            part.push(&bytes).await?;
            bytes.clear();
        }
    }
    part.push(&bytes).await?;
    part.end_file().await?;
    let part = part.finish().await?;
    Ok(TableRecord {
        process,
        topic: partition.topic,
        topic_id,
        partition: partition.partition,
        bound,
        records,
        part,
    })
}
