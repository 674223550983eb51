//! Server-sent events read off a response, one after another.
//!
//! It reads lines as the standard has them: `data`, `event`, `id`, comments; an event ends at an empty line.

use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{AdminError, transport::cause};
use crate::Event;

/// The largest event read, in bytes.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// Events as they come.
#[derive(Debug)]
pub struct EventStream {
    address: String,
    body: Incoming,
    buffer: Vec<u8>,
}

impl EventStream {
    pub(super) fn new(address: String, body: Incoming) -> Self {
        Self {
            address,
            body,
            buffer: Vec::new(),
        }
    }

    /// The next event; `None` when the admin API ended the stream.
    ///
    /// # Errors
    /// When the connection breaks or what comes is no event.
    pub async fn next(&mut self) -> Result<Option<Event>, AdminError> {
        loop {
            while let Some(block) = take_block(&mut self.buffer) {
                if let Some(data) = data_of(&block) {
                    let event = serde_json::from_str(&data);
                    return event.map(Some).map_err(|error| self.unexpected(&error));
                }
            }
            if self.buffer.len() > EVENT_BYTES_MAX {
                return Err(self.unexpected(&"an event without end"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.buffer.extend_from_slice(bytes);
                    }
                }
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(AdminError::Unreachable {
                        address: self.address.clone(),
                        reason: cause(&error),
                    });
                }
            }
        }
    }

    fn unexpected(&self, reason: &dyn std::fmt::Display) -> AdminError {
        AdminError::Unexpected {
            address: self.address.clone(),
            reason: reason.to_string(),
        }
    }
}

/// Everything up to an empty line, taken out of `buffer`.
fn take_block(buffer: &mut Vec<u8>) -> Option<String> {
    let end = buffer.windows(2).position(|pair| pair == b"\n\n")?;
    let block: Vec<u8> = buffer.drain(..end + 2).collect();
    Some(String::from_utf8_lossy(&block).into_owned())
}

/// The data of an event; `None` for a comment, as is sent to keep the connection alive.
fn data_of(block: &str) -> Option<String> {
    let lines: Vec<&str> = block
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|data| data.strip_prefix(' ').unwrap_or(data))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_taken_whole_and_comments_are_no_events() {
        let mut buffer =
            b": alive\n\nid: 1-4\nevent: x\ndata: {\"a\":\ndata: 1}\n\ndata: cut".to_vec();
        assert_eq!(take_block(&mut buffer).and_then(|b| data_of(&b)), None);
        let data = take_block(&mut buffer).and_then(|b| data_of(&b));
        assert_eq!(data.as_deref(), Some("{\"a\":\n1}"));
        assert_eq!(take_block(&mut buffer), None);
    }
}
