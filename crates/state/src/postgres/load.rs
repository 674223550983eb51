//! Filling an emptied table from a part, and reading it back to see that it holds what was recorded.

use std::pin::pin;

use blake3::Hasher;
use cutline_store::{Entry, EntryKind, PartReader};
use futures_util::SinkExt;
use tokio_postgres::CopyInSink;

use super::{
    PostgresError,
    catalog::Table,
    copy::{self, STALL_LIMIT},
    name::list,
    session::Session,
};
use crate::StateError;

/// Writes the rows of the part's open entry into `table`; answers how many the server took.
pub(super) async fn fill(
    session: &Session,
    table: &Table,
    part: &mut PartReader,
) -> Result<u64, StateError> {
    let sql = format!(
        "COPY {} ({}) FROM STDIN ({})",
        table.name.quoted(),
        list(table.copied()),
        copy::format(table)
    );
    let opening = session.client.copy_in(&sql);
    let sink: CopyInSink<bytes::Bytes> =
        session.within("fill a table", STALL_LIMIT, opening).await?;
    let mut sink = pin!(sink);
    while let Some(rows) = part.read().await? {
        session
            .within("fill a table", STALL_LIMIT, sink.send(rows))
            .await?;
    }
    Ok(session
        .within("fill a table", STALL_LIMIT, sink.finish())
        .await?)
}

/// Fails unless copying `table` gives the very bytes that were recorded, and as many rows as were taken.
pub(super) async fn verify(
    session: &Session,
    table: &Table,
    recorded: &Entry,
    taken: u64,
) -> Result<(), PostgresError> {
    let differs = |detail: String| PostgresError::NotRestored {
        table: table.name.to_string(),
        detail,
    };
    let count = format!("SELECT count(*)::text FROM ONLY {}", table.name.quoted());
    let rows = session.rows("count rows", &count, STALL_LIMIT).await?;
    let held = rows.first().map(|row| row[0].as_str()).unwrap_or_default();
    if held != taken.to_string() {
        return Err(differs(format!(
            "{taken} rows were written, it holds {held}"
        )));
    }
    let EntryKind::File { bytes, hash } = &recorded.kind else {
        return Err(differs("its part is no file".to_owned()));
    };
    let mut rows = pin!(copy::open(session, table).await?);
    let (mut hasher, mut read, mut ended) = (Hasher::new(), 0, false);
    while !ended {
        let buffer;
        (buffer, ended) = copy::fill(session, rows.as_mut()).await?;
        hasher.update(&buffer);
        read += buffer.len() as u64;
    }
    if read != *bytes || hasher.finalize().to_hex().as_str() != hash {
        return Err(differs(format!(
            "{bytes} bytes were recorded, {read} other ones are read back"
        )));
    }
    Ok(())
}
