//! Checkpoints in an object store: chunks into packs, packs into parts, parts into a manifest, in that order.
//!
//! The manifest is the commit: it is created under a key that must not exist, and nothing reads a checkpoint without
//! one. Nothing is ever overwritten. Whatever is read is verified by hash and size, and what does not fit is an error
//! that names the object. The crate knows nothing of Kafka's protocol, of services' states or of who coordinates; and
//! nothing above [`Objects`] knows whether a directory or S3 keeps the objects.
//!
//! Start at [`Repository`]. `docs/storage-format.md` is the format's specification.

mod checkpoint;
mod chunk;
mod chunks;
mod compare;
mod crashing;
mod delta;
mod directory;
mod document;
mod entry;
mod error;
mod faulty;
mod gc;
mod guarded;
mod key;
mod known;
mod layout;
mod manifest;
mod objects;
mod observed;
mod pack;
mod packer;
mod part;
mod piece;
mod reader;
mod repository;
mod restore;
mod s3;
mod signature;
mod spec;
mod timeline;
mod trial;
mod verify;
mod window;
mod writer;

pub use checkpoint::{CheckpointStatus, CheckpointSummary, Deleted};
pub use chunk::{CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};
pub use delta::DELTA_BASES_MAX;
pub use directory::Directory;
pub use document::DOCUMENT_BYTES_MAX;
pub use entry::{Entry, EntryKind};
pub use error::StoreError;
pub use faulty::{Fault, Faulty, Operation};
pub use gc::{GcOptions, GcReport};
pub use guarded::StoreBreakers;
pub use key::Key;
pub use manifest::{
    Barrier, End, Manifest, MaskRecord, Outcome, OutputRecord, PositionRecord, ProcessRecord,
    RangeRecord, SidecarMarker, SidecarRecord, TableRecord, TopicRecord,
};
pub use objects::{Created, ObjectMeta, Objects};
pub use observed::{Answered, Observed, Verb, Watch};
pub use pack::PACK_BYTES_MAX;
pub use part::{PART_CHUNKS_MAX, PART_ENTRIES_MAX};
pub use piece::{PIECE_BYTES_MAX, PieceWriter};
pub use reader::PartReader;
pub use repository::{EpochOwner, Repository};
pub use restore::{JournalRecord, RestoreSummary};
pub use s3::{Encryption, S3, S3Address};
pub use signature::SigningKeys;
pub use spec::StoreSpec;
pub use timeline::TimelineRecord;
pub use trial::{Right, Trial};
pub use verify::Verified;
pub use writer::PartWriter;

/// The version of everything this crate writes. A newer one is refused, unknown fields of the same one are tolerated.
pub const FORMAT: u32 = 2;
