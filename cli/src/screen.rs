//! Where a command writes: data to stdout as a page or as JSON, everything else to stderr.
//!
//! It knows the format and the terminal; it does not know what it shows.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{
    page::{Page, printable},
    progress::Progress,
};

/// How data is written to stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Tables for people
    Table,
    /// JSON, the fields of the REST interface
    Json,
}

/// Stdout and stderr of one command.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    format: Format,
    width: Option<u16>,
}

impl Screen {
    /// The screen of this process. Tables fit the terminal when stdout is one.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let width = console::Term::stdout().size_checked();
        Self {
            format,
            width: width.map(|(_, columns)| columns),
        }
    }

    /// True when data is to be JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// The width of the terminal, when stdout is one.
    #[must_use]
    pub fn width(&self) -> Option<u16> {
        self.width
    }

    /// Writes `value` as JSON, or `page`, which is the same for people.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub fn show(&self, value: &impl Serialize, page: &Page) -> io::Result<()> {
        if self.is_json() {
            let mut text = serde_json::to_string_pretty(value)?;
            text.push('\n');
            write(&text)
        } else {
            write(&page.render(self.width))
        }
    }

    /// Writes `value` as one line of JSON, or `line`.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub fn show_line(&self, value: &impl Serialize, line: &str) -> io::Result<()> {
        let mut text = if self.is_json() {
            serde_json::to_string(value)?
        } else {
            printable(line)
        };
        text.push('\n');
        write(&text)
    }

    /// Says something that is no data.
    pub fn note(&self, text: &str) {
        // Words beside the data are not worth failing for.
        let _ = writeln!(io::stderr().lock(), "{}", printable(text));
    }

    /// Says from time to time how something is getting on.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress::new(io::stderr().is_terminal())
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
