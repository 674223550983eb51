//! Appending to compacted topics what a restore worked out (1-protocol §6.5), behind the fence and from the store.
//!
//! In transactions, under an id of its own for each service whose records these become. Whose they are is registered
//! before there are any.

use std::collections::BTreeMap;

use bytes::Bytes;
use cutline_control::{ControlState, Record};
use cutline_model::{Offset, ServiceName};
use cutline_protocol::restore::{Entry, Repairs};
use cutline_wire::{append::Appender, marker::MarkerError, records::LogRecord};
use jiff::Timestamp;
use kafka_protocol::ResponseError;

use super::{RestoreError, run::Run, tables::Head};
use crate::{
    app::App,
    table::{LineReader, TableError},
};

/// Records of one batch, in bytes; a single record may be larger.
const BATCH_BYTES: usize = 256 * 1024;

/// Appends what was kept.
///
/// Done again after a crash it appends all of it again, which changes nothing for anybody: every writer of these topics is
/// fenced, so the same values follow themselves; and whatever an attempt before this one still had on its way is fenced by
/// the transactional id.
pub async fn append(run: &mut Run) -> Result<Entry, RestoreError> {
    let missing = || RestoreError::Journal("the tables were not read".to_owned());
    let repairs = run.journal.repairs().cloned().ok_or_else(missing)?;
    let app = &run.app;
    let store = &app.repository;
    let Repairs {
        name, pieces, hash, ..
    } = &repairs;
    store.check_pieces(&run.id, name, *pieces, hash).await?;
    let mut appenders: BTreeMap<Option<ServiceName>, Appender> = BTreeMap::new();
    for at in 0..*pieces {
        let piece = store.read_piece(&run.id, name, at).await?;
        let (head, records) = read_piece(&piece)?;
        let id = transactional_id(app, head.by.as_ref());
        let fresh = || Appender::new(app.kafka.clone(), id.clone());
        let appender = appenders.entry(head.by.clone()).or_insert_with(fresh);
        let appended = append_piece(app, appender, &id, &head, &records).await;
        if appended.is_err() {
            // Whatever is open is fenced and aborted by the next of this name.
            *appender = fresh();
        }
        match appended {
            Err(RestoreError::Marker(MarkerError::Client(error)))
                if error.kafka() == Some(ResponseError::InvalidTimestamp) =>
            {
                // The topic does not take timestamps so old any more.
                let records = stamped_now(records);
                append_piece(app, appender, &id, &head, &records).await?;
            }
            appended => appended?,
        }
    }
    Ok(Entry::TablesAppended)
}

fn transactional_id(app: &App, by: Option<&ServiceName>) -> String {
    let deployment = &app.config.deployment;
    match by {
        Some(service) => format!("__cutline.{deployment}.table.{service}"),
        None => format!("__cutline.{deployment}.table"),
    }
}

async fn append_piece(
    app: &App,
    appender: &mut Appender,
    id: &str,
    head: &Head,
    records: &[LogRecord],
) -> Result<(), RestoreError> {
    let pair = appender.ready().await?;
    if let Some(service) = &head.by {
        // Later restores must know whose these are before there are any.
        register(app, service, pair.producer_id, id).await?;
    }
    let partition = &head.partition;
    appender.begin(std::slice::from_ref(partition)).await?;
    let mut from = 0;
    let mut bytes = 0;
    for (at, record) in records.iter().enumerate() {
        let size = record_bytes(record);
        if at > from && bytes + size > BATCH_BYTES {
            appender.append(partition, &records[from..at]).await?;
            (from, bytes) = (at, 0);
        }
        bytes += size;
    }
    appender.append(partition, &records[from..]).await?;
    appender.commit().await?;
    Ok(())
}

async fn register(
    app: &App,
    service: &ServiceName,
    producer_id: i64,
    id: &str,
) -> Result<(), RestoreError> {
    let knows = |state: &ControlState| {
        let known = state.producers.get(service);
        known.is_some_and(|ids| ids.contains_key(&producer_id))
    };
    if knows(&app.control.state().borrow()) {
        return Ok(());
    }
    let record = Record::Producer {
        service: service.clone(),
        producer_id,
        transactional_id: Some(id.to_owned()),
    };
    app.control.append_and_read(&record).await?;
    Ok(())
}

fn record_bytes(record: &LogRecord) -> usize {
    let headers = record.headers.iter();
    let headers = headers.map(|h| h.key.len() + h.value.as_ref().map_or(0, Bytes::len) + 10);
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    length(&record.key) + length(&record.value) + headers.sum::<usize>() + 30
}

fn stamped_now(records: Vec<LogRecord>) -> Vec<LogRecord> {
    let timestamp_ms = Timestamp::now().as_millisecond();
    let stamped = records.into_iter().map(|record| LogRecord {
        timestamp_ms,
        ..record
    });
    stamped.collect()
}

fn read_piece(piece: &Bytes) -> Result<(Head, Vec<LogRecord>), RestoreError> {
    let damaged = |what: String| RestoreError::Table(TableError::Damaged(what));
    let end = piece.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or_else(|| damaged("a piece has no head".to_owned()))?;
    let head: Head =
        serde_json::from_slice(&piece[..end]).map_err(|error| damaged(error.to_string()))?;
    let mut reader = LineReader::default();
    reader.push(&piece[end + 1..]);
    let now = Timestamp::now().as_millisecond();
    let mut records = Vec::new();
    while let Some(line) = reader.next_line()? {
        let payload = line.visible.and_then(|(_, payload)| payload);
        let (value, timestamp_ms, headers) = match payload {
            Some(payload) => (Some(payload.value), payload.timestamp_ms, payload.headers),
            None => (None, now, Vec::new()),
        };
        records.push(LogRecord {
            offset: Offset(0),
            timestamp_ms,
            key: Some(line.key),
            value,
            headers,
        });
    }
    reader.finish()?;
    Ok((head, records))
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use cutline_model::TopicPartition;

    use super::*;
    use crate::table::{Line, Payload};

    #[test]
    fn a_piece_says_whose_records_it_has() {
        let head = Head {
            partition: TopicPartition::new("t", 3),
            by: Some("bank".into()),
        };
        let payload = Payload {
            value: Bytes::from_static(b"v\n"),
            timestamp_ms: 5,
            headers: Vec::new(),
            by: head.by.clone(),
        };
        let mut piece = BytesMut::from(&serde_json::to_vec(&head).unwrap()[..]);
        piece.put_u8(b'\n');
        for (key, payload) in [("a", Some(payload)), ("b\n", None)] {
            let line = Line {
                key: Bytes::from(key),
                masked: None,
                visible: Some((Offset(0), payload)),
            };
            line.write(&mut piece);
        }
        let piece = piece.freeze();
        let (read, records) = read_piece(&piece).unwrap();
        assert_eq!(read, head);
        let values: Vec<_> = records
            .iter()
            .map(|r| (r.value.clone(), r.key.clone()))
            .collect();
        assert_eq!(values[0], (Some("v\n".into()), Some("a".into())));
        assert_eq!(values[1], (None, Some("b\n".into())));
        assert_eq!(records[0].timestamp_ms, 5);
        assert!(read_piece(&piece.slice(..piece.len() - 1)).is_err());
    }
}
