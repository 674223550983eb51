//! Pruning as the REST interface shows it: what retention deletes and what it keeps, each with the reason.

use cutline_model::Epoch;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::CheckpointStatus;

/// Asks for what retention would delete, or to delete it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// Only tell what would be deleted.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was deleted and kept, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PruneReport {
    /// True when nothing was changed.
    pub dry_run: bool,
    /// What is deleted, oldest first.
    pub deleted: Vec<PruneEntry>,
    /// What would be deleted too, by asking again: a request deletes so many and no more.
    pub left: usize,
    /// What is kept, newest first.
    pub kept: Vec<PruneEntry>,
    /// What nothing refers to any more once that is deleted.
    pub garbage: GarbageView,
}

/// One checkpoint, and why it goes or stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PruneEntry {
    /// The attempt's number.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// Where it stands.
    pub status: CheckpointStatus,
    /// Its name, for a savepoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savepoint: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Timestamp>,
    /// Bytes of its state; others may share them in the store.
    pub state_size: u64,
    /// Why, for people.
    pub reason: String,
}

/// What garbage collection removes: bytes in the store that nothing kept refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GarbageView {
    /// Packs that nothing refers to and that are old enough.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Parts of no use any more.
    pub parts: u64,
    /// Packs in use.
    pub packs_kept: u64,
    /// Packs that nothing refers to and that stay for now: too young, or a checkpoint is running.
    pub packs_young: u64,
    /// Attempts without an end that are given up.
    pub abandoned: usize,
}
