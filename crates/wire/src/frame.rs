//! Size-prefixed frames: how Kafka's requests and responses stand in a TCP stream.
//!
//! A frame stays opaque: only its size is read here, and of a request the header's fixed part. A size that is
//! negative or beyond the limit is an error before a byte of the frame is stored. A frame can also be opened and taken
//! piece by piece while it is coming; what is left of it when the next is asked for is passed over.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::reader::{Malformed, Reader};

/// Bytes of a request accepted from an application: the broker's own default (`socket.request.max.bytes`).
pub const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;
/// Bytes of a response accepted from a broker: far above any sane `fetch.max.bytes`, far below what a stray
/// non-Kafka peer's first four bytes (ASCII) would claim.
pub const RESPONSE_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Bytes of a frame's size prefix.
pub const PREFIX_BYTES: usize = 4;

// What is asked of the socket at least; small frames come many to a read.
const READ_BYTES_MIN: usize = 64 * 1024;
// What is asked after a pause: so much an idle connection costs.
const FIRST_READ_BYTES: usize = 2 * 1024;
// So much memory is kept from one frame to the next, or so many times the last frame.
const KEPT_BYTES: usize = 512 * 1024;
const KEPT_FACTOR: usize = 8;
// A frame's buffer grows by at most so much ahead of what has arrived, unless its peer is trusted.
const UNTRUSTED_AHEAD_BYTES_MAX: usize = 1024 * 1024;

/// Why a connection's bytes cannot be followed any further.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A size below zero or too small for any header.
    #[error("frame size {0} is not possible")]
    Size(i32),
    /// A size beyond the limit.
    #[error("frame of {size} bytes is beyond the limit of {limit}")]
    TooLarge {
        /// As announced.
        size: usize,
        /// As configured.
        limit: usize,
    },
    /// The peer closed in the middle of a frame.
    #[error("closed inside a frame")]
    Cut,
    /// The header does not follow its schema.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// One frame with its size prefix.
#[derive(Clone, Debug)]
pub struct Frame(Bytes);

impl Frame {
    /// A frame of ours: `whole` begins with its size prefix.
    #[must_use]
    pub fn of(whole: Bytes) -> Self {
        Self(whole)
    }

    /// The bytes as they stand on the wire, prefix included.
    #[must_use]
    pub fn whole(&self) -> &Bytes {
        &self.0
    }

    /// The bytes after the prefix.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.0.slice(PREFIX_BYTES..)
    }

    /// The bytes as they stand on the wire, given up.
    #[must_use]
    pub fn into_whole(self) -> Bytes {
        self.0
    }

    // The frame with another number in place of the one that stands `at`.
    pub(crate) fn with_i32(self, at: usize, number: i32) -> Self {
        let mut bytes = BytesMut::from(self.0);
        bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
        Self(bytes.freeze())
    }
}

/// Reads frames from one side of a connection. It keeps its buffer from frame to frame: when a frame has been
/// dropped before the next is read, its memory is used again.
#[derive(Debug)]
pub struct FrameReader<R> {
    io: R,
    buffer: BytesMut,
    frame_bytes_max: usize,
    ahead_bytes_max: usize,
    last_bytes: usize,
    /// Bytes of an opened frame that have not been taken.
    left: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads requests of applications.
    pub fn requests(io: R) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
            frame_bytes_max: REQUEST_BYTES_MAX,
            ahead_bytes_max: UNTRUSTED_AHEAD_BYTES_MAX,
            last_bytes: 0,
            left: 0,
        }
    }

    /// Reads responses of brokers.
    pub fn responses(io: R) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
            frame_bytes_max: RESPONSE_BYTES_MAX,
            ahead_bytes_max: RESPONSE_BYTES_MAX,
            last_bytes: 0,
            left: 0,
        }
    }

    /// The next frame; `None` when the peer closed between frames. May be dropped and called again. What has not been
    /// taken of an opened frame is passed over.
    pub async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        while self.left > 0 {
            if self.in_front().is_empty() {
                self.more(READ_BYTES_MIN).await?;
            }
            self.take(self.in_front().len());
        }
        loop {
            let missing = match self.size()? {
                Some(size) if self.buffer.len() >= size => {
                    self.last_bytes = size;
                    return Ok(Some(Frame(self.buffer.split_to(size).freeze())));
                }
                Some(size) => size - self.buffer.len(),
                // While nothing is there the whole memory of the frame before can be taken back; later it is a copy.
                None if self.buffer.is_empty() => self.last_bytes,
                None => PREFIX_BYTES - self.buffer.len(),
            };
            let least = match self.last_bytes {
                0 => FIRST_READ_BYTES,
                _ => READ_BYTES_MIN,
            };
            if self.buffer.is_empty() && self.buffer.capacity() > self.kept_bytes_max() {
                self.buffer = BytesMut::new();
            }
            self.buffer
                .reserve(missing.min(self.ahead_bytes_max).max(least));
            if self.io.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(FrameError::Cut)
                };
            }
        }
    }

    /// Waits for the beginning of the next frame and answers its size, prefix included; `None` when the peer closed
    /// between frames. May be dropped and called again. Only between frames.
    pub async fn announced(&mut self) -> Result<Option<usize>, FrameError> {
        assert_eq!(self.left, 0, "an opened frame is taken first");
        loop {
            if let Some(size) = self.size()? {
                return Ok(Some(size));
            }
            let empty = self.buffer.is_empty();
            match self.more(READ_BYTES_MIN).await {
                Err(FrameError::Cut) if empty => return Ok(None),
                more => more?,
            }
        }
    }

    /// Opens the frame that was announced, to be taken piece by piece.
    pub fn open(&mut self) -> Result<(), FrameError> {
        self.left = self.size()?.unwrap_or(0);
        Ok(())
    }

    /// What is here of the opened frame.
    #[must_use]
    pub fn in_front(&self) -> &[u8] {
        &self.buffer[..self.left.min(self.buffer.len())]
    }

    /// Writes over one byte of what is in front.
    pub fn amend(&mut self, at: usize, byte: u8) {
        self.buffer[at] = byte;
    }

    /// How many bytes of the opened frame have not been taken.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left
    }

    /// Waits for more bytes, and takes at most `bytes_max` of them from the stream.
    pub async fn more(&mut self, bytes_max: usize) -> Result<(), FrameError> {
        self.buffer.reserve(bytes_max);
        match self
            .io
            .read_buf(&mut (&mut self.buffer).limit(bytes_max))
            .await?
        {
            0 => Err(FrameError::Cut),
            _ => Ok(()),
        }
    }

    /// Takes the next bytes of the opened frame, which must be here.
    pub fn take(&mut self, bytes: usize) -> BytesMut {
        self.left -= bytes;
        self.buffer.split_to(bytes)
    }

    /// Somebody else took bytes of the opened frame from the stream beneath, when nothing of it was here.
    pub fn taken_beneath(&mut self, bytes: usize) {
        assert!(self.buffer.is_empty(), "the stream is beyond what is here");
        self.left -= bytes;
    }

    /// True where [`Self::shrink`] would give memory back.
    #[must_use]
    pub fn keeps_memory(&self) -> bool {
        self.buffer.is_empty() && self.last_bytes > 0
    }

    /// Gives the buffer's memory back; meant for a connection that has been idle.
    pub fn shrink(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.last_bytes = 0;
        }
    }

    /// The stream beneath.
    pub fn io(&self) -> &R {
        &self.io
    }

    // A large frame's memory is not kept for small ones.
    fn kept_bytes_max(&self) -> usize {
        (KEPT_FACTOR * self.last_bytes).max(KEPT_BYTES)
    }

    // The size of the frame in front, prefix included, once its prefix is there.
    fn size(&self) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let announced = i32::from_be_bytes(*prefix);
        let size = usize::try_from(announced).map_err(|_| FrameError::Size(announced))?;
        if size < PREFIX_BYTES {
            return Err(FrameError::Size(announced));
        }
        if size > self.frame_bytes_max {
            return Err(FrameError::TooLarge {
                size,
                limit: self.frame_bytes_max,
            });
        }
        Ok(Some(size + PREFIX_BYTES))
    }
}

/// The part of a request header that every request has in the same form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Which request.
    pub api_key: i16,
    /// In which version.
    pub api_version: i16,
    /// What its response will carry.
    pub correlation_id: i32,
    /// The client's name for itself; absent in header version 0.
    pub client_id: Option<String>,
    /// Where in the frame, prefix included, the part after the client id begins.
    pub rest_at: usize,
}

impl RequestHead {
    /// Reads the head of a request frame and nothing after it.
    pub fn peek(frame: &Frame) -> Result<Self, Malformed> {
        let mut reader = Reader::starting_at(frame.whole(), PREFIX_BYTES, false);
        let api_key = reader.i16("api key")?;
        let api_version = reader.i16("api version")?;
        let correlation_id = reader.i32("correlation id")?;
        // Only ControlledShutdown v0, which no client sends, has no client id; a frame may also end here.
        let client_id = if reader.remaining() == 0 {
            None
        } else {
            reader.string_or_null("client id")?.map(str::to_owned)
        };
        Ok(Self {
            api_key,
            api_version,
            correlation_id,
            client_id,
            rest_at: reader.at(),
        })
    }
}

/// The correlation id of a response frame.
pub fn correlation_id(frame: &Frame) -> Result<i32, Malformed> {
    Reader::starting_at(frame.whole(), PREFIX_BYTES, false).i32("correlation id")
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn read(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
        FrameReader::requests(bytes).next().await
    }

    #[tokio::test]
    async fn frames_come_out_as_they_went_in() {
        let bytes: Vec<u8> = [&[0, 0, 0, 5, 1, 2, 3, 4, 5][..], &[0, 0, 0, 4, 9, 9, 9, 9]].concat();
        let mut reader = FrameReader::requests(&bytes[..]);
        let first = reader.next().await.unwrap().unwrap();
        assert_eq!(&first.payload()[..], [1, 2, 3, 4, 5]);
        assert_eq!(
            &reader.next().await.unwrap().unwrap().whole()[..],
            &bytes[9..]
        );
        assert!(reader.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_large_frames_memory_is_not_kept_for_small_ones() {
        let (mut peer, io) = tokio::io::duplex(4 << 20);
        let mut reader = FrameReader::responses(io);
        for bytes in [3 << 20, 100, 100] {
            let size = u32::try_from(bytes).unwrap().to_be_bytes();
            let frame = [&size[..], &vec![7; bytes]].concat();
            peer.write_all(&frame).await.unwrap();
            let read = reader.next().await.unwrap().unwrap();
            assert_eq!(read.whole()[..], frame[..]);
        }
        assert!(reader.buffer.capacity() < 1 << 20);
    }

    #[tokio::test]
    async fn an_opened_frame_is_passed_over_from_wherever_it_was_left() {
        let bytes = [&[0, 0, 0, 5, 1, 2, 3, 4, 5][..], &[0, 0, 0, 4, 9, 9, 9, 9]].concat();
        for taken in 0..=9 {
            let (mut peer, io) = tokio::io::duplex(64);
            let mut reader = FrameReader::responses(io);
            peer.write_all(&bytes[..6]).await.unwrap();
            assert_eq!(reader.announced().await.unwrap(), Some(9));
            reader.open().unwrap();
            peer.write_all(&bytes[6..]).await.unwrap();
            while reader.in_front().len() < taken {
                reader.more(1).await.unwrap();
            }
            assert_eq!(reader.take(taken), bytes[..taken]);
            assert_eq!(reader.left(), 9 - taken);
            let next = reader.next().await.unwrap().unwrap();
            assert_eq!(next.whole()[..], bytes[9..]);
        }
    }

    #[tokio::test]
    async fn impossible_sizes_are_refused() {
        assert!(matches!(
            read(&[0xff, 0xff, 0xff, 0xff]).await,
            Err(FrameError::Size(-1))
        ));
        assert!(matches!(
            read(&[0, 0, 0, 3, 1, 2, 3]).await,
            Err(FrameError::Size(3))
        ));
        assert!(matches!(
            read(b"GET / HTTP/1.1\r\n").await,
            Err(FrameError::TooLarge { .. })
        ));
        assert!(matches!(read(&[0, 0, 0, 9, 1]).await, Err(FrameError::Cut)));
    }
}
