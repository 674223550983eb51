//! A repository: one store's checkpoints, epochs, restores and timelines, and who may write which.
//!
//! Every decision is a conditional create, so that of two coordinators, sidecars or commands on one store at most one
//! wins each, however long any of them slept. The repository knows the layout and the order of writes; what a
//! checkpoint means it does not know.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use blake3::Hash;
use bytes::Bytes;
use cutline_model::{Epoch, PartRef, ProcessId};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{
    CheckpointStatus, Created, FORMAT, Key, Manifest, Objects, PartReader, PartWriter,
    RestoreSummary, SigningKeys, StoreError, document, known::KnownChunks, layout, part::PackName,
    reader,
};

/// How many completed checkpoints are looked through for an earlier part of a process; further back little is the same.
const BASE_LOOKBACK_MAX: usize = 8;
/// Creates that race each other when a store is probed.
const PROBE_RACERS: u8 = 8;
/// Processes whose last part is remembered: a sidecar writes for one.
const BASE_CACHE_MAX: usize = 16;
/// Damaged chunks that are remembered.
const SPOILT_MAX: usize = 100_000;

/// One store's checkpoints. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Repository {
    pub(crate) objects: Arc<dyn Objects>,
    id: Arc<str>,
    cache: Arc<BaseCache>,
    /// Restores that are over: their journals do not change any more.
    pub(crate) over: Arc<Mutex<BTreeMap<String, RestoreSummary>>>,
    pub(crate) signing: Option<Arc<SigningKeys>>,
}

/// Who may end an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochOwner {
    /// The version of this form.
    pub format: u32,
    /// The epoch.
    pub epoch: Epoch,
    /// The coordinator's run; two runs never share it.
    pub owner: String,
    /// When it was claimed.
    pub claimed_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Identity {
    format: u32,
    repository: String,
    created_at: Timestamp,
}

/// What a part that is being written builds on: it keeps garbage collection from taking those packs away, also when
/// the part they come from is deleted meanwhile.
#[derive(Serialize, Deserialize)]
pub(crate) struct Base {
    pub(crate) format: u32,
    pub(crate) part: String,
    pub(crate) packs: Vec<PackName>,
}

impl Repository {
    /// Probes the store and opens its repository, making one when the store is empty.
    ///
    /// # Errors
    /// When the store is read-only, full, does not honour conditional creates, was written by a newer version, or
    /// holds checkpoints without `repository.json`.
    pub async fn open(objects: Arc<dyn Objects>) -> Result<Self, StoreError> {
        probe(&*objects).await?;
        let key = layout::repository();
        if objects.head(&key).await?.is_none() {
            for prefix in [layout::EPOCHS, layout::CHECKPOINTS] {
                if !objects.list(prefix).await?.is_empty() {
                    let detail = format!(
                        "{prefix} holds objects, but {key} is missing; bring it back from a copy of the store"
                    );
                    return Err(StoreError::NoRepository {
                        store: objects.describe(),
                        detail,
                    });
                }
            }
            let repository = uuid::Uuid::new_v4().to_string();
            let identity = Identity {
                format: FORMAT,
                repository,
                created_at: Timestamp::now(),
            };
            // Another opener may win; then its identity counts.
            document::create(&*objects, &key, &identity).await?;
        }
        Self::open_existing(objects).await
    }

    /// Opens a repository that is there, without writing anything.
    ///
    /// # Errors
    /// [`StoreError::NoRepository`] when there is none.
    pub async fn open_existing(objects: Arc<dyn Objects>) -> Result<Self, StoreError> {
        let key = layout::repository();
        let Some(identity) = document::find::<Identity>(&*objects, &key).await? else {
            let detail = format!("{key} is not there; is the path or prefix right?");
            return Err(StoreError::NoRepository {
                store: objects.describe(),
                detail,
            });
        };
        Ok(Self {
            objects,
            id: identity.repository.into(),
            cache: Arc::default(),
            over: Arc::default(),
            signing: None,
        })
    }

    /// The repository's own id: a UUID, made once.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The store's address, without secrets.
    #[must_use]
    pub fn describe(&self) -> String {
        self.objects.describe()
    }

    /// Writes something small and removes it again: whether a part could be written at all.
    ///
    /// # Errors
    /// When it could not.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        let key = layout::probe(&uuid::Uuid::new_v4().simple().to_string());
        self.objects.put_new(&key, Bytes::from_static(b"?")).await?;
        self.objects.delete(&key).await
    }

    /// The number after every epoch that was ever claimed. Others may claim it first.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub async fn next_epoch(&self) -> Result<Epoch, StoreError> {
        let last = self.epoch_numbers().await?.last().copied();
        Ok(last.map_or(Epoch(1), Epoch::next))
    }

    /// Takes `epoch` for `owner`. Claiming again what the same owner has is success.
    ///
    /// # Errors
    /// [`StoreError::EpochTaken`] when someone else has it.
    pub async fn claim_epoch(&self, epoch: Epoch, owner: &str) -> Result<EpochOwner, StoreError> {
        let claim = EpochOwner {
            format: FORMAT,
            epoch,
            owner: owner.to_owned(),
            claimed_at: Timestamp::now(),
        };
        match document::create(&*self.objects, &layout::epoch(epoch), &claim).await? {
            Created::Created => Ok(claim),
            Created::AlreadyExists => match self.epoch_owner(epoch).await? {
                Some(found) if found.owner == owner => Ok(found),
                found => Err(StoreError::EpochTaken {
                    epoch,
                    owner: found.map_or_else(String::new, |found| found.owner),
                }),
            },
        }
    }

    /// Who has `epoch`.
    ///
    /// # Errors
    /// When the record is damaged.
    pub async fn epoch_owner(&self, epoch: Epoch) -> Result<Option<EpochOwner>, StoreError> {
        let key = layout::epoch(epoch);
        let owner: Option<EpochOwner> = document::find(&*self.objects, &key).await?;
        match owner {
            Some(owner) if owner.epoch != epoch => Err(StoreError::Damaged {
                key: key.to_string(),
                detail: format!("it is of epoch {}", owner.epoch),
            }),
            owner => Ok(owner),
        }
    }

    /// Begins the part of `process` in `epoch`. Chunks that the last completed checkpoint of the process has are not
    /// written again.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn part_writer(
        &self,
        epoch: Epoch,
        process: &ProcessId,
        provider: &str,
    ) -> Result<PartWriter, StoreError> {
        let base = match self.base(epoch, process).await {
            Ok(base) => base,
            // Whatever is wrong with an old checkpoint, a new one can be whole.
            Err(error) if error.is_damage() => {
                tracing::warn!(%error, %process, "an earlier part cannot be built on; everything is written again");
                Arc::default()
            }
            Err(error) => return Err(error),
        };
        let (objects, cache) = (Arc::clone(&self.objects), Arc::clone(&self.cache));
        Ok(PartWriter::new(
            objects,
            cache,
            epoch,
            process.clone(),
            provider.to_owned(),
            base,
        ))
    }

    /// Opens a part for reading.
    ///
    /// # Errors
    /// [`StoreError::Missing`] or [`StoreError::Damaged`] when it is not what was written.
    pub async fn part_reader(&self, part: &PartRef) -> Result<PartReader, StoreError> {
        PartReader::open(Arc::clone(&self.objects), part).await
    }

    /// Opens the part of `process` in a checkpoint, `None` when it has no state there.
    ///
    /// # Errors
    /// As [`part_reader`](Self::part_reader), and when the part is of another process or epoch.
    pub async fn open_part(
        &self,
        manifest: &Manifest,
        process: &ProcessId,
    ) -> Result<Option<PartReader>, StoreError> {
        let Some(part) = manifest.part(process) else {
            return Ok(None);
        };
        let reader = self.part_reader(part).await?;
        if reader.epoch() != manifest.epoch || reader.process() != process {
            let detail = format!(
                "it is the part of {} in epoch {}",
                reader.process(),
                reader.epoch()
            );
            return Err(StoreError::Damaged {
                key: part.key.clone(),
                detail,
            });
        }
        Ok(Some(reader))
    }

    /// Every epoch that was ever claimed, in order.
    pub(crate) async fn epoch_numbers(&self) -> Result<Vec<Epoch>, StoreError> {
        let found = self.objects.list(layout::EPOCHS).await?;
        Ok(found
            .iter()
            .filter_map(|meta| layout::number(layout::EPOCHS, &meta.key))
            .map(Epoch)
            .collect())
    }

    /// The chunks a new part can build on, protected from garbage collection.
    async fn base(
        &self,
        epoch: Epoch,
        process: &ProcessId,
    ) -> Result<Arc<KnownChunks>, StoreError> {
        let Some((old, part)) = self.last_part(epoch, process).await? else {
            return Ok(Arc::default());
        };
        let known = match self.cache.recall(old, process) {
            Some(known) => known,
            None => {
                let (_, part) = reader::load(&*self.objects, &part).await?;
                Arc::new(KnownChunks::of(part))
            }
        };
        // First the claim, then the look: whoever deletes that checkpoint either sees the claim or is seen here.
        let claim = Base {
            format: FORMAT,
            part: part.key,
            packs: known.packs.clone(),
        };
        let key = layout::base(epoch, process, &uuid::Uuid::new_v4().simple().to_string());
        document::create(&*self.objects, &key, &claim).await?;
        match self.status(old).await? {
            CheckpointStatus::Completed => Ok(known),
            _ => Ok(Arc::default()),
        }
    }

    async fn last_part(
        &self,
        epoch: Epoch,
        process: &ProcessId,
    ) -> Result<Option<(Epoch, PartRef)>, StoreError> {
        let mut completed = 0;
        for old in self
            .epoch_numbers()
            .await?
            .into_iter()
            .rev()
            .filter(|old| *old < epoch)
        {
            let manifest = match self.load(old).await {
                Ok(manifest) => manifest,
                Err(error) if error.is_retryable() => return Err(error),
                Err(_) => continue,
            };
            if let Some(part) = manifest.part(process).cloned() {
                return Ok(Some((old, part)));
            }
            completed += 1;
            if completed >= BASE_LOOKBACK_MAX {
                break;
            }
        }
        Ok(None)
    }
}

/// The chunks of parts written by this run, so that the next one need not read them back.
#[derive(Debug, Default)]
pub(crate) struct BaseCache {
    parts: Mutex<HashMap<ProcessId, (Epoch, Arc<KnownChunks>)>>,
    /// Chunks, after their packs, that were read back and were not what had been written.
    spoilt: Mutex<HashSet<(Hash, Hash)>>,
}

impl BaseCache {
    pub(crate) fn remember(&self, epoch: Epoch, process: ProcessId, chunks: KnownChunks) {
        let mut parts = self.parts.lock();
        if parts.len() >= BASE_CACHE_MAX {
            parts.clear();
        }
        parts.insert(process, (epoch, Arc::new(chunks)));
    }

    fn recall(&self, epoch: Epoch, process: &ProcessId) -> Option<Arc<KnownChunks>> {
        self.parts
            .lock()
            .get(process)
            .filter(|(of, _)| *of == epoch)
            .map(|(_, chunks)| Arc::clone(chunks))
    }

    pub(crate) fn spoil(&self, pack: Hash, chunk: Hash) {
        let mut spoilt = self.spoilt.lock();
        // One that is forgotten is found out again.
        if spoilt.len() >= SPOILT_MAX {
            spoilt.clear();
        }
        spoilt.insert((pack, chunk));
    }

    pub(crate) fn is_spoilt(&self, pack: Hash, chunk: Hash) -> bool {
        let spoilt = self.spoilt.lock();
        !spoilt.is_empty() && spoilt.contains(&(pack, chunk))
    }
}

/// Finds out whether the store can be written and lets exactly one of several creates win.
async fn probe(objects: &dyn Objects) -> Result<(), StoreError> {
    for _ in 0..objects.probe_rounds() {
        let key = layout::probe(&uuid::Uuid::new_v4().simple().to_string());
        let outcome = probe_key(objects, &key).await;
        // The probe is of no use to anyone; that it cannot be deleted says nothing against the store.
        let _ = objects.delete(&key).await;
        outcome?;
    }
    Ok(())
}

async fn probe_key(objects: &dyn Objects, key: &Key) -> Result<(), StoreError> {
    let dishonoured = |detail: String| StoreError::NoConditionalCreate {
        store: objects.describe(),
        detail,
    };
    let racers = (0..PROBE_RACERS).map(|racer| objects.put_new(key, Bytes::from(vec![racer])));
    let outcomes: Vec<Created> = futures_util::future::try_join_all(racers).await?;
    let winners: Vec<usize> = (0..outcomes.len())
        .filter(|&at| outcomes[at] == Created::Created)
        .collect();
    let [winner] = winners[..] else {
        return Err(dishonoured(format!(
            "{} of {PROBE_RACERS} creates of one object won",
            winners.len()
        )));
    };
    if objects.put_new(key, Bytes::from_static(b"later")).await? != Created::AlreadyExists {
        return Err(dishonoured("a second create of an object won".to_owned()));
    }
    match objects.get(key, 16).await? {
        bytes if bytes[..] == outcomes_byte(winner) => Ok(()),
        _ => Err(dishonoured(
            "an object changed after it was created".to_owned(),
        )),
    }
}

fn outcomes_byte(winner: usize) -> [u8; 1] {
    [u8::try_from(winner).expect("there are few racers")]
}
