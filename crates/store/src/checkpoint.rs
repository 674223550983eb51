//! Checkpoints: committing, failing, finding and deleting them.
//!
//! COMPLETED and FAILED are one key, created once: whoever comes second learns what was decided. A deletion writes a
//! tombstone first; from then on the checkpoint does not count, whatever else is still there.

use std::fmt;

use cutline_model::Epoch;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Created, EpochOwner, FORMAT, Key, Manifest, Outcome, Repository, StoreError, document, layout,
};

/// Parts looked at in the store at the same time.
const LOOKS_MAX: usize = 16;

/// What a checkpoint is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CheckpointStatus {
    /// Its epoch is claimed and not decided: it is running, or its coordinator died.
    Incomplete,
    /// It can be restored.
    Completed,
    /// It counts for nothing.
    Failed,
    /// Its manifest is there and cannot be read; the others are not concerned.
    Damaged,
    /// It is being deleted.
    Deleting,
    /// It was deleted.
    Deleted,
}

impl fmt::Display for CheckpointStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Incomplete => "INCOMPLETE",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Damaged => "DAMAGED",
            Self::Deleting => "DELETING",
            Self::Deleted => "DELETED",
        })
    }
}

/// A checkpoint as a list shows it.
#[derive(Clone, Debug)]
pub struct CheckpointSummary {
    /// The attempt.
    pub epoch: Epoch,
    /// What it is good for.
    pub status: CheckpointStatus,
    /// Who claimed it and when, where that can be read.
    pub owner: Option<EpochOwner>,
    /// Its manifest, when it has one that can be read.
    pub manifest: Option<Box<Manifest>>,
    /// What is wrong, when it is damaged.
    pub problem: Option<StoreError>,
}

/// A deleted checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// How many of its objects were removed now; packs go with the next garbage collection.
    pub objects: u64,
}

#[derive(Serialize, Deserialize)]
struct Tombstone {
    format: u32,
    epoch: Epoch,
    deleted_at: Timestamp,
}

impl Repository {
    /// Decides an epoch: writes its manifest, COMPLETED or FAILED, under the one key for both. Doing the same again is
    /// success.
    ///
    /// # Errors
    /// [`StoreError::AlreadyDecided`] when it was decided differently; [`StoreError::Missing`] when a part is not there.
    pub async fn decide(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let epoch = manifest.epoch;
        if manifest.format != FORMAT {
            return Err(StoreError::Invalid {
                what: format!("manifests are written in format {FORMAT}"),
            });
        }
        if self.objects.head(&layout::epoch(epoch)).await?.is_none() {
            return Err(StoreError::Invalid {
                what: format!("epoch {epoch} is decided, but nobody claimed it"),
            });
        }
        self.no_tombstone(epoch).await?;
        if manifest.status == Outcome::Completed {
            self.check_parts(manifest).await?;
        }
        let key = layout::manifest(epoch);
        let bytes = self.seal(&key, manifest)?;
        if self.objects.put_new(&key, bytes.clone()).await? == Created::AlreadyExists {
            let found = self.objects.get(&key, document::DOCUMENT_BYTES_MAX).await?;
            if found != bytes {
                return Err(StoreError::AlreadyDecided {
                    epoch,
                    status: self.status(epoch).await?,
                });
            }
        }
        // A deletion that began meanwhile has decided too.
        self.no_tombstone(epoch).await
    }

    /// A COMPLETED checkpoint's manifest.
    ///
    /// # Errors
    /// [`StoreError::NoCheckpoint`], [`StoreError::NotCompleted`], or damage.
    pub async fn load(&self, epoch: Epoch) -> Result<Manifest, StoreError> {
        let found = self
            .find(epoch)
            .await?
            .ok_or(StoreError::NoCheckpoint { epoch })?;
        match (found.status, found.manifest, found.problem) {
            (CheckpointStatus::Completed, Some(manifest), _) => Ok(*manifest),
            (CheckpointStatus::Damaged, _, Some(problem)) => Err(problem),
            (status, ..) => Err(StoreError::NotCompleted { epoch, status }),
        }
    }

    /// What is known of a checkpoint; `None` when its epoch was never claimed.
    ///
    /// # Errors
    /// When the store cannot be read. A damaged manifest is no error here but a status.
    pub async fn find(&self, epoch: Epoch) -> Result<Option<CheckpointSummary>, StoreError> {
        let owner = match self.epoch_owner(epoch).await {
            Ok(owner) => owner,
            Err(error) if error.is_retryable() => return Err(error),
            Err(_) => None,
        };
        let deleting = self.is_deleting(epoch).await?;
        let (status, manifest, problem) = match self.manifest(epoch).await {
            Ok(Some(manifest)) if deleting => (CheckpointStatus::Deleting, Some(manifest), None),
            Ok(Some(manifest)) if manifest.status == Outcome::Completed => {
                (CheckpointStatus::Completed, Some(manifest), None)
            }
            Ok(Some(manifest)) => (CheckpointStatus::Failed, Some(manifest), None),
            Ok(None) if deleting => (CheckpointStatus::Deleted, None, None),
            Ok(None)
                if owner.is_none() && self.objects.head(&layout::epoch(epoch)).await?.is_none() =>
            {
                return Ok(None);
            }
            Ok(None) => (CheckpointStatus::Incomplete, None, None),
            Err(error) if error.is_retryable() => return Err(error),
            // A damaged checkpoint can be deleted like any other.
            Err(error) if deleting => (CheckpointStatus::Deleting, None, Some(error)),
            Err(error) => (CheckpointStatus::Damaged, None, Some(error)),
        };
        Ok(Some(CheckpointSummary {
            epoch,
            status,
            owner,
            manifest: manifest.map(Box::new),
            problem,
        }))
    }

    /// Checkpoints below `before`, newest first, at most `limit`; those deleted are left out, those claimed and not
    /// decided are INCOMPLETE.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(
        &self,
        before: Option<Epoch>,
        limit: usize,
    ) -> Result<Vec<CheckpointSummary>, StoreError> {
        let mut found = Vec::new();
        for epoch in self.epoch_numbers().await?.into_iter().rev() {
            if found.len() >= limit {
                break;
            }
            if before.is_some_and(|before| epoch >= before) {
                continue;
            }
            let summary = self.find(epoch).await?;
            found.extend(summary.filter(|summary| summary.status != CheckpointStatus::Deleted));
        }
        Ok(found)
    }

    /// A checkpoint's status.
    ///
    /// # Errors
    /// [`StoreError::NoCheckpoint`], or when the store cannot be read.
    pub async fn status(&self, epoch: Epoch) -> Result<CheckpointStatus, StoreError> {
        let found = self.find(epoch).await?;
        found
            .map(|found| found.status)
            .ok_or(StoreError::NoCheckpoint { epoch })
    }

    /// Deletes a checkpoint: a tombstone, then its manifest, then its parts. Going on with a deletion that was broken
    /// off is the same call. The number is never used again.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while a restore needs it; [`StoreError::NotCompleted`] while it is still running.
    pub async fn delete(&self, epoch: Epoch) -> Result<Deleted, StoreError> {
        let status = self.status(epoch).await?;
        if status == CheckpointStatus::Incomplete {
            // Its coordinator may still commit it: it has to be decided first.
            return Err(StoreError::NotCompleted { epoch, status });
        }
        self.not_in_use(epoch).await?;
        let tombstone = Tombstone {
            format: FORMAT,
            epoch,
            deleted_at: Timestamp::now(),
        };
        document::create(&*self.objects, &layout::deleting(epoch), &tombstone).await?;
        // A restore that began before the tombstone was there goes first; the deletion is finished after it.
        self.not_in_use(epoch).await?;
        self.remove_deleted(epoch).await
    }

    /// Removes everything of a checkpoint that has a tombstone, but the tombstone: it keeps a coordinator that slept
    /// from committing the epoch after all.
    pub(crate) async fn remove_deleted(&self, epoch: Epoch) -> Result<Deleted, StoreError> {
        let tombstone = layout::deleting(epoch);
        let manifest = layout::manifest(epoch);
        let mut keys: Vec<Key> = self
            .objects
            .list(&layout::checkpoint(epoch))
            .await?
            .into_iter()
            .map(|meta| meta.key)
            .collect();
        keys.retain(|key| *key != tombstone);
        // The manifest goes first, so that it never names parts that are gone.
        keys.sort_by_key(|key| *key != manifest);
        for key in &keys {
            self.objects.delete(key).await?;
        }
        Ok(Deleted {
            objects: keys.len() as u64,
        })
    }

    /// The manifest under `epoch`'s key, whatever its status and whatever a tombstone says.
    pub(crate) async fn manifest(&self, epoch: Epoch) -> Result<Option<Manifest>, StoreError> {
        let key = layout::manifest(epoch);
        let bytes = match self.objects.get(&key, document::DOCUMENT_BYTES_MAX).await {
            Err(StoreError::Missing { .. }) => return Ok(None),
            bytes => bytes?,
        };
        let manifest: Manifest = document::unseal(&key, &bytes)?;
        if manifest.epoch != epoch {
            return Err(StoreError::Damaged {
                key: key.to_string(),
                detail: format!("it is the manifest of epoch {}", manifest.epoch),
            });
        }
        if !self.is_signed(&key, &bytes)? && !self.accepts_unsigned(epoch) {
            return Err(StoreError::NotSigned {
                key: key.to_string(),
                detail: "it has no signature".to_owned(),
            });
        }
        Ok(Some(manifest))
    }

    pub(crate) async fn is_deleting(&self, epoch: Epoch) -> Result<bool, StoreError> {
        Ok(self.objects.head(&layout::deleting(epoch)).await?.is_some())
    }

    async fn no_tombstone(&self, epoch: Epoch) -> Result<(), StoreError> {
        match self.is_deleting(epoch).await? {
            true => Err(StoreError::AlreadyDecided {
                epoch,
                status: CheckpointStatus::Deleted,
            }),
            false => Ok(()),
        }
    }

    async fn check_parts(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let parts: Vec<Key> = manifest
            .parts()
            .map(|(_, part)| Key::new(part.key.as_str()))
            .collect::<Result<_, _>>()?;
        stream::iter(parts)
            .map(|key| async move {
                match self.objects.head(&key).await? {
                    Some(_) => Ok(()),
                    None => Err(StoreError::Missing {
                        key: key.to_string(),
                    }),
                }
            })
            .buffer_unordered(LOOKS_MAX)
            .try_collect::<()>()
            .await
    }
}
