//! A record that carries its partition and its number there, and bytes that follow from both.
//!
//! It knows nothing of Kafka: only how the value is made and read.

/// The bytes of partition and number.
const HEAD: usize = 12;

/// The value of record `number` of `partition`: about `bytes` long, no two alike.
pub(super) fn value(partition: i32, number: u64, bytes: usize) -> Vec<u8> {
    // A quarter more or less, so that batches are not alike either.
    let spread = (bytes / 4).max(1) as u64;
    let length = bytes.max(HEAD) + (number % spread) as usize;
    let mut value = Vec::with_capacity(length);
    value.extend_from_slice(&partition.to_be_bytes());
    value.extend_from_slice(&number.to_be_bytes());
    let seed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while value.len() < length {
        value.extend_from_slice(&seed.rotate_left(value.len() as u32).to_le_bytes());
    }
    value.truncate(length);
    value
}

/// Partition and number of a value.
pub(super) fn read(value: &[u8]) -> Option<(i32, u64)> {
    let partition = value.get(..4)?.try_into().ok()?;
    let number = value.get(4..HEAD)?.try_into().ok()?;
    Some((i32::from_be_bytes(partition), u64::from_be_bytes(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_says_what_it_was_made_of() {
        for number in [0, 1, 77, u64::MAX] {
            let value = value(3, number, 200);
            assert_eq!(read(&value), Some((3, number)));
            assert!((200..250).contains(&value.len()));
        }
        assert_eq!(read(b"short"), None);
    }
}
