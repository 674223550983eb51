//! The stored journal survives what it must and refuses what it cannot follow.

use cutline_model::{OffsetRange, RangeSet, TopicPartition};

use super::*;

fn begun() -> Begun {
    Begun {
        services: ["bank".into()].into(),
        groups: [("g".into(), "bank".into())].into(),
        states: Vec::new(),
        holds: Vec::new(),
        safety_checkpoint: true,
        allow_contamination: false,
        contaminated: Vec::new(),
        warnings: vec!["mind the gap".to_owned()],
        members: vec![Members {
            sidecar: SidecarId::new("bank", "0"),
            group: "g".into(),
            count: 1,
        }],
        tables: true,
        trace: None,
    }
}

fn entries() -> Vec<Entry> {
    let partition = TopicPartition::new("t", 0);
    let ranges: RangeSet = [OffsetRange::new(Offset(3), Offset(9))]
        .into_iter()
        .collect();
    let mut masks = Masks::default();
    masks.replace(&"bank".into(), [(partition.clone(), ranges)].into());
    vec![
        Entry::HoldsWritten { offset: Offset(1) },
        Entry::Quiesced {
            epoch: Epoch(5),
            safety: None,
        },
        Entry::Fenced { offset: Offset(2) },
        Entry::Emptied {
            transactional_ids: vec!["tx".to_owned()],
        },
        Entry::EndsFixed {
            marker: MarkerId {
                producer_id: 4,
                producer_epoch: 1,
            },
            ends: [(partition, Offset(9))].into(),
        },
        Entry::MasksMade { masks },
        Entry::TablesRead {
            repairs: Repairs {
                name: "x".to_owned(),
                pieces: 2,
                records: 3,
                hash: "00".to_owned(),
            },
        },
        Entry::StateBegun,
        Entry::OffsetsCommitted,
        Entry::TablesAppended,
        Entry::TimelineTaken {
            timeline: Timeline(1),
        },
        Entry::TimelineCommitted { offset: Offset(3) },
        Entry::Lifted,
        Entry::Completed,
    ]
}

fn records() -> Vec<JournalRecord> {
    let id = |_: &TopicName| Some("id".to_owned());
    let first = first_record("r", Epoch(3), &begun());
    let rest = entries().into_iter().zip(1..);
    let rest =
        rest.map(|(entry, seq)| entry_record("r", seq, Epoch(3), &entry, &Beside::default(), id));
    [first].into_iter().chain(rest).collect()
}

#[test]
fn a_journal_survives_its_stored_form() {
    let read = read(&records()).unwrap();
    assert_eq!(read.begun, begun());
    let mut expected = begun().journal();
    for entry in entries() {
        expected.record(entry).unwrap();
    }
    assert_eq!(read.journal, expected);
    assert_eq!(read.masks[0].topic_id, "id");
    assert!(records().last().unwrap().finished);
}

#[test]
fn records_of_another_version_or_out_of_order_are_refused() {
    let mut newer = records();
    newer[2].data["version"] = serde_json::json!(2);
    assert!(read(&newer).unwrap_err().to_string().contains("version 2"));
    let mut torn = records();
    torn.remove(3);
    assert!(read(&torn).is_err());
    assert!(read(&[]).is_err());
}
