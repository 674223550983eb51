//! The journal as it is stored: its own versioned form, and the way between it and the core's.
//!
//! A record of a newer version is an error: a restore that another version began is not guessed at.

use std::collections::{BTreeMap, BTreeSet};

use cutline_client::Contamination;
use cutline_model::{
    Epoch, GroupId, MarkerId, Offset, PartRef, PartitionOffset, ProcessId, ServiceName, SidecarId,
    Timeline, TopicName,
};
use cutline_protocol::{
    mask::Masks,
    restore::{Entry, Journal, Plan, Repairs},
};
use cutline_store::{JournalRecord, MaskRecord};
use serde::{Deserialize, Serialize};

use super::{RestoreError, cut};

/// The version of this form.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    #[serde(flatten)]
    entry: Stored,
}

/// What a restore was begun with: its first record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    /// The services.
    pub services: BTreeSet<ServiceName>,
    /// Groups known of them, with whose they are: the checkpoint may not know all.
    pub groups: BTreeMap<GroupId, ServiceName>,
    /// The states to put back.
    pub states: Vec<State>,
    /// Where unrestored readers are held.
    pub holds: Vec<PartitionOffset>,
    /// Whether a safety checkpoint is taken.
    pub safety_checkpoint: bool,
    /// Whether contaminated readers are allowed.
    pub allow_contamination: bool,
    /// Who was contaminated when it was planned.
    pub contaminated: Vec<Contamination>,
    /// What the user was told.
    pub warnings: Vec<String>,
    /// Members of the restored groups, who are expected back.
    #[serde(default)]
    pub members: Vec<Members>,
    /// Whether compacted topics go back too.
    #[serde(default)]
    pub tables: bool,
    /// Its trace, as W3C's `traceparent`: whoever takes it up goes on in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// How many members of a group are behind a sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The sidecar.
    pub sidecar: SidecarId,
    /// The group.
    pub group: GroupId,
    /// How many.
    pub count: usize,
}

/// A state to put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Whose.
    pub process: ProcessId,
    /// The part.
    pub part: PartRef,
    /// Any one of these puts it back.
    pub sidecars: BTreeSet<SidecarId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
enum Stored {
    Planned {
        #[serde(flatten)]
        begun: Box<Begun>,
    },
    HoldsWritten {
        offset: Offset,
    },
    Quiesced {
        epoch: Epoch,
        safety: Option<Epoch>,
    },
    Fenced {
        offset: Offset,
    },
    Emptied {
        transactional_ids: Vec<String>,
    },
    EndsFixed {
        marker: MarkerId,
        ends: Vec<PartitionOffset>,
    },
    MasksMade {
        masks: Vec<MaskRecord>,
        #[serde(default)]
        contaminated: Vec<Contamination>,
    },
    StateBegun,
    StateRestored {
        process: ProcessId,
    },
    OffsetsCommitted,
    TablesRead {
        name: String,
        pieces: u64,
        records: u64,
        hash: String,
    },
    TablesAppended,
    TimelineTaken {
        timeline: Timeline,
    },
    TimelineCommitted {
        offset: Offset,
    },
    Lifted,
    Completed,
    GivingUp {
        reason: String,
        aborted: bool,
    },
    GivenUp,
}

impl Begun {
    /// What `plan` comes to.
    #[must_use]
    pub fn of(plan: &Plan, safety_checkpoint: bool, allow_contamination: bool) -> Self {
        let groups = plan.groups.iter();
        let states = plan.states.iter().map(|(process, target)| State {
            process: process.clone(),
            part: target.part.clone(),
            sidecars: target.sidecars.clone(),
        });
        let holds = plan
            .holds
            .iter()
            .map(|(partition, offset)| PartitionOffset {
                partition: partition.clone(),
                offset: *offset,
            });
        Self {
            services: plan.services.clone(),
            groups: groups
                .map(|(group, target)| (group.clone(), target.service.clone()))
                .collect(),
            states: states.collect(),
            holds: holds.collect(),
            safety_checkpoint,
            allow_contamination,
            contaminated: Vec::new(),
            warnings: Vec::new(),
            members: Vec::new(),
            tables: !plan.tables.is_empty(),
            trace: None,
        }
    }

    /// The core's journal at its beginning.
    #[must_use]
    pub fn journal(&self) -> Journal {
        Journal::new(
            self.states
                .iter()
                .map(|state| state.process.clone())
                .collect(),
            self.tables,
        )
    }
}

/// What a record says beside its entry.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// The user gave the restore up.
    pub aborted: bool,
    /// Who has seen what is masked.
    pub contaminated: Vec<Contamination>,
}

/// A journal read back.
#[derive(Debug)]
pub struct Read {
    /// What it was begun with.
    pub begun: Begun,
    /// What was done.
    pub journal: Journal,
    /// What its records say beside that.
    pub beside: Beside,
    /// The masks it made, with the ids of their topics.
    pub masks: Vec<MaskRecord>,
}

/// The first record of a restore.
#[must_use]
pub fn first_record(id: &str, epoch: Epoch, begun: &Begun) -> JournalRecord {
    let begun = Box::new(begun.clone());
    record(id, 0, epoch, &Entry::Planned, Stored::Planned { begun })
}

/// The record of `entry`. `topic_now` gives the ids of topics.
#[must_use]
pub fn entry_record(
    id: &str,
    seq: u64,
    epoch: Epoch,
    entry: &Entry,
    beside: &Beside,
    topic_now: impl Fn(&TopicName) -> Option<String>,
) -> JournalRecord {
    let stored = match entry.clone() {
        Entry::Planned => unreachable!("the plan is the first record, which has its own form"),
        Entry::HoldsWritten { offset } => Stored::HoldsWritten { offset },
        Entry::Quiesced { epoch, safety } => Stored::Quiesced { epoch, safety },
        Entry::Fenced { offset } => Stored::Fenced { offset },
        Entry::Emptied { transactional_ids } => Stored::Emptied { transactional_ids },
        Entry::EndsFixed { marker, ends } => Stored::EndsFixed {
            marker,
            ends: ends
                .into_iter()
                .map(|(partition, offset)| PartitionOffset { partition, offset })
                .collect(),
        },
        Entry::MasksMade { masks } => Stored::MasksMade {
            masks: cut::mask_records(&masks, topic_now),
            contaminated: beside.contaminated.clone(),
        },
        Entry::StateBegun => Stored::StateBegun,
        Entry::StateRestored { process } => Stored::StateRestored { process },
        Entry::OffsetsCommitted => Stored::OffsetsCommitted,
        Entry::TablesRead { repairs } => Stored::TablesRead {
            name: repairs.name,
            pieces: repairs.pieces,
            records: repairs.records,
            hash: repairs.hash,
        },
        Entry::TablesAppended => Stored::TablesAppended,
        Entry::TimelineTaken { timeline } => Stored::TimelineTaken { timeline },
        Entry::TimelineCommitted { offset } => Stored::TimelineCommitted { offset },
        Entry::Lifted => Stored::Lifted,
        Entry::Completed => Stored::Completed,
        Entry::GivingUp { reason } => Stored::GivingUp {
            reason,
            aborted: beside.aborted,
        },
        Entry::GivenUp => Stored::GivenUp,
    };
    let record = record(id, seq, epoch, entry, stored);
    if entry.is_last() {
        record.finished()
    } else {
        record
    }
}

fn record(id: &str, seq: u64, epoch: Epoch, entry: &Entry, stored: Stored) -> JournalRecord {
    let envelope = Envelope {
        version: VERSION,
        entry: stored,
    };
    let data = serde_json::to_value(envelope).expect("entries are plain data with string keys");
    JournalRecord::new(id, seq, epoch, entry.name(), data)
}

/// Reads what a restore was begun with.
///
/// # Errors
/// When it is not a first record of this version.
pub fn read_begun(record: &JournalRecord) -> Result<Begun, RestoreError> {
    match open(record)? {
        Stored::Planned { begun } => Ok(*begun),
        _ => Err(RestoreError::Journal(
            "it does not begin with a plan".to_owned(),
        )),
    }
}

/// Reads a whole journal.
///
/// # Errors
/// When a record is not of this version or does not follow from those before.
pub fn read(records: &[JournalRecord]) -> Result<Read, RestoreError> {
    let empty = || RestoreError::Journal("it has no records".to_owned());
    let begun = read_begun(records.first().ok_or_else(empty)?)?;
    let mut read = Read {
        journal: begun.journal(),
        begun,
        beside: Beside::default(),
        masks: Vec::new(),
    };
    read.beside
        .contaminated
        .clone_from(&read.begun.contaminated);
    for record in &records[1..] {
        let stored = open(record)?;
        if let Stored::GivingUp { aborted, .. } = &stored {
            read.beside.aborted = *aborted;
        }
        if let Stored::MasksMade {
            masks,
            contaminated,
        } = &stored
        {
            read.masks.clone_from(masks);
            read.beside.contaminated.clone_from(contaminated);
        }
        let entry = entry_of(stored);
        let recorded = read.journal.record(entry);
        recorded.map_err(|error| RestoreError::Journal(error.to_string()))?;
    }
    Ok(read)
}

fn open(record: &JournalRecord) -> Result<Stored, RestoreError> {
    let bad = |error: &dyn std::fmt::Display| {
        RestoreError::Journal(format!("record {}: {error}", record.seq))
    };
    let version = record
        .data
        .get("version")
        .and_then(serde_json::Value::as_u64);
    if version != Some(u64::from(VERSION)) {
        let found = version.map_or_else(|| "none".to_owned(), |version| version.to_string());
        return Err(bad(&format!(
            "version {found}, this program reads {VERSION}"
        )));
    }
    let envelope: Envelope =
        serde_json::from_value(record.data.clone()).map_err(|error| bad(&error))?;
    Ok(envelope.entry)
}

fn entry_of(stored: Stored) -> Entry {
    match stored {
        Stored::Planned { .. } => Entry::Planned,
        Stored::HoldsWritten { offset } => Entry::HoldsWritten { offset },
        Stored::Quiesced { epoch, safety } => Entry::Quiesced { epoch, safety },
        Stored::Fenced { offset } => Entry::Fenced { offset },
        Stored::Emptied { transactional_ids } => Entry::Emptied { transactional_ids },
        Stored::EndsFixed { marker, ends } => Entry::EndsFixed {
            marker,
            ends: ends
                .into_iter()
                .map(|end| (end.partition, end.offset))
                .collect(),
        },
        Stored::MasksMade { masks, .. } => Entry::MasksMade {
            masks: all_masks(&masks),
        },
        Stored::StateBegun => Entry::StateBegun,
        Stored::StateRestored { process } => Entry::StateRestored { process },
        Stored::OffsetsCommitted => Entry::OffsetsCommitted,
        Stored::TablesRead {
            name,
            pieces,
            records,
            hash,
        } => Entry::TablesRead {
            repairs: Repairs {
                name,
                pieces,
                records,
                hash,
            },
        },
        Stored::TablesAppended => Entry::TablesAppended,
        Stored::TimelineTaken { timeline } => Entry::TimelineTaken { timeline },
        Stored::TimelineCommitted { offset } => Entry::TimelineCommitted { offset },
        Stored::Lifted => Entry::Lifted,
        Stored::Completed => Entry::Completed,
        Stored::GivingUp { reason, .. } => Entry::GivingUp { reason },
        Stored::GivenUp => Entry::GivenUp,
    }
}

fn all_masks(records: &[MaskRecord]) -> Masks {
    let ids: BTreeMap<&TopicName, &String> = records
        .iter()
        .map(|record| (&record.topic, &record.topic_id))
        .collect();
    cut::masks_of(records, |topic| ids.get(topic).map(|id| (*id).clone()))
}

#[cfg(test)]
#[path = "stored_tests.rs"]
mod tests;
