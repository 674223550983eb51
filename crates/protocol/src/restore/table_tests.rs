//! What a table needs, key by key, and when its log is believed.

use cutline_model::Offset;

use super::*;
use crate::restore::{
    plan,
    sample::{ranges, services, tp, world, written},
};

const HOUR: i64 = 3_600_000;

fn seen(offset: i64, masked: bool, value: Option<&'static str>) -> Seen<&'static str> {
    Seen {
        offset: Offset(offset),
        masked,
        value,
    }
}

fn needs(records: &[Seen<&'static str>]) -> Option<Repair<&'static str>> {
    let mut rows = [Row::default(), Row::default()];
    records.iter().for_each(|r| rows[0].note(r.clone()));
    records.iter().rev().for_each(|r| rows[1].note(r.clone()));
    assert_eq!(rows[0], rows[1], "the order in which records are noted");
    let [row, _] = rows;
    row.repair(&Rules::default())
}

#[test]
fn a_key_that_was_overwritten_gets_its_last_visible_value_again() {
    let before = [seen(1, false, Some("old")), seen(5, false, Some("cut"))];
    assert_eq!(needs(&before), None, "the cleaner keeps what is last");
    let after = [
        before.as_slice(),
        &[seen(9, true, Some("x")), seen(11, true, None)],
    ]
    .concat();
    assert_eq!(needs(&after), Some(Repair::Value("cut")));
}

#[test]
fn a_key_that_the_cut_did_not_have_gets_a_tombstone() {
    assert_eq!(
        needs(&[seen(9, true, Some("x"))]),
        Some(Repair::Tombstone),
        "new since"
    );
    let deleted = [
        seen(1, false, Some("v")),
        seen(5, false, None),
        seen(9, true, Some("x")),
    ];
    assert_eq!(needs(&deleted), Some(Repair::Tombstone), "deleted in it");
    assert_eq!(needs(&deleted[..2]), None);
}

#[test]
fn a_value_between_masked_ones_counts_when_it_is_last() {
    let records = [
        seen(3, true, Some("x")),
        seen(5, false, Some("kept")),
        seen(4, true, None),
    ];
    assert_eq!(needs(&records), None);
}

#[test]
fn an_embedded_table_is_appended_whatever_the_log_shows() {
    let log = [
        ("a", seen(5, false, Some("a"))),
        ("new", seen(9, true, Some("x"))),
        ("gone", seen(2, false, None)),
    ];
    let embedded = [("a", "a"), ("lost", "l")].into();
    let found = repairs(log, Some(embedded), &Rules::default());
    let expected = [
        ("a", Repair::Value("a")),
        ("lost", Repair::Value("l")),
        ("new", Repair::Tombstone),
    ];
    assert_eq!(found, expected.into());
}

/// `ab` is a table: `a` marked it at 100 and wrote on.
fn table(lag_ms: i64, first: Option<(i64, i64)>) -> Facts {
    let mut facts = world();
    facts.topics_now.get_mut(&"ab".into()).unwrap().compacted = true;
    facts.writers.get_mut(&tp("ab", 0)).unwrap().control = ranges(&[(100, 101)]);
    facts.now_ms = HOUR;
    let first = first.map(|(base, stamp)| (Offset(base), stamp));
    let table = TableNow {
        lag_ms,
        first,
        embedded: false,
    };
    facts.tables = [(tp("ab", 0), table)].into();
    facts
}

fn codes(facts: &Facts) -> Vec<&'static str> {
    match plan(facts) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(Problem::code).collect(),
    }
}

#[test]
fn a_log_is_believed_when_its_first_record_outside_the_cut_is_there_and_young() {
    let minute = 60_000;
    assert!(codes(&table(2 * minute, Some((100, HOUR - minute)))).is_empty());
    for (lag, first, why) in [
        (0, Some((100, HOUR - minute)), "no lag"),
        (minute, Some((100, HOUR - minute)), "no time left"),
        (2 * minute, Some((101, HOUR - minute)), "the marker is gone"),
        (2 * minute, None, "everything is gone"),
    ] {
        let facts = table(lag, first);
        assert_eq!(codes(&facts), ["CL0317"], "{why}");
        let touched = touched_tables(&facts, &plan_masks(&facts));
        assert_eq!(touched, [(tp("ab", 0), Offset(100))].into());
        let mut embedded = facts;
        embedded.tables.get_mut(&tp("ab", 0)).unwrap().embedded = true;
        assert!(codes(&embedded).is_empty(), "{why}, but it is embedded");
    }
}

fn plan_masks(facts: &Facts) -> Masks {
    let ends = [(tp("ab", 0), Offset(130)), (tp("ba", 0), Offset(80))].into();
    super::super::masks_of(facts, &ends, &facts.writers).unwrap()
}

#[test]
fn a_table_that_the_cleaner_emptied_is_not_taken_for_one_that_nobody_wrote_to() {
    let mut facts = table(0, Some((100, HOUR)));
    facts.writers.get_mut(&tp("ab", 0)).unwrap().by.clear();
    assert_eq!(codes(&facts), ["CL0317"]);
}

#[test]
fn a_table_with_a_writer_that_stays_is_refused() {
    let young = Some((100, HOUR - 1));
    let mut facts = table(HOUR, young);
    let other = facts.outputs_now.get_mut(&"audit".into());
    assert!(other.is_none());
    facts
        .outputs_now
        .insert("audit".into(), ["ab".into()].into());
    assert_eq!(codes(&facts), ["CL0326"]);
    facts.restored = services(&["a", "b", "audit"]);
    assert!(codes(&facts).is_empty());

    let mut outside = table(HOUR, young);
    let mut wrote = written("a", &[(101, 120)]);
    wrote.outside = ranges(&[(10, 20)]);
    outside.writers.insert(tp("ab", 0), wrote.clone());
    assert!(codes(&outside).is_empty(), "long ago");
    wrote.outside = ranges(&[(120, 130)]);
    outside.writers.insert(tp("ab", 0), wrote);
    assert_eq!(codes(&outside), ["CL0326"]);
}

#[test]
fn what_was_masked_at_the_checkpoint_was_repaired_by_then() {
    let mut facts = table(0, None);
    let old = ranges(&[(40, 60)]);
    for masks in [&mut facts.masks_then, &mut facts.masks_now] {
        masks.replace(&"a".into(), [(tp("ab", 0), old.clone())].into());
    }
    let mut wrote = written("a", &[(40, 60)]);
    wrote.control = ranges(&[(100, 130)]);
    facts.writers.insert(tp("ab", 0), wrote);
    assert!(codes(&facts).is_empty(), "nothing was written since");
}
