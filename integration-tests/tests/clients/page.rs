//! The tables of docs/clients.md: read, and rewritten one Kafka version at a time.
//!
//! A table stands between two comments that name it. Its first three columns are the client, its version and Kafka's. What the cells
//! mean it refuses to know.

use std::path::PathBuf;

use integration_tests::{binaries::project_root, kafka};
use parking_lot::Mutex;

/// Column of the version of Kafka.
pub const KAFKA: usize = 2;
/// The order in which versions of Kafka stand in a table.
pub const VERSIONS: [&str; 2] = [kafka::VERSION_DEFAULT, kafka::VERSION_OLDEST];

// One table is rewritten at a time: several are in one file.
static WRITING: Mutex<()> = Mutex::new(());

/// One row, cell by cell.
pub type Row = Vec<String>;

/// A table on the page.
pub struct Table {
    /// What its comments call it.
    pub name: &'static str,
    /// The heads of its columns.
    pub columns: &'static [&'static str],
}

impl Table {
    /// Its rows.
    ///
    /// # Panics
    /// When it is not on the page.
    pub fn rows(&self) -> Vec<Row> {
        let text = read();
        let (_, table, _) = self.split(&text);
        table.lines().skip(2).map(cells).collect()
    }

    /// Puts `rows` in place of those of the Kafka they are about.
    ///
    /// # Panics
    /// When it is not on the page, or the page cannot be written.
    pub fn rewrite(&self, version: &str, rows: Vec<Row>) {
        let _writing = WRITING.lock();
        let mut all = self.rows();
        all.retain(|row| row[KAFKA] != version && VERSIONS.contains(&row[KAFKA].as_str()));
        all.extend(rows);
        all.sort_by_key(|row| VERSIONS.iter().position(|version| row[KAFKA] == *version));
        let head: Row = self.columns.iter().map(|&head| head.to_owned()).collect();
        let rule = vec!["---".to_owned(); self.columns.len()];
        let lines: Vec<String> = [head, rule]
            .iter()
            .chain(&all)
            .map(|row| line(row))
            .collect();
        let text = read();
        let (before, _, after) = self.split(&text);
        let text = format!("{before}{}\n{after}", lines.join("\n"));
        std::fs::write(page(), text).expect("docs/clients.md can be written");
    }

    // Before, with the opening comment; the table; after, with the closing comment.
    fn split<'a>(&self, text: &'a str) -> (&'a str, &'a str, &'a str) {
        let begin = format!(
            "<!-- {}: written by the full run, CUTLINE_CLIENTS=full -->\n",
            self.name
        );
        let end = format!("<!-- end of {} -->", self.name);
        let from = text.find(&begin).expect("the comment that opens the table") + begin.len();
        let to = text.find(&end).expect("the comment that closes the table");
        (&text[..from], &text[from..to], &text[to..])
    }
}

fn page() -> PathBuf {
    project_root().join("docs/clients.md")
}

fn read() -> String {
    std::fs::read_to_string(page()).expect("docs/clients.md can be read")
}

fn line(row: &[String]) -> String {
    format!("| {} |", row.join(" | "))
}

fn cells(line: &str) -> Row {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect()
}
