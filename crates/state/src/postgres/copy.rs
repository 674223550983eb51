//! Copying tables under an exported snapshot, several at a time, into a part that is written one after another.
//!
//! Rows come in the order of their key, so that a table that did not change gives the same bytes, and one that changed a
//! little gives mostly the same bytes. Memory is bounded: a few buffers a table under way.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use cutline_store::{Entry, PartWriter};
use futures_util::{
    StreamExt,
    future::{join_all, try_join, try_join_all},
};
use tokio::sync::mpsc;
use tokio_postgres::CopyOutStream;

use super::{
    PostgresError,
    address::Address,
    catalog::Table,
    name::{list, literal},
    session::{QUESTION_LIMIT, Session},
};
use crate::StateError;

/// Connections that copy at the same time, the one that holds the snapshot among them.
const CONNECTIONS_MAX: usize = 4;
/// Rows are gathered to buffers of about this size.
const BUFFER_BYTES: usize = 256 * 1024;
/// Buffers of one table that wait to be written.
const BUFFERS_MAX: usize = 16;
/// How long a copy may go without a buffer of rows: a large table may be sorted first.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(600);

/// `None` is the end of a table.
type Buffer = Option<Bytes>;

/// Copies every table, in this order.
pub(super) async fn tables(
    address: &Address,
    holder: &Session,
    snapshot: &str,
    tables: &[Table],
    part: &mut PartWriter,
) -> Result<(), StateError> {
    let extra = CONNECTIONS_MAX.min(tables.len()).saturating_sub(1);
    let opening = (0..extra).map(|_| join_snapshot(address, snapshot));
    // A server that lets in no more is copied from with those that it let in.
    let extra: Vec<Session> = join_all(opening)
        .await
        .into_iter()
        .filter_map(Result::ok)
        .collect();
    let next = AtomicUsize::new(0);
    let (senders, receivers): (Vec<_>, Vec<_>) = tables
        .iter()
        .map(|_| mpsc::channel::<Buffer>(BUFFERS_MAX))
        .unzip();
    let senders = Arc::new(senders);
    let workers = std::iter::once(holder)
        .chain(&extra)
        .map(|session| work(session, tables, &next, Arc::clone(&senders)));
    let copying = async { try_join_all(workers).await.map_err(StateError::from) };
    try_join(copying, write(tables, receivers, part)).await?;
    Ok(())
}

async fn join_snapshot(address: &Address, snapshot: &str) -> Result<Session, PostgresError> {
    let session = Session::open(address).await?;
    let sql = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
        literal(snapshot)
    );
    session
        .run("join the snapshot", &sql, QUESTION_LIMIT)
        .await?;
    Ok(session)
}

/// Takes the next table nobody has taken until none is left, so the first that is not written yet is always under way.
async fn work(
    session: &Session,
    tables: &[Table],
    next: &AtomicUsize,
    senders: Arc<Vec<mpsc::Sender<Buffer>>>,
) -> Result<(), PostgresError> {
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(table) = tables.get(at) else {
            return Ok(());
        };
        let mut rows = pin!(open(session, table).await?);
        let mut ended = false;
        while !ended {
            let buffer;
            (buffer, ended) = fill(session, rows.as_mut()).await?;
            // A writer that is gone has failed, and says why itself.
            let sent = buffer.is_empty() || senders[at].send(Some(buffer)).await.is_ok();
            if !sent || (ended && senders[at].send(None).await.is_err()) {
                return Ok(());
            }
        }
    }
}

async fn write(
    tables: &[Table],
    receivers: Vec<mpsc::Receiver<Buffer>>,
    part: &mut PartWriter,
) -> Result<(), StateError> {
    for (table, mut buffers) in tables.iter().zip(receivers) {
        part.begin(Entry::file(table.name.entry()))?;
        loop {
            match buffers.recv().await {
                Some(Some(buffer)) => part.push(&buffer).await?,
                Some(None) => break,
                None => return Err(PostgresError::cut_short(&table.name.to_string()).into()),
            }
        }
        part.end_file().await?;
    }
    Ok(())
}

/// Starts the copy of a table.
pub(super) async fn open(session: &Session, table: &Table) -> Result<CopyOutStream, PostgresError> {
    let sql = statement(table);
    session
        .within("copy a table", STALL_LIMIT, session.client.copy_out(&sql))
        .await
}

/// The next buffer of rows, and whether it is the last.
pub(super) async fn fill(
    session: &Session,
    mut rows: Pin<&mut CopyOutStream>,
) -> Result<(Bytes, bool), PostgresError> {
    let filling = async {
        let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
        while buffer.len() < BUFFER_BYTES {
            match rows.next().await {
                Some(row) => buffer.extend_from_slice(&row?),
                None => return Ok((buffer.freeze(), true)),
            }
        }
        Ok((buffer.freeze(), false))
    };
    session.within("copy a table", STALL_LIMIT, filling).await
}

fn statement(table: &Table) -> String {
    let (name, columns) = (table.name.quoted(), list(table.copied()));
    let format = format(table);
    if table.key.is_empty() {
        // No table below it and no parallel scan: rows as they lie.
        return format!("COPY {name} ({columns}) TO STDOUT ({format})");
    }
    let key = list(table.key.iter().map(String::as_str));
    format!("COPY (SELECT {columns} FROM ONLY {name} ORDER BY {key}) TO STDOUT ({format})")
}

/// The form rows are copied in.
pub(super) fn format(table: &Table) -> &'static str {
    if table.binary {
        "FORMAT binary"
    } else {
        "FORMAT text"
    }
}
