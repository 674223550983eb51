//! A name in which every `*` stands for any characters, and everything else for itself.
//!
//! What names are and which patterns make sense is the business of those who read them.

use std::fmt;

/// A name with stars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(Vec<String>);

impl Glob {
    /// Any text is one.
    pub(crate) fn new(text: &str) -> Self {
        Self(text.split('*').map(str::to_owned).collect())
    }

    /// True when it has no star.
    pub(crate) fn is_exact(&self) -> bool {
        self.0.len() == 1
    }

    /// True when `name` fits.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let [first, middle @ .., last] = &self.0[..] else {
            return self.0[0] == name;
        };
        let Some(mut rest) = name.strip_prefix(first.as_str()) else {
            return false;
        };
        for piece in middle {
            // The earliest place leaves the most for the pieces that follow.
            let Some(at) = rest.find(piece.as_str()) else {
                return false;
            };
            rest = &rest[at + piece.len()..];
        }
        rest.ends_with(last.as_str())
    }
}

/// As it was given.
impl fmt::Display for Glob {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0.join("*"))
    }
}
