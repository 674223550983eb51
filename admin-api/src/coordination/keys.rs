//! Requests that carry an `Idempotency-Key`: the same key is answered with what it began the first time.
//!
//! Kept in memory and bounded, and shared through Redis where there is one: it covers a client that repeats a request it had no answer to, not history.

use std::collections::VecDeque;

use crate::problem::{BAD_REQUEST, KEY_REUSED, Problem};

/// Keys remembered.
pub const KEYS_MAX: usize = 1_024;
/// Characters of a key.
pub const KEY_CHARS_MAX: usize = 255;

/// What keys began.
#[derive(Debug)]
pub struct Keys<R, A>(VecDeque<(String, R, A)>);

impl<R, A> Default for Keys<R, A> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<R: PartialEq, A: Clone> Keys<R, A> {
    /// What `key` began.
    ///
    /// # Errors
    /// 422 when it began something else; 400 when it is none.
    pub fn find(&self, key: &str, request: &R) -> Result<Option<A>, Problem> {
        if key.is_empty() || key.chars().count() > KEY_CHARS_MAX {
            let detail = format!("an Idempotency-Key has 1 to {KEY_CHARS_MAX} characters");
            return Err(Problem::new(BAD_REQUEST, detail));
        }
        match self.0.iter().find(|(known, ..)| known == key) {
            None => Ok(None),
            Some((_, before, answer)) if before == request => Ok(Some(answer.clone())),
            Some(_) => {
                let detail = format!(
                    "the Idempotency-Key {key:?} was used for another request; take a new one"
                );
                Err(Problem::new(KEY_REUSED, detail))
            }
        }
    }

    /// True when it is known what `key` began.
    #[must_use]
    pub fn knows(&self, key: &str) -> bool {
        self.0.iter().any(|(known, ..)| known == key)
    }

    /// `key` began `answer`.
    pub fn note(&mut self, key: &str, request: R, answer: A) {
        if self.0.len() == KEYS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((key.to_owned(), request, answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_for_one_request() {
        let mut keys: Keys<&str, u8> = Keys::default();
        assert_eq!(keys.find("k", &"a"), Ok(None));
        keys.note("k", "a", 7);
        assert_eq!(keys.find("k", &"a"), Ok(Some(7)));
        assert_eq!(keys.find("k", &"b").unwrap_err().code, KEY_REUSED);
        assert_eq!(keys.find("", &"a").unwrap_err().code, BAD_REQUEST);
        assert!(keys.find(&"x".repeat(256), &"a").is_err());
    }

    #[test]
    fn the_oldest_keys_are_forgotten() {
        let mut keys: Keys<(), usize> = Keys::default();
        for at in 0..=KEYS_MAX {
            keys.note(&at.to_string(), (), at);
        }
        assert_eq!(keys.find("0", &()), Ok(None));
        assert_eq!(keys.find("1", &()), Ok(Some(1)));
    }
}
