//! What a store that somebody else can write may hold: documents with right checksums and wrong contents, packs of other
//! bytes, objects under any names.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use cutline_model::{Epoch, PartRef};
use cutline_store::{Entry, EntryKind, GcOptions, Key, Repository};
use fuzz::{Memory, Target};
use serde_json::Value;
use tokio::runtime::Runtime;

/// The epoch whose objects are replaced.
pub const EPOCH: Epoch = Epoch(2);
/// Names of the corpus that is one whole store.
pub const STORE: &str = "store";
/// A reader's windows and bases, and the packs that are there.
const READER_BYTES: usize = 64 * 1024 * 1024;

#[test]
fn forged_manifests_are_refused_or_read() {
    let world = World::new();
    let key = world.manifest_key();
    Target::new("manifests").taking(READER_BYTES).hold(|input| {
        world.memory.put(&key, sealed(input));
        world.runtime.block_on(async {
            if let Ok(manifest) = world.repository.load(EPOCH).await {
                assert_eq!(manifest.epoch, EPOCH, "a manifest is where it belongs");
                let _sizes = (manifest.state_bytes(), manifest.uploaded_bytes());
            }
            let _found = world.repository.find(EPOCH).await.unwrap();
            let _verified = world.repository.verify(EPOCH).await;
        });
    });
}

#[test]
fn forged_parts_are_refused_or_read_and_stay_in_their_directory() {
    let world = World::new();
    let part = world.part();
    let key = Key::new(part.key.as_str()).unwrap();
    Target::new("parts").taking(READER_BYTES).hold(|input| {
        let document = sealed(input);
        // What refers to it is forged as well.
        let claims: Value = serde_json::from_slice(&document).unwrap_or_default();
        let forged = PartRef {
            hash: blake3::hash(&document).to_hex().to_string(),
            state_bytes: claims["state_bytes"].as_u64().unwrap_or(0),
            provider: claims["provider"].as_str().unwrap_or("dir").to_owned(),
            ..part.clone()
        };
        world.memory.put(&key, document);
        world.runtime.block_on(read(&world.repository, &forged));
    });
}

/// Reads a part as a restore does.
async fn read(repository: &Repository, part: &PartRef) {
    let Ok(mut reader) = repository.part_reader(part).await else {
        return;
    };
    for section in reader.sections() {
        reader.set_section(section);
        let mut entries: Vec<Entry> = Vec::new();
        while let Ok(Some(entry)) = reader.next_entry().await {
            let mut bytes = 0;
            let outcome = loop {
                match reader.read().await {
                    Ok(Some(read)) => bytes += read.len() as u64,
                    end => break end,
                }
            };
            if outcome.is_ok() {
                assert_eq!(bytes, entry.bytes(), "an entry has the bytes it says");
            }
            entries.push(entry);
        }
        for entry in &entries {
            stays(entry, &entries);
        }
    }
}

/// Nothing can be unpacked outside: not by its name, and not through a link above it.
fn stays(entry: &Entry, entries: &[Entry]) {
    let names: Vec<&str> = entry.path.split('/').collect();
    assert!(!names.iter().any(|name| matches!(*name, "" | "." | "..")));
    for length in 1..names.len() {
        let above = names[..length].join("/");
        let mut all = entries.iter();
        let found = all.find(|other| other.path == above);
        assert!(
            found.is_none_or(|found| found.kind == EntryKind::Directory),
            "{} lies below {above}, which is none",
            entry.path
        );
    }
}

#[test]
fn no_damage_to_a_pack_goes_unnoticed() {
    let world = World::new();
    let whole = world.runtime.block_on(world.repository.verify(EPOCH));
    let whole = whole.unwrap();
    assert!(whole.is_whole(), "{:?}", whole.problems);
    let packs: Vec<(Key, Bytes)> = world.under("packs/");
    Target::new("packs").taking(READER_BYTES).hold(|input| {
        for (key, bytes) in &packs {
            world.memory.put(key, input.to_vec());
            let verified = world.runtime.block_on(world.repository.verify(EPOCH));
            let verified = verified.unwrap();
            if verified.is_whole() {
                assert_eq!(verified.state_bytes, whole.state_bytes);
            }
            world.memory.put(key, bytes.clone());
        }
    });
}

/// The first byte chooses which document it is.
#[test]
fn forged_documents_are_refused_or_read() {
    let world = World::new();
    let keys = [
        "epochs/00000000000000000002.json",
        "restores/r/journal/00000000000000000000.json",
        "timelines/00000000000000000001.json",
        "checkpoints/00000000000000000002/deleting.json",
        "restores/r/tables/t-00000000000000000000",
        "repository.json",
    ]
    .map(|key| Key::new(key).unwrap());
    let before = world.memory.all();
    Target::new("documents").taking(READER_BYTES).hold(|input| {
        let (&which, document) = input.split_first().unwrap_or((&0, input));
        let key = &keys[usize::from(which) % keys.len()];
        world.memory.put(key, sealed(document));
        world.runtime.block_on(world.ask_everything());
        world.memory.reset(before.clone());
    });
}

/// One object's name a line; the first line is also taken for names that people give.
#[test]
fn names_reach_nothing_but_their_own() {
    let world = World::new();
    let before = world.memory.all();
    Target::new("names").taking(READER_BYTES).hold(|input| {
        let text = String::from_utf8_lossy(input);
        for line in text.lines() {
            let Ok(key) = Key::new(line) else { continue };
            let path = std::path::Path::new(key.as_str());
            let plain = |name| matches!(name, std::path::Component::Normal(_));
            assert!(path.components().all(plain), "{key} leaves its root");
            if !before.contains_key(&key) {
                world.memory.put(&key, Bytes::new());
            }
        }
        let name = text.lines().next().unwrap_or_default();
        world.runtime.block_on(async {
            world.ask_everything().await;
            world.memory.take_asked();
            let _journal = world.repository.read_journal(name).await;
            let _piece = world.repository.read_piece(name, name, 0).await;
            let _piece = world.repository.read_piece("r", name, 0).await;
            for asked in world.memory.take_asked() {
                let own = asked.starts_with(&format!("restores/{name}/"));
                let pieces = asked.starts_with("restores/r/tables/");
                assert!(
                    (own && !name.contains('/')) || pieces,
                    "{asked} by {name:?}"
                );
            }
        });
        world.memory.reset(before.clone());
    });
}

/// A repository over the store of the corpus.
struct World {
    runtime: Runtime,
    memory: Arc<Memory>,
    repository: Repository,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let memory = Arc::new(Memory::default());
        memory.reset(stored());
        let repository = runtime.block_on(Repository::open(Arc::clone(&memory) as Arc<_>));
        Self {
            runtime,
            memory,
            repository: repository.unwrap(),
        }
    }

    fn under(&self, prefix: &str) -> Vec<(Key, Bytes)> {
        let all = self.memory.all().into_iter();
        all.filter(|(key, _)| key.as_str().starts_with(prefix))
            .collect()
    }

    fn manifest_key(&self) -> Key {
        Key::new(format!("checkpoints/{:020}/manifest.json", EPOCH.0)).unwrap()
    }

    fn part(&self) -> PartRef {
        let manifest = self.runtime.block_on(self.repository.load(EPOCH)).unwrap();
        manifest.parts().next().unwrap().1.clone()
    }

    /// Whatever is there: what it answers is the documents' business.
    async fn ask_everything(&self) {
        let repository = &self.repository;
        let _owner = repository.epoch_owner(EPOCH).await;
        let _next = repository.next_epoch().await;
        let _list = repository.list(None, 10).await;
        let _restores = repository.restores().await;
        let _journal = repository.read_journal("r").await;
        let _timelines = repository.timelines().await;
        let _piece = repository.read_piece("r", "t", 0).await;
        let _pieces = repository.check_pieces("r", "t", 1, "").await;
        let _again = Repository::open_existing(Arc::clone(&self.memory) as Arc<_>).await;
        let options = GcOptions {
            dry_run: true,
            grace: Duration::ZERO,
        };
        let _collected = repository.gc(options).await;
    }
}

/// The store of the corpus: a file for each object, `%` in its name for `/`.
fn stored() -> BTreeMap<Key, Bytes> {
    let directory = fuzz::corpus_of(STORE);
    let mut objects = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap().replace('%', "/");
        let bytes = std::fs::read(entry.path()).unwrap();
        objects.insert(Key::new(name).unwrap(), bytes.into());
    }
    objects
}

/// A document of the fields in `body`, with the checksum they need.
fn sealed(body: &[u8]) -> Bytes {
    let body = body.trim_ascii_end();
    let body = body.strip_suffix(b"}").unwrap_or(body).trim_ascii_end();
    let hash = blake3::hash(body).to_hex();
    let seal = format!(",\n  \"blake3\": \"{hash}\"\n}}\n");
    [body, seal.as_bytes()].concat().into()
}
