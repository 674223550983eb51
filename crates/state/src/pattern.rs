//! A pattern for file names: `*` stands for any characters, everything else for itself.

use crate::glob::Glob;

/// Which files an engine never changes once they are written, such as `*.sst`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Glob);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// In words, when it is empty or names a path: patterns are about the last name of a path.
    pub fn new(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("a pattern is empty".to_owned()),
            "*" => Err("the pattern * would take every file for immutable".to_owned()),
            _ if text.contains('/') => Err(format!(
                "pattern {text:?} holds a /; patterns are about file names"
            )),
            _ => Ok(Self(Glob::new(text))),
        }
    }

    /// True when `name` fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.0.matches(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, fits) in [
            ("*.sst", "000012.sst", true),
            ("*.sst", ".sst", true),
            ("*.sst", "000012.sst.tmp", false),
            ("MANIFEST-*", "MANIFEST-5", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*a", "a", false),
            ("CURRENT", "CURRENT", true),
            ("CURRENT", "CURRENT2", false),
        ] {
            assert_eq!(
                Pattern::new(pattern).unwrap().matches(name),
                fits,
                "{pattern} {name}"
            );
        }
    }
}
