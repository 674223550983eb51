//! One table for people: columns of words, numbers and running text.
//!
//! Numbers stand to the right. Where the terminal is too narrow, running text is wrapped and nothing else.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, presets};

use crate::page::printable;

/// The space between two columns.
const GAP: u16 = 2;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Words that stay in one piece.
    Word(&'static str),
    /// Numbers, with their units.
    Number(&'static str),
    /// Text that may be wrapped.
    Text(&'static str),
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Word(title) | Self::Number(title) | Self::Text(title) => title,
        }
    }
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    #[must_use]
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self {
            columns: columns.into(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.columns.len(), "a row has a cell for each column");
        self.rows
            .push(cells.iter().map(|cell| printable(cell)).collect());
    }

    /// True without rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text in at most `width` characters, if that can be; as wide as it needs without one.
    #[must_use]
    pub fn render(&self, width: Option<u16>) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(self.columns.iter().map(|column| column.title()));
        table.add_rows(&self.rows);
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width);
        }
        let last = self.columns.len().saturating_sub(1);
        for (index, (column, kind)) in table.column_iter_mut().zip(&self.columns).enumerate() {
            column.set_padding((0, if index == last { 0 } else { GAP }));
            match kind {
                Column::Number(_) => {
                    column.set_cell_alignment(CellAlignment::Right);
                    column.set_constraint(ColumnConstraint::ContentWidth);
                }
                Column::Word(_) => {
                    column.set_constraint(ColumnConstraint::ContentWidth);
                }
                Column::Text(_) => {}
            }
        }
        table.trim_fmt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new([
            Column::Word("NAME"),
            Column::Number("PAUSE"),
            Column::Text("NOTE"),
        ]);
        table.row(["a".into(), "1.0 ms".into(), "all is well with it".into()]);
        table.row(["longer".into(), "100.0 ms".into(), String::new()]);
        table
    }

    #[test]
    fn numbers_stand_to_the_right_and_nothing_trails() {
        assert_eq!(
            table().render(None),
            "NAME       PAUSE  NOTE\na         1.0 ms  all is well with it\nlonger  100.0 ms"
        );
    }

    #[test]
    fn a_narrow_terminal_wraps_text_and_leaves_numbers_whole() {
        let text = table().render(Some(30));
        assert!(
            text.lines().all(|line| line.chars().count() <= 30),
            "{text}"
        );
        assert!(text.contains("100.0 ms"), "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut table = Table::new([Column::Word("NAME")]);
        table.row(["\u{1b}[31mred".into()]);
        assert!(!table.render(None).contains('\u{1b}'));
    }
}
