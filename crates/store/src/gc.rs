//! Garbage collection: what nothing refers to any more is removed, after all of it has been classified.
//!
//! Packs are listed before anything that can refer to them, and claims to build on a part are listed after tombstones;
//! with the order of writes in [`crate::Repository::part_writer`] no pack can come into use unseen. Ages are told by the
//! store's own clock. A doubt, such as a part that cannot be read, stops the collection before it deletes anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use cutline_model::{Epoch, PartRef};
use jiff::Timestamp;

use crate::{
    CheckpointStatus, Key, Manifest, ObjectMeta, Repository, StoreError, document, layout,
    part::PartManifest, repository::Base,
};

/// What a collection may do.
#[derive(Clone, Copy, Debug)]
pub struct GcOptions {
    /// Only tell what would be done.
    pub dry_run: bool,
    /// How old an epoch without a decision must be to be given up, and garbage to be removed.
    pub grace: Duration,
}

/// What a collection did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Epochs whose coordinator is taken for dead: they are FAILED now.
    pub abandoned: Vec<Epoch>,
    /// Deletions that had been broken off and are finished now.
    pub deletions: Vec<Epoch>,
    /// Parts that nothing refers to.
    pub parts_removed: u64,
    /// Packs that nothing refers to.
    pub packs_removed: u64,
    /// Bytes of those packs.
    pub bytes_removed: u64,
    /// Packs in use.
    pub packs_kept: u64,
    /// Packs that nothing refers to and that are kept because they are too young or an epoch is running.
    pub packs_young: u64,
}

#[derive(Debug, Default)]
struct Classified {
    live_packs: BTreeSet<Key>,
    garbage_parts: Vec<Key>,
    deletions: Vec<Epoch>,
    abandoned: Vec<Epoch>,
    /// When the oldest running epoch was claimed, by the store's clock.
    oldest_running: Option<SystemTime>,
}

impl Repository {
    /// Removes what no manifest, running epoch or restore refers to.
    ///
    /// # Errors
    /// When something that must be read to classify cannot be; nothing was deleted then.
    pub async fn gc(&self, options: GcOptions) -> Result<GcReport, StoreError> {
        let now = SystemTime::now();
        let packs = self.objects.list(layout::PACKS).await?;
        let classified = self.classify(now, options).await?;
        let old = |meta: &ObjectMeta| {
            now.duration_since(meta.modified)
                .is_ok_and(|age| age >= options.grace)
        };
        let settled = |meta: &ObjectMeta| {
            classified
                .oldest_running
                .is_none_or(|oldest| meta.modified < oldest)
        };
        let (kept, unused): (Vec<_>, Vec<_>) = packs
            .into_iter()
            .partition(|meta| classified.live_packs.contains(&meta.key));
        let (garbage, young): (Vec<_>, Vec<_>) = unused
            .into_iter()
            .partition(|meta| old(meta) && settled(meta));
        let report = GcReport {
            abandoned: classified.abandoned,
            deletions: classified.deletions,
            parts_removed: classified.garbage_parts.len() as u64,
            packs_removed: garbage.len() as u64,
            bytes_removed: garbage.iter().map(|meta| meta.bytes).sum(),
            packs_kept: kept.len() as u64,
            packs_young: young.len() as u64,
        };
        if !options.dry_run {
            self.remove(&report, &classified.garbage_parts, &garbage)
                .await?;
        }
        Ok(report)
    }

    async fn classify(
        &self,
        now: SystemTime,
        options: GcOptions,
    ) -> Result<Classified, StoreError> {
        let mut classified = Classified::default();
        let mut live_parts: BTreeMap<Key, PartRef> = BTreeMap::new();
        let mut undecided = BTreeSet::new();
        let mut dead = BTreeSet::new();
        for meta in self.objects.list(layout::EPOCHS).await? {
            let Some(epoch) = layout::number(layout::EPOCHS, &meta.key).map(Epoch) else {
                continue;
            };
            let Some(found) = self.find(epoch).await? else {
                continue;
            };
            match found.status {
                CheckpointStatus::Completed => {
                    note_parts(&mut live_parts, found.manifest.as_deref())?
                }
                CheckpointStatus::Incomplete
                    if self.give_up(epoch, &meta, now, options).await? =>
                {
                    classified.abandoned.push(epoch);
                    dead.insert(epoch);
                }
                CheckpointStatus::Incomplete => {
                    undecided.insert(epoch);
                    let oldest = classified.oldest_running.get_or_insert(meta.modified);
                    *oldest = meta.modified.min(*oldest);
                }
                CheckpointStatus::Deleting | CheckpointStatus::Deleted => {
                    self.classify_deleted(
                        epoch,
                        found.manifest.as_deref(),
                        &mut live_parts,
                        &mut classified,
                    )
                    .await?;
                }
                CheckpointStatus::Failed => {
                    dead.insert(epoch);
                }
                CheckpointStatus::Damaged => {
                    return Err(found.problem.unwrap_or(StoreError::NoCheckpoint { epoch }));
                }
            }
        }
        // Only now: a claim to build on a part that was made later has seen the tombstone that was seen above.
        let mut referring = Vec::new();
        for meta in self.objects.list(layout::CHECKPOINTS).await? {
            let Some(epoch) = layout::number(layout::CHECKPOINTS, &meta.key).map(Epoch) else {
                continue;
            };
            let leftover = layout::is_part(&meta.key) || layout::is_base(&meta.key);
            if dead.contains(&epoch) && leftover {
                classified.garbage_parts.push(meta.key);
            } else if !classified.deletions.contains(&epoch)
                && !live_parts.contains_key(&meta.key)
                && leftover
            {
                referring.push(meta.key);
            }
        }
        self.keep_live(&live_parts, &referring, &mut classified)
            .await?;
        Ok(classified)
    }

    /// Closes an epoch whose coordinator is taken for dead. Whether it is does not matter: it can no longer commit.
    async fn give_up(
        &self,
        epoch: Epoch,
        claim: &ObjectMeta,
        now: SystemTime,
        options: GcOptions,
    ) -> Result<bool, StoreError> {
        if now
            .duration_since(claim.modified)
            .is_ok_and(|age| age >= options.grace)
        {
            if options.dry_run {
                return Ok(true);
            }
            let started_at = Timestamp::try_from(claim.modified).unwrap_or(Timestamp::UNIX_EPOCH);
            let failed = Manifest::failed(
                epoch,
                cutline_model::Mode::default(),
                started_at,
                "abandoned: no decision within the grace period",
            );
            return match self.decide(&failed).await {
                Ok(()) => Ok(true),
                // It was alive after all, and quicker. The next collection classifies it.
                Err(StoreError::AlreadyDecided { .. }) => Ok(false),
                Err(error) => Err(error),
            };
        }
        Ok(false)
    }

    async fn classify_deleted(
        &self,
        epoch: Epoch,
        manifest: Option<&Manifest>,
        live_parts: &mut BTreeMap<Key, PartRef>,
        classified: &mut Classified,
    ) -> Result<(), StoreError> {
        match self.not_in_use(epoch).await {
            // A restore began before the tombstone; it still reads the parts.
            Err(StoreError::InUse { .. }) => note_parts(live_parts, manifest),
            Err(error) => Err(error),
            Ok(()) => {
                let rest = self.objects.list(&layout::checkpoint(epoch)).await?;
                if rest.iter().any(|meta| meta.key != layout::deleting(epoch)) {
                    classified.deletions.push(epoch);
                }
                Ok(())
            }
        }
    }

    async fn keep_live(
        &self,
        live_parts: &BTreeMap<Key, PartRef>,
        referring: &[Key],
        classified: &mut Classified,
    ) -> Result<(), StoreError> {
        for part in live_parts.values() {
            let (_, manifest) = crate::reader::load(&*self.objects, part).await?;
            classified.live_packs.extend(packs_of(&manifest));
        }
        for key in referring {
            let packs = if layout::is_part(key) {
                document::find::<PartManifest>(&*self.objects, key).await?
            } else {
                self.part_of_base(key).await?
            };
            classified
                .live_packs
                .extend(packs.iter().flat_map(packs_of));
        }
        Ok(())
    }

    /// The part that a writer builds on; `None` when it is gone, for then the writer has seen that too.
    async fn part_of_base(&self, key: &Key) -> Result<Option<PartManifest>, StoreError> {
        let Some(base) = document::find::<Base>(&*self.objects, key).await? else {
            return Ok(None);
        };
        document::find(&*self.objects, &Key::new(base.part.key)?).await
    }

    async fn remove(
        &self,
        report: &GcReport,
        parts: &[Key],
        packs: &[ObjectMeta],
    ) -> Result<(), StoreError> {
        for &epoch in &report.deletions {
            self.remove_deleted(epoch).await?;
        }
        for key in parts.iter().chain(packs.iter().map(|meta| &meta.key)) {
            self.objects.delete(key).await?;
        }
        Ok(())
    }
}

fn note_parts(
    live: &mut BTreeMap<Key, PartRef>,
    manifest: Option<&Manifest>,
) -> Result<(), StoreError> {
    for (_, part) in manifest.into_iter().flat_map(Manifest::parts) {
        live.insert(Key::new(part.key.as_str())?, part.clone());
    }
    Ok(())
}

fn packs_of(part: &PartManifest) -> impl Iterator<Item = Key> {
    part.packs.iter().map(|pack| layout::pack(&pack.0))
}
