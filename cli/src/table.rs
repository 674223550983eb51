//! One table for people: columns of words, numbers and running text.
//!
//! Numbers stand to the right. Where the terminal is too narrow, running text is wrapped and nothing else; where it is so
//! narrow that little of the text would fit beside the rest, the text of a row stands below it.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, presets};

use crate::page::printable;

/// The space between two columns.
const GAP: u16 = 2;
/// Running text narrower than this is hard to read.
const TEXT_WIDTH_MIN: usize = 16;

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
        match width {
            Some(width) if !self.fits(usize::from(width)) => self.render_stacked(),
            _ => render(&self.columns, &self.rows, width),
        }
    }

    /// True when each text has enough room beside the other columns.
    fn fits(&self, width: usize) -> bool {
        let widths = self.columns.iter().enumerate().map(|(index, column)| {
            let cells = self.rows.iter().map(|row| row[index].chars().count());
            let content = cells.max().unwrap_or(0).max(column.title().len());
            match column {
                Column::Text(_) => content.min(TEXT_WIDTH_MIN),
                Column::Word(_) | Column::Number(_) => content,
            }
        });
        let gaps = self.columns.len().saturating_sub(1) * usize::from(GAP);
        widths.sum::<usize>() + gaps <= width
    }

    /// Every row with its texts below.
    fn render_stacked(&self) -> String {
        let is_text = |index: &usize| matches!(self.columns[*index], Column::Text(_));
        let (texts, others): (Vec<usize>, Vec<usize>) = (0..self.columns.len()).partition(is_text);
        let columns: Vec<Column> = others.iter().map(|index| self.columns[*index]).collect();
        let cells = |row: &Vec<String>| others.iter().map(|index| row[*index].clone()).collect();
        let rows: Vec<Vec<String>> = self.rows.iter().map(cells).collect();
        // Nothing is wrapped without a width: one line for the titles and one for each row.
        let rendered = render(&columns, &rows, None);
        let mut lines = rendered.lines();
        let mut stacked = vec![lines.next().unwrap_or_default().to_owned()];
        for (line, row) in lines.zip(&self.rows) {
            stacked.push(line.to_owned());
            for index in texts.iter().filter(|index| !row[**index].is_empty()) {
                let title = self.columns[*index].title().to_lowercase();
                stacked.push(format!("    {title}: {}", row[*index]));
            }
        }
        stacked.join("\n")
    }
}

fn render(columns: &[Column], rows: &[Vec<String>], width: Option<u16>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|column| column.title()));
    table.add_rows(rows);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
    }
    let last = columns.len().saturating_sub(1);
    for (index, (column, kind)) in table.column_iter_mut().zip(columns).enumerate() {
        column.set_padding((0, if index == last { 0 } else { GAP }));
        if matches!(kind, Column::Number(_)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if !matches!(kind, Column::Text(_)) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.trim_fmt()
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
        let text = table().render(Some(34));
        assert!(
            text.lines().all(|line| line.chars().count() <= 34),
            "{text}"
        );
        assert!(text.contains("100.0 ms"), "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
    }

    #[test]
    fn a_very_narrow_terminal_has_the_text_of_a_row_below_it() {
        assert_eq!(
            table().render(Some(30)),
            "NAME       PAUSE\na         1.0 ms\n    note: all is well with it\nlonger  100.0 ms"
        );
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut table = Table::new([Column::Word("NAME")]);
        table.row(["\u{1b}[31mred".into()]);
        assert!(!table.render(None).contains('\u{1b}'));
    }
}
