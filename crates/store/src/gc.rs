//! Garbage collection: what nothing refers to any more is removed, after all of it has been classified.
//!
//! Packs are listed before anything that can refer to them, and claims to build on a part are listed after tombstones;
//! with the order of writes in [`crate::Repository::part_writer`] no pack can come into use unseen. Ages are told by the
//! store's own clock. A doubt, such as a part that cannot be read, stops the collection before it deletes anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use cutline_model::{Epoch, Mode, PartRef};
use jiff::Timestamp;

use crate::{
    CheckpointStatus, Key, Manifest, ObjectMeta, Repository, StoreError, document, layout,
    part::{PackName, PartManifest},
    reader,
    repository::Base,
};

/// How long the last traces of a deleted epoch stay: longer than any coordinator sleeps that could still try to commit it.
const TRACES_AGE_MIN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How often all is looked at anew because an object went away while it was: another collection runs at the same time.
const LOOKS_MAX: usize = 3;

/// What a collection may do.
#[derive(Clone, Copy, Debug)]
pub struct GcOptions {
    /// Only tell what would be done.
    pub dry_run: bool,
    /// How old an epoch without a decision must be to be given up, and garbage to be removed. It must be longer than
    /// any checkpoint takes.
    pub grace: Duration,
}

/// What a collection did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Epochs whose coordinator is taken for dead: they are FAILED now.
    pub abandoned: Vec<Epoch>,
    /// Deletions that had been broken off and are finished now.
    pub deletions: Vec<Epoch>,
    /// Parts, and claims to build on parts, that are of no use any more.
    pub parts_removed: u64,
    /// Packs that nothing refers to.
    pub packs_removed: u64,
    /// Bytes of those packs.
    pub bytes_removed: u64,
    /// Packs in use.
    pub packs_kept: u64,
    /// Packs that nothing refers to and that stay because they are too young or an epoch is running.
    pub packs_young: u64,
    /// Writes that began longer than the grace period ago, never ended, and were given up; not counted by a dry run.
    pub writes_ended: u64,
    /// Epochs deleted so long ago that their last traces go.
    pub epochs_forgotten: u64,
}

/// What each epoch turned out to be.
#[derive(Debug, Default)]
struct Epochs {
    /// Decided: what no manifest refers to is of no use.
    decided: BTreeSet<Epoch>,
    /// With a tombstone, and the parts of its manifest while there is one.
    deleting: BTreeMap<Epoch, Vec<PartRef>>,
    abandoned: Vec<Epoch>,
    /// When the oldest running one was claimed, by the store's clock.
    oldest_running: Option<SystemTime>,
    newest: Option<Epoch>,
    live_parts: BTreeMap<Key, PartRef>,
}

/// Everything that a collection goes by.
#[derive(Debug)]
struct Look {
    packs: Vec<ObjectMeta>,
    epochs: Epochs,
    classified: Classified,
}

/// What goes and what stays.
#[derive(Debug, Default)]
struct Classified {
    live_packs: BTreeSet<Key>,
    garbage_parts: Vec<Key>,
    deletions: BTreeSet<Epoch>,
    forgotten: Vec<Epoch>,
}

impl Repository {
    /// Removes what no manifest, running epoch or restore refers to.
    ///
    /// # Errors
    /// When something that must be read to classify cannot be; nothing was deleted then.
    pub async fn gc(&self, options: GcOptions) -> Result<GcReport, StoreError> {
        let now = SystemTime::now();
        let look = self.look(now, options, &BTreeSet::new()).await?;
        let (mut report, garbage) = look.report(now, options);
        if !options.dry_run {
            self.remove(&look.classified, &garbage).await?;
            report.writes_ended = self.objects.end_abandoned_writes(options.grace).await?;
        }
        Ok(report)
    }

    /// What [`gc`](Self::gc) would remove if the checkpoints of `without` were deleted; changes nothing.
    ///
    /// # Errors
    /// When something that must be read to classify cannot be.
    pub async fn gc_without(
        &self,
        without: &BTreeSet<Epoch>,
        grace: Duration,
    ) -> Result<GcReport, StoreError> {
        let now = SystemTime::now();
        let options = GcOptions {
            dry_run: true,
            grace,
        };
        let look = self.look(now, options, without).await?;
        Ok(look.report(now, options).0)
    }

    /// Classifies everything. What another collection removes meanwhile is no doubt: seen anew, its epoch is deleted.
    async fn look(
        &self,
        now: SystemTime,
        options: GcOptions,
        without: &BTreeSet<Epoch>,
    ) -> Result<Look, StoreError> {
        let mut looks = 1;
        loop {
            match self.look_once(now, options, without).await {
                Err(StoreError::Missing { key }) if looks < LOOKS_MAX => {
                    tracing::debug!(%key, looks, "gone while garbage was looked for");
                    looks += 1;
                }
                looked => return looked,
            }
        }
    }

    async fn look_once(
        &self,
        now: SystemTime,
        options: GcOptions,
        without: &BTreeSet<Epoch>,
    ) -> Result<Look, StoreError> {
        let packs = self.objects.list(layout::PACKS).await?;
        let mut epochs = self.classify_epochs(now, options, without).await?;
        self.pin_restores(&mut epochs).await?;
        let classified = self.classify_objects(now, &epochs).await?;
        Ok(Look {
            packs,
            epochs,
            classified,
        })
    }

    async fn classify_epochs(
        &self,
        now: SystemTime,
        options: GcOptions,
        without: &BTreeSet<Epoch>,
    ) -> Result<Epochs, StoreError> {
        let mut epochs = Epochs::default();
        for meta in self.objects.list(layout::EPOCHS).await? {
            let Some(epoch) = layout::number(layout::EPOCHS, &meta.key).map(Epoch) else {
                continue;
            };
            epochs.newest = Some(epoch);
            let Some(found) = self.find(epoch).await? else {
                continue;
            };
            let parts = || {
                found
                    .manifest
                    .iter()
                    .flat_map(|manifest| manifest.parts())
                    .map(|(_, part)| part.clone())
            };
            match found.status {
                // As if it had a tombstone.
                _ if without.contains(&epoch) => {
                    epochs.deleting.insert(epoch, parts().collect());
                }
                CheckpointStatus::Completed => {
                    epochs.keep_parts(parts())?;
                    epochs.decided.insert(epoch);
                }
                CheckpointStatus::Incomplete => epochs.note_undecided(
                    epoch,
                    &meta,
                    self.give_up(epoch, &meta, now, options).await?,
                ),
                CheckpointStatus::Deleting | CheckpointStatus::Deleted => {
                    epochs.deleting.insert(epoch, parts().collect());
                }
                CheckpointStatus::Failed => {
                    epochs.decided.insert(epoch);
                }
                CheckpointStatus::Damaged => {
                    return Err(found.problem.unwrap_or(StoreError::NoCheckpoint { epoch }));
                }
            }
        }
        Ok(epochs)
    }

    /// Closes an epoch whose coordinator is taken for dead. Whether it is does not matter: it can no longer commit.
    async fn give_up(
        &self,
        epoch: Epoch,
        claim: &ObjectMeta,
        now: SystemTime,
        options: GcOptions,
    ) -> Result<bool, StoreError> {
        if !is_older(claim, now, options.grace) || options.dry_run {
            return Ok(is_older(claim, now, options.grace));
        }
        let started_at = Timestamp::try_from(claim.modified).unwrap_or(Timestamp::UNIX_EPOCH);
        let reason = "abandoned: not decided within the grace period";
        match self
            .decide(&Manifest::failed(
                epoch,
                Mode::default(),
                started_at,
                reason,
            ))
            .await
        {
            Ok(()) => Ok(true),
            // It was alive after all, and quicker. The next collection sees what it decided.
            Err(StoreError::AlreadyDecided { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A restore that began before a tombstone was there still reads those parts. Looked at after the tombstones: a
    /// restore that begins later sees them itself.
    async fn pin_restores(&self, epochs: &mut Epochs) -> Result<(), StoreError> {
        for restore in self.restores().await? {
            if !restore.last.finished
                && let Some(parts) = epochs.deleting.remove(&restore.first.epoch)
            {
                epochs.keep_parts(parts.into_iter())?;
            }
        }
        Ok(())
    }

    async fn classify_objects(
        &self,
        now: SystemTime,
        epochs: &Epochs,
    ) -> Result<Classified, StoreError> {
        let mut classified = Classified::default();
        let mut referring = Vec::new();
        // Listed after the tombstones were read: a claim made later than this has seen them.
        for meta in self.objects.list(layout::CHECKPOINTS).await? {
            let Some(epoch) = layout::number(layout::CHECKPOINTS, &meta.key).map(Epoch) else {
                continue;
            };
            let tombstone = meta.key == layout::deleting(epoch);
            if epochs.deleting.contains_key(&epoch) {
                if !tombstone {
                    classified.deletions.insert(epoch);
                } else if is_older(&meta, now, TRACES_AGE_MIN) && epochs.newest > Some(epoch) {
                    classified.forgotten.push(epoch);
                }
            } else if layout::is_part(&meta.key) || layout::is_base(&meta.key) {
                let decided = epochs.decided.contains(&epoch) || epochs.abandoned.contains(&epoch);
                match epochs.live_parts.contains_key(&meta.key) {
                    true => {}
                    false if decided => classified.garbage_parts.push(meta.key),
                    false => referring.push(meta.key),
                }
            }
        }
        classified
            .forgotten
            .retain(|epoch| !classified.deletions.contains(epoch));
        for part in epochs.live_parts.values() {
            let (_, manifest) = reader::load(&*self.objects, part).await?;
            classified
                .live_packs
                .extend(manifest.packs.iter().map(pack_key));
        }
        for key in &referring {
            classified
                .live_packs
                .extend(self.packs_referred_to(key).await?.iter().map(pack_key));
        }
        Ok(classified)
    }

    /// The packs that a part or claim of a running epoch needs.
    async fn packs_referred_to(&self, key: &Key) -> Result<Vec<PackName>, StoreError> {
        let packs = if layout::is_part(key) {
            document::find::<PartManifest>(&*self.objects, key)
                .await?
                .map(|part| part.packs)
        } else {
            document::find::<Base>(&*self.objects, key)
                .await?
                .map(|base| base.packs)
        };
        Ok(packs.unwrap_or_default())
    }

    async fn remove(
        &self,
        classified: &Classified,
        packs: &[ObjectMeta],
    ) -> Result<(), StoreError> {
        for &epoch in &classified.deletions {
            self.remove_deleted(epoch).await?;
        }
        for key in classified
            .garbage_parts
            .iter()
            .chain(packs.iter().map(|meta| &meta.key))
        {
            self.objects.delete(key).await?;
        }
        for &epoch in &classified.forgotten {
            // The claim goes first: without one nothing can be committed, and the tombstone tells why it is gone.
            self.objects.delete(&layout::epoch(epoch)).await?;
            self.objects.delete(&layout::deleting(epoch)).await?;
        }
        Ok(())
    }
}

impl Look {
    /// What there is to tell, and the packs that go.
    fn report(&self, now: SystemTime, options: GcOptions) -> (GcReport, Vec<ObjectMeta>) {
        let Self {
            packs,
            epochs,
            classified,
        } = self;
        let settled = |meta: &ObjectMeta| {
            epochs
                .oldest_running
                .is_none_or(|oldest| meta.modified < oldest)
        };
        let (kept, unused): (Vec<&ObjectMeta>, Vec<&ObjectMeta>) = packs
            .iter()
            .partition(|meta| classified.live_packs.contains(&meta.key));
        let (garbage, young): (Vec<&ObjectMeta>, Vec<&ObjectMeta>) = unused
            .into_iter()
            .partition(|meta| is_older(meta, now, options.grace) && settled(meta));
        let report = GcReport {
            abandoned: epochs.abandoned.clone(),
            deletions: classified.deletions.iter().copied().collect(),
            parts_removed: classified.garbage_parts.len() as u64,
            packs_removed: garbage.len() as u64,
            bytes_removed: garbage.iter().map(|meta| meta.bytes).sum(),
            packs_kept: kept.len() as u64,
            packs_young: young.len() as u64,
            writes_ended: 0,
            epochs_forgotten: classified.forgotten.len() as u64,
        };
        (report, garbage.into_iter().cloned().collect())
    }
}

impl Epochs {
    fn keep_parts(&mut self, parts: impl Iterator<Item = PartRef>) -> Result<(), StoreError> {
        for part in parts {
            self.live_parts.insert(Key::new(part.key.as_str())?, part);
        }
        Ok(())
    }

    fn note_undecided(&mut self, epoch: Epoch, claim: &ObjectMeta, given_up: bool) {
        if given_up {
            self.abandoned.push(epoch);
        } else {
            let oldest = self.oldest_running.get_or_insert(claim.modified);
            *oldest = claim.modified.min(*oldest);
        }
    }
}

fn is_older(meta: &ObjectMeta, now: SystemTime, age: Duration) -> bool {
    now.duration_since(meta.modified)
        .is_ok_and(|found| found >= age)
}

fn pack_key(pack: &PackName) -> Key {
    layout::pack(&pack.0)
}
