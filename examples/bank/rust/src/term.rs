//! A term: one stretch of time in which one instance keeps one shard, named so that no other stretch has its name.
//!
//! A shard that is rolled back sends its sequence numbers a second time; the term tells the second time from the first.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A name no other term has.
#[must_use]
pub fn new_term() -> String {
    // RandomState is seeded by the system; eight hex digits are enough for the few terms of a run.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    format!("{:08x}", hasher.finish() >> 32)
}
