//! Where each object of a repository is: the one place that spells keys.
//!
//! Numbers are 20 digits, so that the order of keys is the order of numbers.

use cutline_model::{Epoch, ProcessId, Timeline};

use crate::{Key, StoreError, key};

/// Every epoch's owner.
pub(crate) const EPOCHS: &str = "epochs/";
/// Every checkpoint.
pub(crate) const CHECKPOINTS: &str = "checkpoints/";
/// Every pack.
pub(crate) const PACKS: &str = "packs/";
/// Every restore.
pub(crate) const RESTORES: &str = "restores/";
/// Every timeline.
pub(crate) const TIMELINES: &str = "timelines/";
/// Objects a probe leaves behind when it dies.
pub(crate) const PROBES: &str = "probes/";

pub(crate) fn repository() -> Key {
    Key::known("repository.json".to_owned())
}

pub(crate) fn probe(id: &str) -> Key {
    Key::known(format!("{PROBES}{id}"))
}

pub(crate) fn epoch(epoch: Epoch) -> Key {
    Key::known(format!("{EPOCHS}{:020}.json", epoch.0))
}

pub(crate) fn checkpoint(epoch: Epoch) -> String {
    format!("{CHECKPOINTS}{:020}/", epoch.0)
}

pub(crate) fn manifest(epoch: Epoch) -> Key {
    Key::known(format!("{}manifest.json", checkpoint(epoch)))
}

pub(crate) fn deleting(epoch: Epoch) -> Key {
    Key::known(format!("{}deleting.json", checkpoint(epoch)))
}

pub(crate) fn parts(epoch: Epoch) -> String {
    format!("{}parts/", checkpoint(epoch))
}

pub(crate) fn process(epoch: Epoch, process: &ProcessId) -> String {
    let service = key::segment(process.service.as_str());
    let name = match &process.instance {
        Some(instance) => format!("{service}@{}", key::segment(instance.as_str())),
        None => service,
    };
    format!("{}{name}/", parts(epoch))
}

pub(crate) fn part(epoch: Epoch, process_id: &ProcessId, hash: &str) -> Key {
    Key::known(format!("{}part-{hash}.json", process(epoch, process_id)))
}

/// What a part being written builds on; `base` distinguishes it from the part itself.
pub(crate) fn base(epoch: Epoch, process_id: &ProcessId, id: &str) -> Key {
    Key::known(format!("{}base-{id}.json", process(epoch, process_id)))
}

pub(crate) fn is_part(key: &Key) -> bool {
    key.name().starts_with("part-")
}

pub(crate) fn is_base(key: &Key) -> bool {
    key.name().starts_with("base-")
}

pub(crate) fn pack(hash: &blake3::Hash) -> Key {
    Key::known(format!("{PACKS}{}", hash.to_hex()))
}

pub(crate) fn restore(id: &str) -> Result<String, StoreError> {
    if id.contains('/') {
        return Err(StoreError::BadKey {
            key: id.to_owned(),
            reason: "a restore's id is one segment",
        });
    }
    Key::new(format!("{RESTORES}{id}")).map(|key| format!("{key}/journal/"))
}

pub(crate) fn journal(id: &str, seq: u64) -> Result<Key, StoreError> {
    Key::new(format!("{}{seq:020}.json", restore(id)?))
}

/// What a restore keeps beside its journal.
pub(crate) fn pieces(id: &str) -> Result<String, StoreError> {
    let journal = restore(id)?;
    let own = journal.strip_suffix("journal/");
    Ok(format!("{}tables/", own.unwrap_or(&journal)))
}

pub(crate) fn piece(id: &str, name: &str, at: u64) -> Result<Key, StoreError> {
    Key::new(format!("{}{}-{at:020}", pieces(id)?, key::segment(name)))
}

pub(crate) fn timeline(timeline: Timeline) -> Key {
    Key::known(format!("{TIMELINES}{:020}.json", timeline.0))
}

/// The number in `PREFIX<20 digits>.json` or `PREFIX<20 digits>/…`; `None` for objects that are not ours, as one is whose
/// number has none after it.
pub(crate) fn number(prefix: &str, key: &Key) -> Option<u64> {
    let rest = key.as_str().strip_prefix(prefix)?;
    let digits = rest.get(..20)?;
    let after = &rest[20..];
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (after == ".json" || after.starts_with('/')))
        .then(|| digits.parse().ok())?
        .filter(|number| *number < u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named((service, instance): &(String, Option<String>)) -> ProcessId {
        ProcessId {
            service: service.as_str().into(),
            instance: instance.as_deref().map(Into::into),
        }
    }

    proptest! {
        #[test]
        fn processes_have_places_of_their_own_whatever_they_are_called(
            a in ("[a@/.%]{0,5}|.*", proptest::option::of("[a@/.%]{0,5}|.*")),
            b in ("[a@/.%]{0,5}", proptest::option::of("[a@/.%]{0,5}")),
        ) {
            let key = part(Epoch(1), &named(&a), "ab");
            let below = key.as_str().strip_prefix(parts(Epoch(1)).as_str());
            prop_assert_eq!(below.map(|below| below.split('/').count()), Some(2));
            prop_assert_eq!(a == b, key == part(Epoch(1), &named(&b), "ab"));
        }

        #[test]
        fn names_that_people_give_reach_only_what_is_theirs(id in "[a@/.%]{0,5}|.*", name in ".*") {
            let own = format!("{RESTORES}{id}/");
            if let (Ok(journal), Ok(piece)) = (journal(&id, 0), piece(&id, &name, 0)) {
                prop_assert!(!id.contains('/'));
                prop_assert!(journal.as_str().starts_with(&own));
                let pieces = own + "tables/";
                prop_assert!(piece.as_str().starts_with(&pieces));
            }
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let bank = ProcessId {
            service: "bank a".into(),
            instance: Some("i/1".into()),
        };
        assert_eq!(epoch(Epoch(7)).as_str(), "epochs/00000000000000000007.json");
        assert_eq!(
            manifest(Epoch(7)).as_str(),
            "checkpoints/00000000000000000007/manifest.json"
        );
        assert_eq!(
            part(Epoch(7), &bank, "ab").as_str(),
            "checkpoints/00000000000000000007/parts/bank%20a@i%2f1/part-ab.json"
        );
        assert_eq!(
            journal("r1", 2).unwrap().as_str(),
            "restores/r1/journal/00000000000000000002.json"
        );
        assert_eq!(
            timeline(Timeline(1)).as_str(),
            "timelines/00000000000000000001.json"
        );
        assert_eq!(number(EPOCHS, &epoch(Epoch(7))), Some(7));
        let last = u64::MAX - 1;
        assert_eq!(number(CHECKPOINTS, &manifest(Epoch(last))), Some(last));
        assert_eq!(number(CHECKPOINTS, &manifest(Epoch(u64::MAX))), None);
        assert_eq!(number(EPOCHS, &Key::new("epochs/notes.txt").unwrap()), None);
    }

    #[test]
    fn a_restore_id_cannot_reach_another_object() {
        for id in ["", "..", "a/b", "a/../b", "x y"] {
            assert!(journal(id, 0).is_err(), "{id:?}");
        }
    }
}
