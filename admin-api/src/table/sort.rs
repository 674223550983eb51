//! Rows in the order of their keys, in bounded memory: what does not fit is written to temporary files, sorted, and merged.
//!
//! The files have no names and are gone with the program.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read, Seek, Write},
};

use bytes::{Bytes, BytesMut};
use cutline_model::TopicPartition;
use cutline_protocol::restore::{Row, Seen};

use super::{Line, LineReader, Payload, TableError};

/// Rows in memory, in bytes, before they are written out.
pub const MEMORY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Rows of one partition in temporary files, in bytes.
pub const SPILL_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// Rows that stay in memory while a table waits, in bytes.
const RESTING_BYTES_MAX: usize = 64 * 1024;
/// What a row takes in memory beside its bytes.
const ROW_BYTES: usize = 200;
/// Bytes read of a file at once.
const READ_BYTES: usize = 64 * 1024;

/// Takes records in any order.
#[derive(Debug)]
pub struct Sorter {
    partition: TopicPartition,
    memory_max: usize,
    spill_max: u64,
    rows: BTreeMap<Bytes, Row<Payload>>,
    bytes: usize,
    runs: Vec<File>,
    spilled: u64,
}

impl Sorter {
    /// For the rows of `partition`.
    #[must_use]
    pub fn new(partition: &TopicPartition) -> Self {
        Self::within(partition, MEMORY_BYTES_MAX, SPILL_BYTES_MAX)
    }

    fn within(partition: &TopicPartition, memory_max: usize, spill_max: u64) -> Self {
        Self {
            partition: partition.clone(),
            memory_max,
            spill_max,
            rows: BTreeMap::new(),
            bytes: 0,
            runs: Vec::new(),
            spilled: 0,
        }
    }

    /// Takes a record of `key`.
    ///
    /// # Errors
    /// When temporary files cannot be written, or would be too large.
    pub fn note(&mut self, key: &[u8], seen: Seen<Payload>) -> Result<(), TableError> {
        // What is replaced is counted on: a table that is overwritten all the time is written out too early, not too late.
        let value = seen.value.as_ref().map_or(0, payload_bytes);
        match self.rows.get_mut(key) {
            Some(row) => {
                row.note(seen);
                self.bytes += value;
            }
            None => {
                let mut row = Row::default();
                row.note(seen);
                // Copied: a slice would keep its whole batch in memory.
                self.rows.insert(Bytes::copy_from_slice(key), row);
                self.bytes += key.len() + value + ROW_BYTES;
            }
        }
        if self.bytes > self.memory_max {
            self.spill()?;
        }
        Ok(())
    }

    /// Gives memory back for a while: what is more than little goes to a temporary file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn rest(&mut self) -> Result<(), TableError> {
        if self.bytes > RESTING_BYTES_MAX {
            self.spill()?;
        }
        Ok(())
    }

    /// All rows, in the order of their keys.
    ///
    /// # Errors
    /// When temporary files cannot be read.
    pub fn sorted(mut self) -> Result<Sorted, TableError> {
        let mut runs = Vec::new();
        for file in &mut self.runs {
            file.rewind()?;
        }
        for file in self.runs {
            let mut run = Run {
                file: BufReader::with_capacity(READ_BYTES, file),
                lines: LineReader::default(),
                next: None,
            };
            run.advance()?;
            runs.push(run);
        }
        let mut memory = self.rows.into_iter();
        let first = memory.next();
        Ok(Sorted {
            runs,
            memory,
            first,
        })
    }

    fn spill(&mut self) -> Result<(), TableError> {
        let mut file = tempfile::tempfile()?;
        let mut bytes = BytesMut::new();
        for (key, row) in std::mem::take(&mut self.rows) {
            line(key, row).write(&mut bytes);
            if bytes.len() >= READ_BYTES {
                file.write_all(&bytes)?;
                self.spilled += bytes.len() as u64;
                bytes.clear();
            }
        }
        file.write_all(&bytes)?;
        self.spilled += bytes.len() as u64;
        self.bytes = 0;
        self.runs.push(file);
        if self.spilled > self.spill_max {
            return Err(TableError::TooLarge {
                partition: self.partition.clone(),
                limit: self.spill_max,
            });
        }
        Ok(())
    }
}

/// Rows in order.
#[derive(Debug)]
pub struct Sorted {
    runs: Vec<Run>,
    memory: std::collections::btree_map::IntoIter<Bytes, Row<Payload>>,
    first: Option<(Bytes, Row<Payload>)>,
}

#[derive(Debug)]
struct Run {
    file: BufReader<File>,
    lines: LineReader,
    next: Option<Line>,
}

impl Sorted {
    /// The next row.
    ///
    /// # Errors
    /// When temporary files cannot be read.
    pub fn next_row(&mut self) -> Result<Option<(Bytes, Row<Payload>)>, TableError> {
        let spilled = self.runs.iter().filter_map(|run| run.next.as_ref());
        let keys = spilled.map(|line| &line.key);
        let least = keys.chain(self.first.as_ref().map(|(key, _)| key)).min();
        let Some(key) = least.cloned() else {
            return Ok(None);
        };
        let mut row = Row::default();
        for run in &mut self.runs {
            if let Some(line) = run.next.take_if(|line| line.key == key) {
                add(&mut row, line.masked, line.visible);
                run.advance()?;
            }
        }
        if let Some((_, last)) = self.first.take_if(|(first, _)| *first == key) {
            let masked = last.masked();
            add(&mut row, masked, last.into_visible());
            self.first = self.memory.next();
        }
        Ok(Some((key, row)))
    }
}

impl Run {
    fn advance(&mut self) -> Result<(), TableError> {
        loop {
            self.next = self.lines.next_line()?;
            if self.next.is_some() {
                return Ok(());
            }
            let mut bytes = [0; 8 * 1024];
            match self.file.read(&mut bytes)? {
                0 => return self.lines.finish(),
                count => self.lines.push(&bytes[..count]),
            }
        }
    }
}

fn add(
    row: &mut Row<Payload>,
    masked: Option<cutline_model::Offset>,
    visible: Option<(cutline_model::Offset, Option<Payload>)>,
) {
    if let Some(offset) = masked {
        row.note(Seen {
            offset,
            masked: true,
            value: None,
        });
    }
    if let Some((offset, value)) = visible {
        row.note(Seen {
            offset,
            masked: false,
            value,
        });
    }
}

fn line(key: Bytes, row: Row<Payload>) -> Line {
    Line {
        key,
        masked: row.masked(),
        visible: row.into_visible(),
    }
}

fn payload_bytes(payload: &Payload) -> usize {
    let headers = payload.headers.iter();
    let headers = headers.map(|h| h.key.len() + h.value.as_ref().map_or(0, Bytes::len) + 64);
    payload.value.len() + headers.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use cutline_model::Offset;

    use super::*;

    fn seen(offset: i64, masked: bool, value: Option<&'static str>) -> Seen<Payload> {
        Seen {
            offset: Offset(offset),
            masked,
            value: value.map(|value| Payload {
                value: Bytes::from(value),
                timestamp_ms: offset,
                headers: Vec::new(),
                by: None,
            }),
        }
    }

    fn rows(memory_max: usize) -> Vec<(Bytes, Row<Payload>)> {
        let mut sorter = Sorter::within(&TopicPartition::new("t", 0), memory_max, u64::MAX);
        for offset in 0..2_000_i64 {
            let key = format!("key-{}", offset * 7 % 300);
            let value = (offset % 11 != 0).then_some("value");
            let record = seen(offset, offset % 3 == 0, value);
            sorter.note(key.as_bytes(), record).unwrap();
        }
        let mut sorted = sorter.sorted().unwrap();
        let mut rows = Vec::new();
        while let Some(row) = sorted.next_row().unwrap() {
            rows.push(row);
        }
        rows
    }

    #[test]
    fn rows_are_the_same_however_little_memory_there_is() {
        let all = rows(usize::MAX);
        assert_eq!(all.len(), 300);
        assert!(all.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(rows(2_000), all);
        assert_eq!(rows(1), all, "a run for each record");
    }

    #[test]
    fn a_table_that_is_too_large_is_an_error_that_names_it() {
        let mut sorter = Sorter::within(&TopicPartition::new("huge", 3), 100, 1_000);
        let mut noted = (0..100_i64).map(|at| {
            let key = at.to_be_bytes();
            sorter.note(&key, seen(at, false, Some("value")))
        });
        let error = noted.find_map(Result::err).unwrap().to_string();
        assert!(
            error.contains("huge-3") && error.contains("1000"),
            "{error}"
        );
    }
}
