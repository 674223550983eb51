//! A bounds-checked cursor over bytes that somebody else sent.
//!
//! It promises never to panic, never to allocate by a length field, and to say where it stopped. It knows Kafka's
//! primitive types and nothing of messages.

use thiserror::Error;

/// Bytes that do not follow the schema they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed {what} at byte {at}")]
pub struct Malformed {
    /// What was being read.
    pub what: &'static str,
    /// Where it was to begin, counted from the first byte given to the reader.
    pub at: usize,
}

/// Reads forward over `bytes`. `flexible` says whether strings, bytes and arrays have compact lengths and structures
/// end in tagged fields.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    flexible: bool,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8], flexible: bool) -> Self {
        Self {
            bytes,
            at: 0,
            flexible,
        }
    }

    /// A reader that starts `at` bytes in; positions still count from the first byte of `bytes`.
    #[must_use]
    pub fn starting_at(bytes: &'a [u8], at: usize, flexible: bool) -> Self {
        Self {
            bytes,
            at,
            flexible,
        }
    }

    /// The position of the next byte.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let malformed = Malformed { what, at: self.at };
        let end = self.at.checked_add(count).ok_or(malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let at = self.at;
        self.take(N, what)?
            .try_into()
            .map_err(|_| Malformed { what, at })
    }

    /// One signed byte.
    pub fn i8(&mut self, what: &'static str) -> Result<i8, Malformed> {
        self.fixed(what).map(i8::from_be_bytes)
    }

    /// Two bytes, big endian.
    pub fn i16(&mut self, what: &'static str) -> Result<i16, Malformed> {
        self.fixed(what).map(i16::from_be_bytes)
    }

    /// Four bytes, big endian.
    pub fn i32(&mut self, what: &'static str) -> Result<i32, Malformed> {
        self.fixed(what).map(i32::from_be_bytes)
    }

    /// Eight bytes, big endian.
    pub fn i64(&mut self, what: &'static str) -> Result<i64, Malformed> {
        self.fixed(what).map(i64::from_be_bytes)
    }

    /// A topic's id.
    pub fn uuid(&mut self, what: &'static str) -> Result<[u8; 16], Malformed> {
        self.fixed(what)
    }

    /// An unsigned variable-length integer of at most 32 bits.
    pub fn uvarint(&mut self, what: &'static str) -> Result<u32, Malformed> {
        let at = self.at;
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed::<1>(what)?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed { what, at })
    }

    /// Passes over a variable-length integer of at most 64 bits.
    pub fn skip_varlong(&mut self) -> Result<(), Malformed> {
        let at = self.at;
        for _ in 0..10 {
            let [byte] = self.fixed::<1>("varlong")?;
            if byte & 0x80 == 0 {
                return Ok(());
            }
        }
        Err(Malformed {
            what: "varlong",
            at,
        })
    }

    // A length that may be null, in the form of this reader; `short` strings have two bytes where others have four.
    fn length(&mut self, short: bool, what: &'static str) -> Result<Option<usize>, Malformed> {
        let at = self.at;
        let length = match (self.flexible, short) {
            (true, _) => i64::from(self.uvarint(what)?) - 1,
            (false, true) => i64::from(self.i16(what)?),
            (false, false) => i64::from(self.i32(what)?),
        };
        match length {
            -1 => Ok(None),
            length => usize::try_from(length)
                .map(Some)
                .map_err(|_| Malformed { what, at }),
        }
    }

    /// A string that may be null.
    pub fn string_or_null(&mut self, what: &'static str) -> Result<Option<&'a str>, Malformed> {
        let at = self.at;
        let Some(length) = self.length(true, what)? else {
            return Ok(None);
        };
        std::str::from_utf8(self.take(length, what)?)
            .map(Some)
            .map_err(|_| Malformed { what, at })
    }

    /// A string.
    pub fn string(&mut self, what: &'static str) -> Result<&'a str, Malformed> {
        let at = self.at;
        self.string_or_null(what)?.ok_or(Malformed { what, at })
    }

    /// The length of bytes that may be null (null counts as none), which need not be there.
    pub fn bytes_length(&mut self, what: &'static str) -> Result<usize, Malformed> {
        Ok(self.length(false, what)?.unwrap_or(0))
    }

    /// Bytes that may be null.
    pub fn bytes_or_null(&mut self, what: &'static str) -> Result<Option<&'a [u8]>, Malformed> {
        match self.length(false, what)? {
            Some(length) => self.take(length, what).map(Some),
            None => Ok(None),
        }
    }

    /// The number of elements of an array (null counts as none). Every element takes at least one byte, so a number
    /// beyond what is left is malformed; a caller may therefore reserve by it only in proportion to real bytes.
    pub fn array(&mut self, what: &'static str) -> Result<usize, Malformed> {
        let at = self.at;
        let length = self.length(false, what)?.unwrap_or(0);
        if length > self.remaining() {
            return Err(Malformed { what, at });
        }
        Ok(length)
    }

    /// The tagged fields at the end of a structure: calls `each` with tag and value. Nothing where not flexible.
    pub fn tags(&mut self, mut each: impl FnMut(u32, &'a [u8])) -> Result<(), Malformed> {
        if !self.flexible {
            return Ok(());
        }
        let count = self.uvarint("tagged fields")?;
        for _ in 0..count {
            let tag = self.uvarint("tag")?;
            let size = self.uvarint("tag size")?;
            each(tag, self.take(size as usize, "tagged field")?);
        }
        Ok(())
    }

    /// Passes over the tagged fields at the end of a structure.
    pub fn skip_tags(&mut self) -> Result<(), Malformed> {
        self.tags(|_, _| ())
    }
}

/// Appends an unsigned variable-length integer.
pub fn put_uvarint(into: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        into.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_bytes_is_malformed() {
        let mut reader = Reader::new(&[0x7f, 0xff, 0xff, 0xff, 1], false);
        assert!(reader.clone().array("array").is_err());
        assert!(reader.bytes_or_null("bytes").is_err());
        assert!(
            Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 1], true)
                .uvarint("varint")
                .is_err()
        );
    }

    #[test]
    fn varints_come_back_as_written() {
        for value in [0, 1, 127, 128, 300, 1 << 21, u32::MAX] {
            let mut bytes = Vec::new();
            put_uvarint(&mut bytes, value);
            assert_eq!(Reader::new(&bytes, true).uvarint("value"), Ok(value));
        }
    }
}
