//! A table in a checkpoint: its rows as one file of a part, in the order of their keys.

use cutline_model::{ProcessId, TopicPartition};
use cutline_store::{PartReader, StoreError, TableRecord};

use super::{Line, LineReader, TableError};
use crate::app::App;

/// The provider's name in the parts of tables.
pub const PROVIDER: &str = "table";
/// The one file of such a part.
pub const FILE: &str = "rows";

/// The name that the part of a partition is kept by. No service can be called so: names of services have no slash.
#[must_use]
pub fn process_of(partition: &TopicPartition) -> ProcessId {
    ProcessId {
        service: format!("table/{}", partition.topic).as_str().into(),
        instance: Some(partition.partition.to_string().as_str().into()),
    }
}

/// Rows being read.
#[derive(Debug)]
pub struct StoredTable {
    part: PartReader,
    lines: LineReader,
    over: bool,
}

impl StoredTable {
    /// Opens `table`, one of a checkpoint's.
    ///
    /// # Errors
    /// When the part is missing or not what was written.
    pub async fn open(app: &App, table: &TableRecord) -> Result<Self, StoreError> {
        let mut part = app.repository.part_reader(&table.part).await?;
        part.next_entry().await?;
        Ok(Self {
            part,
            lines: LineReader::default(),
            over: false,
        })
    }

    /// The next row.
    ///
    /// # Errors
    /// When the store does not answer, or what it has is not what was written.
    pub async fn next(&mut self) -> Result<Option<Line>, TableError> {
        loop {
            if let Some(line) = self.lines.next_line()? {
                return Ok(Some(line));
            }
            if self.over {
                self.lines.finish()?;
                return Ok(None);
            }
            match self.part.read().await? {
                Some(bytes) => self.lines.push(&bytes),
                None => self.over = true,
            }
        }
    }
}
