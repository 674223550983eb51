//! How the demo speaks: a short aligned line for each thing that happens, in colour only to a person.
//!
//! It knows nothing of what it says. A closed stdout silences it and fails nothing.

use std::io::{self, IsTerminal, Write};

const LABEL_WIDTH: usize = 12;
const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const RED: &str = "31";

/// Speaks on stdout.
#[derive(Clone, Copy, Debug)]
pub struct Teller {
    colours: bool,
}

impl Teller {
    /// One that uses colours when a person looks.
    #[must_use]
    pub fn new() -> Self {
        Self {
            colours: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// Begins a chapter.
    pub fn chapter(self, title: &str) {
        self.line(&format!("\n{}", self.paint(BOLD, title)));
    }

    /// Says one thing that happened.
    pub fn say(self, label: &str, text: &str) {
        self.line(&format!("  {}{text}", self.label(label)));
    }

    /// Says one thing that is as it should be.
    pub fn good(self, label: &str, text: &str) {
        self.line(&format!(
            "  {}{}",
            self.label(label),
            self.paint(GREEN, text)
        ));
    }

    /// Says one thing that is not as it should be.
    pub fn bad(self, label: &str, text: &str) {
        self.line(&format!("  {}{}", self.label(label), self.paint(RED, text)));
    }

    /// Says one thing as it deserves.
    pub fn judge(self, right: bool, label: &str, text: &str) {
        if right {
            self.good(label, text);
        } else {
            self.bad(label, text);
        }
    }

    /// Says something beside the point.
    pub fn note(self, text: &str) {
        self.line(&format!("  {}", self.paint(DIM, text)));
    }

    /// Shows what another program said, as it said it.
    pub fn quote(self, text: &str) {
        for line in text.lines() {
            self.line(&format!("    {}", self.paint(DIM, line)));
        }
    }

    /// The line for machines, after which nothing is said.
    pub fn last_line(self, json: &str) {
        self.line(&format!("\n{json}"));
    }

    fn label(self, label: &str) -> String {
        format!("{label:<LABEL_WIDTH$} ")
    }

    fn paint(self, colour: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn line(self, text: &str) {
        let mut out = io::stdout().lock();
        // Whoever listened is gone; the exit code still tells.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

/// A number with its thousands apart.
#[must_use]
pub fn spaced(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(
            (
                spaced(0).as_str(),
                spaced(-1_024_000).as_str(),
                spaced(999).as_str()
            ),
            ("0", "-1 024 000", "999")
        );
    }
}
