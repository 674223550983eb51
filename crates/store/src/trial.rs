//! Trying out what a repository needs of its store: conditional create, reading, listing, deleting, and a clock that agrees.
//!
//! It writes one object under `probes/` and removes it; it touches nothing of a checkpoint. It judges nothing.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::{Created, Key, Objects, Repository, StoreError, layout};

const CONTENT: &[u8] = b"trial";
/// More than is written, so that something else is seen as such.
const READ_BYTES_MAX: u64 = 64;

/// What a repository needs to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To create an object unless it exists.
    Create,
    /// To read one.
    Read,
    /// To list what is there.
    List,
    /// To delete one.
    Delete,
}

/// What came of trying.
#[derive(Debug)]
pub struct Trial {
    /// Each right, and why it is not had. What depends on one that is not had was not tried.
    pub rights: Vec<(Right, Result<(), StoreError>)>,
    /// How far the store's clock is from this machine's, where it told.
    pub clock_apart: Option<Duration>,
    /// How long a create took.
    pub create_took: Duration,
}

impl Repository {
    /// Tries out each right once.
    pub async fn try_out(&self) -> Trial {
        let objects = &*self.objects;
        let key = layout::probe(&format!("trial-{}", uuid::Uuid::new_v4().simple()));
        let (begun, before) = (std::time::Instant::now(), SystemTime::now());
        let created = create(objects, &key).await;
        let mut trial = Trial {
            rights: Vec::new(),
            clock_apart: None,
            create_took: begun.elapsed(),
        };
        let is_there = created.is_ok();
        trial.rights.push((Right::Create, created));
        if is_there {
            trial.rights.push((Right::Read, read(objects, &key).await));
            let meta = objects.head(&key).await.ok().flatten();
            trial.clock_apart = meta.map(|meta| apart(meta.modified, before, SystemTime::now()));
        }
        trial
            .rights
            .push((Right::List, list(objects, &key, is_there).await));
        if is_there {
            trial
                .rights
                .push((Right::Delete, objects.delete(&key).await));
        }
        trial
    }
}

async fn create(objects: &dyn Objects, key: &Key) -> Result<(), StoreError> {
    let dishonoured = |detail: &str| StoreError::NoConditionalCreate {
        store: objects.describe(),
        detail: detail.to_owned(),
    };
    if objects.put_new(key, Bytes::from_static(CONTENT)).await? != Created::Created {
        return Err(dishonoured("an object that nobody made was there"));
    }
    match objects.put_new(key, Bytes::from_static(b"later")).await? {
        Created::AlreadyExists => Ok(()),
        Created::Created => Err(dishonoured("a second create of an object won")),
    }
}

async fn read(objects: &dyn Objects, key: &Key) -> Result<(), StoreError> {
    if objects.get(key, READ_BYTES_MAX).await? == CONTENT {
        return Ok(());
    }
    Err(StoreError::NoConditionalCreate {
        store: objects.describe(),
        detail: "an object changed after it was created".to_owned(),
    })
}

async fn list(objects: &dyn Objects, key: &Key, is_there: bool) -> Result<(), StoreError> {
    let listed = objects.list(layout::PROBES).await?;
    if !is_there || listed.iter().any(|meta| meta.key == *key) {
        return Ok(());
    }
    Err(StoreError::NoRepository {
        store: objects.describe(),
        detail: "an object that was just created is not listed".to_owned(),
    })
}

/// How far `modified` lies outside the time in which it was written.
fn apart(modified: SystemTime, before: SystemTime, after: SystemTime) -> Duration {
    let late = modified.duration_since(after).unwrap_or_default();
    let early = before.duration_since(modified).unwrap_or_default();
    late.max(early)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreSpec;

    #[tokio::test]
    async fn a_trial_has_every_right_of_a_good_store_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let spec: StoreSpec = format!("file:{}", directory.path().display())
            .parse()
            .unwrap();
        let repository = Repository::open(spec.open().await.unwrap()).await.unwrap();
        let trial = repository.try_out().await;
        let had: Vec<Right> = trial
            .rights
            .iter()
            .map(|(right, had)| {
                assert!(had.is_ok(), "{right:?}: {had:?}");
                *right
            })
            .collect();
        assert_eq!(
            had,
            [Right::Create, Right::Read, Right::List, Right::Delete]
        );
        assert!(trial.clock_apart.unwrap() < Duration::from_secs(2));
        assert!(
            repository
                .objects
                .list(layout::PROBES)
                .await
                .unwrap()
                .is_empty()
        );
    }
}
