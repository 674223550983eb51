//! What can go wrong with a store, each with a stable code, the object it is about and what to do.
//!
//! Messages are for operators and are complete sentences of cause and cure; callers match on variants.

use cutline_model::Epoch;

use crate::CheckpointStatus;

/// Everything the store may answer instead of what was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store's address cannot be read.
    #[error("CL0100 store address {spec:?}: {reason}; use file:PATH or s3://BUCKET/PREFIX")]
    BadSpec {
        /// The address as given.
        spec: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store refuses writes.
    #[error(
        "CL0102 {store} cannot be written ({detail}); give this process write permission or mount it writable"
    )]
    NotWritable {
        /// The store.
        store: String,
        /// What the store said.
        detail: String,
    },
    /// The store has no room left.
    #[error(
        "CL0103 {store} is full ({detail}); free space or delete checkpoints and collect garbage"
    )]
    Full {
        /// The store.
        store: String,
        /// What the store said.
        detail: String,
    },
    /// The store lets a second writer win.
    #[error(
        "CL0104 {store} does not honour conditional creates ({detail}); two coordinators could overwrite each other, so it is refused"
    )]
    NoConditionalCreate {
        /// The store.
        store: String,
        /// What was seen.
        detail: String,
    },
    /// An object that must be there is not.
    #[error(
        "CL0105 object {key} is missing; what refers to it cannot be restored: use another checkpoint, or bring the object back from a copy of the store"
    )]
    Missing {
        /// The object.
        key: String,
    },
    /// An object is not what was written.
    #[error(
        "CL0106 object {key} is damaged: {detail}; use another checkpoint, or bring the object back from a copy of the store"
    )]
    Damaged {
        /// The object.
        key: String,
        /// What does not fit.
        detail: String,
    },
    /// An object was written by a newer version.
    #[error(
        "CL0107 object {key} has format {found}, this version reads up to {known}; upgrade Cutline before using this store"
    )]
    NewerFormat {
        /// The object.
        key: String,
        /// Its format.
        found: u64,
        /// The newest format known here.
        known: u32,
    },
    /// The place holds something, but no repository.
    #[error("CL0108 {store} holds no repository: {detail}")]
    NoRepository {
        /// The store.
        store: String,
        /// What was found instead.
        detail: String,
    },
    /// What decides a restore was not written by this installation, or cannot prove it.
    #[error(
        "CL0123 object {key} is not proved to be this installation's: {detail}; whoever can write the store can have made it. If it is from before there was a signing key, say so with --accept-unsigned-until; if its key was retired, put that below the new one"
    )]
    NotSigned {
        /// The object.
        key: String,
        /// What is wrong with its signature.
        detail: String,
    },
    /// A file of signing keys that cannot be used.
    #[error("CL0124 the signing keys in {path} cannot be used: {reason}")]
    BadSigningKeys {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Someone else owns the epoch.
    #[error("CL0109 epoch {epoch} is owned by {owner:?}; take a later one")]
    EpochTaken {
        /// The epoch.
        epoch: Epoch,
        /// Its owner.
        owner: String,
    },
    /// The epoch already ended, and differently.
    #[error("CL0110 epoch {epoch} was already decided: {status}")]
    AlreadyDecided {
        /// The epoch.
        epoch: Epoch,
        /// How it ended.
        status: CheckpointStatus,
    },
    /// Another writer wrote this record first.
    #[error("CL0111 {what} was already written by another writer; stop, it has taken over")]
    Superseded {
        /// The record: a journal entry, a timeline.
        what: String,
    },
    /// A running restore needs the checkpoint.
    #[error("CL0112 checkpoint {epoch} is in use by restore {restore}; wait until it is finished")]
    InUse {
        /// The checkpoint.
        epoch: Epoch,
        /// The restore.
        restore: String,
    },
    /// There is no such checkpoint.
    #[error("CL0113 there is no checkpoint {epoch}")]
    NoCheckpoint {
        /// The epoch asked for.
        epoch: Epoch,
    },
    /// The checkpoint is there but may not be used for this.
    #[error("CL0114 checkpoint {epoch} is {status}; only a COMPLETED one can be used")]
    NotCompleted {
        /// The checkpoint.
        epoch: Epoch,
        /// Its status.
        status: CheckpointStatus,
    },
    /// A name that cannot be an object's key.
    #[error("CL0115 {key:?} cannot be an object's key: {reason}")]
    BadKey {
        /// The text.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Something is larger than its limit.
    #[error("CL0116 {what} is {found}, more than the limit of {limit}")]
    TooLarge {
        /// What.
        what: String,
        /// How large.
        found: u64,
        /// How large it may be.
        limit: u64,
    },
    /// A part's entry has a path or a shape that is not allowed.
    #[error("CL0117 entry {path:?} is not allowed in a part: {reason}")]
    BadEntry {
        /// The entry's path.
        path: String,
        /// Why not.
        reason: String,
    },
    /// Calls came in an order that makes no sense, or a record contradicts itself.
    #[error("CL0118 {what}")]
    Invalid {
        /// What.
        what: String,
    },
    /// The store did not answer as it should; trying again may help.
    #[error("CL0119 {store}: {operation} {key}: {detail}")]
    Backend {
        /// The store.
        store: String,
        /// What was tried.
        operation: &'static str,
        /// On which object.
        key: String,
        /// What the store said.
        detail: String,
    },
    /// Nothing says who we are.
    #[error(
        "CL0120 no credentials for {store} ({detail}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile with AWS_PROFILE, or give the machine or its service account a role"
    )]
    NoCredentials {
        /// The store.
        store: String,
        /// What was looked for in vain.
        detail: String,
    },
    /// The store will not do this, however often it is asked.
    #[error(
        "CL0121 {store} refused to {operation} {key} ({detail}); check the credentials, what they allow in this bucket, its region and the endpoint"
    )]
    Refused {
        /// The store.
        store: String,
        /// What was tried.
        operation: &'static str,
        /// On which object.
        key: String,
        /// What the store said.
        detail: String,
    },
    /// The bucket is not there.
    #[error(
        "CL0122 {store} does not exist ({detail}); create the bucket, or correct its name or the endpoint"
    )]
    NoBucket {
        /// The store.
        store: String,
        /// What the store said.
        detail: String,
    },
    /// It failed so often that it is not asked for a while.
    #[error("CL0125 {store} is not asked at present: {detail}")]
    NotAsked {
        /// The store.
        store: String,
        /// Why, and until when.
        detail: String,
        /// When it may be asked again, in milliseconds.
        again_in_ms: u64,
    },
}

impl StoreError {
    /// The stable code, `CL0100` to `CL0125`, that docs/error-codes.md explains.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadSpec { .. } => "CL0100",
            Self::NotWritable { .. } => "CL0102",
            Self::Full { .. } => "CL0103",
            Self::NoConditionalCreate { .. } => "CL0104",
            Self::Missing { .. } => "CL0105",
            Self::Damaged { .. } => "CL0106",
            Self::NewerFormat { .. } => "CL0107",
            Self::NoRepository { .. } => "CL0108",
            Self::EpochTaken { .. } => "CL0109",
            Self::AlreadyDecided { .. } => "CL0110",
            Self::Superseded { .. } => "CL0111",
            Self::InUse { .. } => "CL0112",
            Self::NoCheckpoint { .. } => "CL0113",
            Self::NotCompleted { .. } => "CL0114",
            Self::BadKey { .. } => "CL0115",
            Self::TooLarge { .. } => "CL0116",
            Self::BadEntry { .. } => "CL0117",
            Self::Invalid { .. } => "CL0118",
            Self::Backend { .. } => "CL0119",
            Self::NoCredentials { .. } => "CL0120",
            Self::Refused { .. } => "CL0121",
            Self::NoBucket { .. } => "CL0122",
            Self::NotSigned { .. } => "CL0123",
            Self::BadSigningKeys { .. } => "CL0124",
            Self::NotAsked { .. } => "CL0125",
        }
    }

    /// True when the same call may succeed a little later without anyone doing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Backend { .. } | Self::NotAsked { .. })
    }

    /// True when the store as a whole does not do its work: the next call will most likely fail as well.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Backend { .. }
                | Self::Full { .. }
                | Self::NotWritable { .. }
                | Self::Refused { .. }
                | Self::NoCredentials { .. }
                | Self::NoBucket { .. }
        )
    }

    /// True when an object is missing or not what was written, or who wrote it is not proved: the checkpoint that needs it
    /// is lost.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Missing { .. } | Self::Damaged { .. } | Self::NotSigned { .. }
        )
    }
}

/// That what is counted stays within its limit.
pub(crate) fn limit(what: &str, found: usize, limit: usize) -> Result<(), StoreError> {
    if found > limit {
        return Err(StoreError::TooLarge {
            what: what.to_owned(),
            found: found as u64,
            limit: limit as u64,
        });
    }
    Ok(())
}
