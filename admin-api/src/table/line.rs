//! One row of a table as bytes: in temporary files, in what a restore keeps for later, in a checkpoint's part.
//!
//! A line is a length and as many bytes of JSON-free fields: numbers big-endian, strings and bytes by length. Stored lines
//! are of form 1, which is the first byte of each.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use cutline_model::{Offset, ServiceName};
use cutline_wire::records::Header;

use super::TableError;

/// The form of lines written now.
const FORM: u8 = 1;
/// The longest line: a record that any broker would take, and room for its headers.
const LINE_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// What a record carries beside its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The value.
    pub value: Bytes,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The headers, in order.
    pub headers: Vec<Header>,
    /// Whose record it is; `None` for producers behind no sidecar.
    pub by: Option<ServiceName>,
}

/// A row: the last masked and the last visible record of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The key.
    pub key: Bytes,
    /// Where the last masked record is.
    pub masked: Option<Offset>,
    /// The last visible record; without a payload it is a tombstone.
    pub visible: Option<(Offset, Option<Payload>)>,
}

impl Line {
    /// Appends the line's bytes.
    pub fn write(&self, into: &mut BytesMut) {
        let at = into.len();
        into.put_u32(0);
        into.put_u8(FORM);
        put_bytes(into, Some(&self.key));
        into.put_i64(self.masked.map_or(-1, |offset| offset.0));
        into.put_i64(self.visible.as_ref().map_or(-1, |(offset, _)| offset.0));
        let payload = self.visible.as_ref().and_then(|(_, value)| value.as_ref());
        put_bytes(into, payload.map(|payload| &payload.value));
        if let Some(payload) = payload {
            into.put_i64(payload.timestamp_ms);
            let by = payload.by.as_ref();
            put_bytes(into, by.map(|by| by.as_str().as_bytes()));
            put_length(into, payload.headers.len());
            for header in &payload.headers {
                put_bytes(into, Some(&header.key));
                put_bytes(into, header.value.as_ref());
            }
        }
        let length = u32::try_from(into.len() - at - 4).expect("a record is far below 4 GiB");
        into[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }

    fn read(mut bytes: Bytes) -> Option<Self> {
        let bytes = &mut bytes;
        if bytes.try_get_u8().ok()? != FORM {
            return None;
        }
        let key = get_bytes(bytes)??;
        let masked = get_offset(bytes)?;
        let visible = get_offset(bytes)?;
        let payload = match get_bytes(bytes)? {
            None => None,
            // A value has an offset: without one it would be lost here, and nobody told.
            Some(_) if visible.is_none() => return None,
            Some(value) => Some(read_payload(value, bytes)?),
        };
        bytes.is_empty().then(|| Self {
            key,
            masked,
            visible: visible.map(|offset| (offset, payload)),
        })
    }
}

fn read_payload(value: Bytes, bytes: &mut Bytes) -> Option<Payload> {
    let timestamp_ms = bytes.try_get_i64().ok()?;
    let by = match get_bytes(bytes)? {
        None => None,
        Some(by) => Some(ServiceName::from(std::str::from_utf8(&by).ok()?)),
    };
    let mut headers = Vec::new();
    for _ in 0..bytes.try_get_u32().ok()? {
        let key = get_bytes(bytes)??;
        let value = get_bytes(bytes)?;
        headers.push(Header { key, value });
    }
    Some(Payload {
        value,
        timestamp_ms,
        headers,
        by,
    })
}

/// Cuts bytes that come in pieces into lines.
#[derive(Debug, Default)]
pub struct LineReader {
    rest: BytesMut,
}

impl LineReader {
    /// Takes more bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// The next whole line, if it is there.
    ///
    /// # Errors
    /// When the bytes are no lines.
    pub fn next_line(&mut self) -> Result<Option<Line>, TableError> {
        let Some(length) = self.rest.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > LINE_BYTES_MAX {
            return Err(damaged());
        }
        if self.rest.len() < 4 + length {
            return Ok(None);
        }
        self.rest.advance(4);
        let line = self.rest.split_to(length).freeze();
        Line::read(line).map(Some).ok_or_else(damaged)
    }

    /// Checks that nothing is left over.
    ///
    /// # Errors
    /// When the last line is not whole.
    pub fn finish(&self) -> Result<(), TableError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(damaged())
        }
    }
}

fn damaged() -> TableError {
    TableError::Damaged("they are cut off or of another form".to_owned())
}

const NULL: u32 = u32::MAX;

fn put_length(into: &mut BytesMut, length: usize) {
    let length = u32::try_from(length).expect("a record is far below 4 GiB");
    into.put_u32(length);
}

fn put_bytes(into: &mut BytesMut, bytes: Option<impl AsRef<[u8]>>) {
    match bytes {
        None => into.put_u32(NULL),
        Some(bytes) => {
            put_length(into, bytes.as_ref().len());
            into.put_slice(bytes.as_ref());
        }
    }
}

/// An offset or none, which is −1; the outer `None` for what is neither.
fn get_offset(from: &mut Bytes) -> Option<Option<Offset>> {
    match from.try_get_i64().ok()? {
        -1 => Some(None),
        at => (at >= 0).then_some(Some(Offset(at))),
    }
}

/// Bytes or null; the outer `None` for what is cut off.
fn get_bytes(from: &mut Bytes) -> Option<Option<Bytes>> {
    let length = from.try_get_u32().ok()?;
    if length == NULL {
        return Some(None);
    }
    let length = length as usize;
    (length <= from.len()).then(|| Some(from.split_to(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Line> {
        let payload = Payload {
            value: Bytes::from_static(b"value"),
            timestamp_ms: -5,
            headers: vec![Header {
                key: Bytes::from_static(b"h"),
                value: None,
            }],
            by: Some("bank".into()),
        };
        let line = |key: &'static [u8], visible| Line {
            key: Bytes::from_static(key),
            masked: Some(Offset(9)),
            visible,
        };
        let outside = Payload {
            by: None,
            headers: Vec::new(),
            ..payload.clone()
        };
        vec![
            line(b"", None),
            line(b"a", Some((Offset(3), None))),
            line(b"b", Some((Offset(4), Some(payload)))),
            line(b"c", Some((Offset(5), Some(outside)))),
        ]
    }

    #[test]
    fn lines_come_back_however_their_bytes_are_cut() {
        let mut bytes = BytesMut::new();
        lines().iter().for_each(|line| line.write(&mut bytes));
        for size in [1, 3, 1000] {
            let mut reader = LineReader::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(size) {
                reader.push(piece);
                while let Some(line) = reader.next_line().unwrap() {
                    found.push(line);
                }
            }
            reader.finish().unwrap();
            assert_eq!(found, lines());
        }
    }

    #[test]
    fn what_is_no_line_is_an_error() {
        let mut bytes = BytesMut::new();
        lines()[2].write(&mut bytes);
        let mut cut = LineReader::default();
        cut.push(&bytes[..bytes.len() - 1]);
        assert!(cut.next_line().unwrap().is_none() && cut.finish().is_err());
        let mut other = bytes.clone();
        other[4] = 9;
        let mut reader = LineReader::default();
        reader.push(&other);
        assert!(reader.next_line().is_err());
    }
}
