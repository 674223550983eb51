//! Tables: compacted partitions read whole, key by key, in bounded memory.
//!
//! Checkpoints that embed tables and restores that repair them read logs and sort what they read the same way. What a
//! key needs is the core's word ([`cutline_protocol::restore`]); how a log becomes rows in the order of keys is said here.

mod line;
mod read;
mod sort;
mod store;

pub use line::{Line, LineReader, Payload};
pub use read::{Found, TableReader};
pub use sort::{Sorted, Sorter};
pub use store::{FILE, PROVIDER, StoredTable, process_of};

use cutline_model::{Offset, ServiceName, TopicPartition};
use cutline_protocol::restore::Seen;
use cutline_store::StoreError;
use cutline_wire::{
    client::ClientError,
    records::{LogRecord, RecordsError},
};

/// Why a table was not read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] ClientError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A batch whose records cannot be had.
    #[error("{partition} at {offset}: {error}")]
    Records {
        /// Where.
        partition: TopicPartition,
        /// The batch's first offset.
        offset: Offset,
        /// What is wrong with it.
        error: RecordsError,
    },
    /// The log does not go on.
    #[error(
        "{partition} brings nothing from {at} on although it ends at {until}: a transaction that nobody ends keeps it from being read, end it (kafka-transactions.sh) and try again"
    )]
    Stuck {
        /// Where.
        partition: TopicPartition,
        /// What is next.
        at: Offset,
        /// What was to be read.
        until: Offset,
    },
    /// Rows did not fit beside the memory.
    #[error(
        "the table {partition} takes more than {limit} bytes of temporary files: split it into more partitions, or leave it out of what is rolled back"
    )]
    TooLarge {
        /// Which.
        partition: TopicPartition,
        /// [`sort::SPILL_BYTES_MAX`].
        limit: u64,
    },
    /// Temporary files.
    #[error(
        "rows could not be kept in temporary files: {0}; see that there is room in the temporary directory"
    )]
    Files(#[from] std::io::Error),
    /// What was kept is not rows.
    #[error("rows of a table cannot be read back: {0}")]
    Damaged(String),
}

/// Gives a record of the log to `sorter`; one without a key is nobody's row.
///
/// # Errors
/// When temporary files cannot be written, or would be too large.
pub fn note(
    sorter: &mut Sorter,
    record: LogRecord,
    by: Option<ServiceName>,
    masked: bool,
) -> Result<(), TableError> {
    let (offset, timestamp_ms, headers) = (record.offset, record.timestamp_ms, record.headers);
    let Some(key) = record.key else { return Ok(()) };
    // What nobody will see again need not be kept.
    let value = record.value.filter(|_| !masked).map(|value| Payload {
        value: bytes::Bytes::copy_from_slice(&value),
        timestamp_ms,
        headers: headers.iter().map(own).collect(),
        by,
    });
    sorter.note(
        &key,
        Seen {
            offset,
            masked,
            value,
        },
    )
}

/// A copy that does not keep its batch in memory.
fn own(header: &cutline_wire::records::Header) -> cutline_wire::records::Header {
    let copy = |bytes: &bytes::Bytes| bytes::Bytes::copy_from_slice(bytes);
    cutline_wire::records::Header {
        key: copy(&header.key),
        value: header.value.as_ref().map(copy),
    }
}
