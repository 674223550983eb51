//! Comparing values in the form that `DUMP` gives them.
//!
//! Redis writes the members of a set or hash that is a hash table in the table's order, and that differs after a restore;
//! those two forms are taken apart. Everything else is compared byte by byte: in a list order is the value.

use std::collections::BTreeSet;

/// Version and checksum at the end of a payload.
const FOOT_BYTES: usize = 10;
/// The first byte of a set that is a hash table, and of such a hash.
const SET: u8 = 2;
const HASH: u8 = 4;

/// Whether two payloads hold the same value, as far as that can be told from them: false also when they are of forms that
/// cannot be compared.
pub(super) fn same_value(a: &[u8], b: &[u8]) -> bool {
    a == b || members(a).is_some_and(|members_a| Some(members_a) == members(b))
}

/// A member of a set, or a field of a hash with its value, as written.
type Member<'a> = (&'a [u8], &'a [u8]);

/// The members of a hash table; `None` when it is none, or is not understood.
fn members(payload: &[u8]) -> Option<BTreeSet<Member<'_>>> {
    let (&kind, rest) = payload.split_first()?;
    let body = rest.get(..rest.len().checked_sub(FOOT_BYTES)?)?;
    let mut reader = Reader(body);
    let count = reader.length()?.plain()?;
    let mut members = BTreeSet::new();
    for _ in 0..count {
        let member = match kind {
            SET => (reader.string()?, &[][..]),
            HASH => (reader.string()?, reader.string()?),
            _ => return None,
        };
        members.insert(member);
    }
    let whole = reader.0.is_empty() && members.len() as u64 == count;
    whole.then_some(members)
}

/// What stands where a length is expected.
#[derive(Clone, Copy)]
enum Length {
    Plain(u64),
    /// A string of a form of its own, by number.
    Encoded(u8),
}

impl Length {
    fn plain(self) -> Option<u64> {
        match self {
            Self::Plain(length) => Some(length),
            Self::Encoded(_) => None,
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(bytes).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn length(&mut self) -> Option<Length> {
        let first = self.take(1)?[0];
        let plain = match first >> 6 {
            0 => u64::from(first & 0x3f),
            1 => u64::from(first & 0x3f) << 8 | u64::from(self.take(1)?[0]),
            2 if first == 0x80 => u64::from(u32::from_be_bytes(self.take(4)?.try_into().ok()?)),
            2 if first == 0x81 => u64::from_be_bytes(self.take(8)?.try_into().ok()?),
            3 => return Some(Length::Encoded(first & 0x3f)),
            _ => return None,
        };
        Some(Length::Plain(plain))
    }

    /// A string as written, its length included: the same string is written the same way.
    fn string(&mut self) -> Option<&'a [u8]> {
        let whole = self.0;
        let bytes = match self.length()? {
            Length::Plain(bytes) => bytes,
            Length::Encoded(small @ 0..=2) => 1 << small,
            Length::Encoded(3) => {
                let compressed = self.length()?.plain()?;
                self.length()?.plain()?;
                compressed
            }
            Length::Encoded(_) => return None,
        };
        self.take(bytes)?;
        whole.get(..whole.len() - self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(kind: u8, body: &[u8], foot: u8) -> Vec<u8> {
        [&[kind][..], body, &[foot; FOOT_BYTES]].concat()
    }

    #[test]
    fn members_of_a_table_in_another_order_are_the_same_value() {
        let (a, b) = (
            payload(SET, b"\x02\x01a\x01b", 1),
            payload(SET, b"\x02\x01b\x01a", 2),
        );
        assert!(same_value(&a, &b));
        let (a, b) = (
            payload(HASH, b"\x02\x01f\xc0\x07\x01g\xc1\x07\x08", 1),
            payload(HASH, b"\x02\x01g\xc1\x07\x08\x01f\xc0\x07", 2),
        );
        assert!(same_value(&a, &b));
        let compressed = b"\x02\xc3\x03\x40\xff123\x01x";
        let turned = b"\x02\x01x\xc3\x03\x40\xff123";
        assert!(same_value(
            &payload(SET, compressed, 1),
            &payload(SET, turned, 2)
        ));
    }

    #[test]
    fn the_same_bytes_are_not_the_same_value() {
        for (kind, a, b) in [
            // A list has an order; 18 is its usual form.
            (18, &b"\x02\x01a\x01b"[..], &b"\x02\x01b\x01a"[..]),
            (
                HASH,
                b"\x02\x01f\x011\x01g\x012",
                b"\x02\x01f\x012\x01g\x011",
            ),
            (SET, b"\x02\x01a\x01b", b"\x02\x01a\x01c"),
            (SET, b"\x02\x01a\x01b", b"\x01\x01a"),
            // Not what it says it is.
            (SET, b"\x02\x01a\x01b!", b"\x02\x01b\x01a!"),
            (SET, b"\x09\x01a\x01b", b"\x09\x01b\x01a"),
            (SET, b"\x01\xff", b"\x01\xfe"),
            (0, b"\x02ab", b"\x02ba"),
        ] {
            assert!(
                !same_value(&payload(kind, a, 1), &payload(kind, b, 1)),
                "{kind} {a:?}"
            );
        }
        assert!(!same_value(b"", b"\x02"));
    }
}
