//! What one answer looks like to people: lines and tables, one below the other.
//!
//! A page knows nothing of where it is shown; text that came from elsewhere loses its control characters here.

use crate::table::Table;

/// Lines and tables.
#[derive(Clone, Debug, Default)]
pub struct Page {
    blocks: Vec<Block>,
}

#[derive(Clone, Debug)]
enum Block {
    Line(String),
    Facts(Vec<(&'static str, String)>),
    Table(&'static str, Table),
}

impl Page {
    /// An empty page.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a line.
    #[must_use]
    pub fn line(mut self, text: impl AsRef<str>) -> Self {
        self.blocks.push(Block::Line(printable(text.as_ref())));
        self
    }

    /// Adds names with their values, one to a line; empty values are left out.
    #[must_use]
    pub fn facts(mut self, facts: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let told = facts.into_iter().filter(|(_, value)| !value.is_empty());
        self.blocks.push(Block::Facts(told.collect()));
        self
    }

    /// Adds a table without a heading; one without rows is left out.
    #[must_use]
    pub fn table(self, table: Table) -> Self {
        self.section("", table)
    }

    /// Adds a table under `heading`; one without rows is left out.
    #[must_use]
    pub fn section(mut self, heading: &'static str, table: Table) -> Self {
        if !table.is_empty() {
            self.blocks.push(Block::Table(heading, table));
        }
        self
    }

    /// Adds `lines` under `heading`; nothing when there are none.
    #[must_use]
    pub fn list<T: AsRef<str>>(mut self, heading: &str, lines: &[T]) -> Self {
        if !lines.is_empty() {
            self = self.line("").line(heading);
            for line in lines {
                self = self.line(format!("- {}", line.as_ref()));
            }
        }
        self
    }

    /// The page as text, in at most `width` characters where it can be.
    #[must_use]
    pub fn render(&self, width: Option<u16>) -> String {
        let mut text = String::new();
        for block in &self.blocks {
            match block {
                Block::Line(line) => text += line,
                Block::Facts(facts) => text += &render_facts(facts),
                Block::Table(heading, table) => {
                    if !text.is_empty() {
                        text.push('\n');
                    }
                    if !heading.is_empty() {
                        text += heading;
                        text.push('\n');
                    }
                    text += &table.render(width);
                }
            }
            text.push('\n');
        }
        text
    }
}

fn render_facts(facts: &[(&'static str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = facts
        .iter()
        .map(|(name, value)| format!("{name:width$}  {}", printable(value)));
    lines.collect::<Vec<_>>().join("\n")
}

/// `text` in lines of at most `width` characters that begin with `indent`; a longer word has a line of its own.
#[must_use]
pub fn wrapped(text: &str, width: usize, indent: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let needed = line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && needed > width {
            lines.push(std::mem::take(&mut line));
        }
        line += if line.is_empty() { indent } else { " " };
        line += word;
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// `text` without anything that a terminal would obey.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|char| {
            if char.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                char
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Column;

    #[test]
    fn a_page_leaves_out_what_is_empty() {
        let mut table = Table::new([Column::Word("NAME")]);
        let page = Page::new()
            .facts([("epoch", "7".into()), ("reason", String::new())])
            .section("Nothing", table.clone());
        assert_eq!(page.render(None), "epoch  7\n");
        table.row(["a".into()]);
        let page = page.section("Something", table).list("Warnings", &["mind"]);
        assert_eq!(
            page.render(None),
            "epoch  7\n\nSomething\nNAME\na\n\nWarnings\n- mind\n"
        );
    }
}
