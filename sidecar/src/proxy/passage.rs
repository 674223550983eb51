//! Cut-through: a large Fetch response on which nothing is decided passes while it is still coming.
//!
//! Its fields and the headers of its batches are read as they pass; the bodies of large batches move from socket to socket
//! without being copied (`splice`), those of small ones in pieces of a fixed size. So a response of any size costs the
//! memory of a pipe. Nothing that has passed can be taken back: only a response is let in here that the proxy would have
//! passed as it is, which means that there is no core to ask.

use cutline_wire::{
    frame::{FrameError, PREFIX_BYTES},
    passing::{FetchPassing, What},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    broker::{Broker, BrokerEnd},
    session::{Answer, Pending},
    splice::PIPE_BYTES,
};

/// Smaller responses are read whole: they are here almost at once.
pub const CUT_THROUGH_BYTES_MIN: usize = 128 * 1024;
/// Of a batch at least so much must be to come to be worth two system calls more.
pub const SPLICE_BYTES_MIN: usize = 64 * 1024;
/// What is copied is copied in pieces of this size.
pub const COPY_BYTES: usize = 256 * 1024;

// After a large batch another may follow: more than its header would be copied for nothing.
const HEADERS_BYTES: usize = 4 * 1024;
const CORRELATION_ID_END: usize = PREFIX_BYTES + 4;
// Clients pass over fields that they do not know.
const UNKNOWN_TAG: u8 = 100;

impl Broker {
    /// True when the answer to `pending`, which has begun to arrive, can pass before all of it is here.
    pub(super) async fn cuts_through(&mut self, pending: &Pending) -> Result<bool, BrokerEnd> {
        let nothing_decides = matches!(pending.answer, Answer::Fetch(None));
        if !nothing_decides || self.writer.is_none() || self.early.is_some() {
            return Ok(false);
        }
        let announced = self.reader.announced().await?;
        Ok(announced.ok_or(BrokerEnd::Closed)? >= CUT_THROUGH_BYTES_MIN)
    }

    /// Passes the frame in front, the answer to a Fetch. Dropped midway, the rest of it is passed over by whoever reads on.
    pub(super) async fn pass(&mut self, pending: &Pending) -> Result<(), BrokerEnd> {
        self.reader.open()?;
        while self.reader.in_front().len() < CORRELATION_ID_END {
            self.reader.more(HEADERS_BYTES).await?;
        }
        if self.reader.in_front()[PREFIX_BYTES..CORRELATION_ID_END]
            != pending.correlation_id.to_be_bytes()
        {
            return Err(BrokerEnd::OutOfTurn);
        }
        let metrics = &self.session.shared.metrics;
        metrics.answered(pending.api_key, pending.since.elapsed());
        let mut passing = Passing::new(pending.api_version);
        while self.reader.left() > 0 {
            let seen = self.look(&mut passing)?;
            self.copy(seen).await?;
            let moved = if passing.unseen >= SPLICE_BYTES_MIN {
                self.splice(passing.unseen).await?
            } else {
                0
            };
            passing.unseen -= moved;
            if self.reader.left() > 0 {
                let ask = if passing.small {
                    COPY_BYTES
                } else {
                    passing.unseen.min(COPY_BYTES) + HEADERS_BYTES
                };
                self.reader.more(ask).await?;
            }
        }
        // Older versions have nothing after the last records: what those were is told only here.
        self.look(&mut passing)?;
        Ok(())
    }

    // How many of the bytes in front may go on. Where more may than are here, the walk keeps in mind how many.
    fn look(&mut self, passing: &mut Passing) -> Result<usize, BrokerEnd> {
        let mut seen = 0;
        loop {
            let here = self.reader.in_front().len() - seen;
            let known = passing.unseen.min(here);
            seen += known;
            passing.unseen -= known;
            if passing.unseen > 0 {
                return Ok(seen);
            }
            let left = self.reader.left() - seen;
            let ahead = &self.reader.in_front()[seen..];
            let piece = passing.walk.next(ahead, left).map_err(FrameError::from)?;
            let Some(piece) = piece else {
                return Ok(seen);
            };
            passing.unseen = piece.bytes;
            match piece.what {
                What::Batch(records) => {
                    passing.records += records;
                    // Control batches are no data.
                    passing.bytes += if records > 0 { piece.bytes as u64 } else { 0 };
                    passing.small = piece.bytes < SPLICE_BYTES_MIN;
                }
                What::PartitionEnd => self.delivered(passing),
                // They would lead past the sidecar, and another size can be announced no more. The client asks for metadata
                // instead, as it does where a broker names no leader.
                What::Tail(Some(at)) => self.reader.amend(seen + at, UNKNOWN_TAG),
                What::Fields | What::Rest | What::Tail(None) => {}
            }
        }
    }

    fn delivered(&self, passing: &mut Passing) {
        let records = std::mem::take(&mut passing.records);
        let bytes = std::mem::take(&mut passing.bytes);
        let Some((topic, index)) = passing.walk.partition().filter(|_| records > 0) else {
            return;
        };
        let shared = &self.session.shared;
        let mut fetches = self.session.fetches.lock();
        let partition = fetches.partition(topic, *index, &shared.topics);
        if let Some(topic) = partition.map(|partition| partition.topic.clone()) {
            let metrics = &shared.metrics;
            fetches.counters.delivered(metrics, &topic, records, bytes);
        }
    }

    async fn copy(&mut self, bytes: usize) -> Result<(), BrokerEnd> {
        let mut bytes = self.reader.take(bytes);
        let metrics = &self.session.shared.metrics;
        metrics.to_app_bytes.inc_by(bytes.len() as u64);
        match &mut self.writer {
            Some(writer) => writer
                .write_all_buf(&mut bytes)
                .await
                .map_err(BrokerEnd::App),
            None => Ok(()),
        }
    }

    // Moves the next bytes of the frame, none of which is here yet. How many: fewer where no pipe is to be had.
    async fn splice(&mut self, bytes: usize) -> Result<usize, BrokerEnd> {
        let session = self.session.clone();
        let Some(mut pipe) = session.shared.pipes.lend() else {
            return Ok(0);
        };
        let mut moved = 0;
        while moved < bytes {
            let Some((broker, _)) = self.streams() else {
                break;
            };
            let taken = match pipe.fill(broker, (bytes - moved).min(PIPE_BYTES)).await {
                Ok(0) => return Err(FrameError::Cut.into()),
                Ok(taken) => taken,
                // The system cannot do it, or the connection is broken: reading tells.
                Err(_) => break,
            };
            // Taken from the frame before anything is waited for: this may be dropped there.
            self.reader.taken_beneath(taken);
            moved += taken;
            session.shared.metrics.to_app_bytes.inc_by(taken as u64);
            if let Some((_, app)) = self.streams() {
                pipe.empty(app).await.map_err(BrokerEnd::App)?;
            }
        }
        Ok(moved)
    }

    // The other half of each connection, where both are plain TCP.
    fn streams(&self) -> Option<(&TcpStream, &TcpStream)> {
        let writer = self.writer.as_ref()?;
        Some((self.reader.io().plain()?, writer.as_ref()))
    }
}

// How far the walk over a response is.
struct Passing {
    walk: FetchPassing,
    /// Bytes that go on without being looked at.
    unseen: usize,
    /// Records of the partition so far, and the bytes of their batches.
    records: u64,
    bytes: u64,
    /// The last batch was not worth a splice, so that the next will hardly be.
    small: bool,
}

impl Passing {
    fn new(version: i16) -> Self {
        Self {
            walk: FetchPassing::new(version),
            unseen: 0,
            records: 0,
            bytes: 0,
            small: true,
        }
    }
}
