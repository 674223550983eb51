//! What is masked, lifted, told apart and seen, on the sample world.

use std::collections::BTreeMap;

use cutline_model::Offset;

use crate::restore::{
    Facts, Plan, Problem, Writers, plan,
    sample::{partition_now, ranges, services, sidecar, tp, world, written},
};

/// The codes of what is wrong.
fn codes(facts: &Facts) -> Vec<&'static str> {
    match plan(facts) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(Problem::code).collect(),
    }
}

fn mask_of(plan: &Plan, service: &str, topic: &str) -> cutline_model::RangeSet {
    let of = plan.masks.of_writer(&service.into());
    of.get(&tp(topic, 0)).cloned().unwrap_or_default()
}

#[test]
fn a_reader_of_what_an_older_restore_masked_and_this_one_lifts_is_contaminated() {
    let mut facts = world();
    // An earlier restore masked what `a` had written from 60 on; the checkpoint, older than it, has those records.
    facts
        .masks_now
        .replace(&"a".into(), [(tp("ab", 0), ranges(&[(60, 100)]))].into());
    facts
        .writers
        .insert(tp("ab", 0), written("a", &[(60, 100), (101, 130)]));
    assert_eq!(
        codes(&facts),
        ["CL0314"],
        "audit was delivered up to 100 without them"
    );
    let audit = facts.groups_now.get_mut(&"gaudit".into()).unwrap();
    audit.committed.insert(tp("ab", 0), Offset(60));
    let plan = plan(&facts).unwrap();
    assert_eq!(
        mask_of(&plan, "a", "ab"),
        ranges(&[(100, 130)]),
        "the older mask is lifted"
    );
    assert_eq!(plan.holds[&tp("ab", 0)], Offset(60), "held where it lifts");
}

#[test]
fn masks_of_the_checkpoint_come_back_and_those_of_others_stay() {
    let mut facts = world();
    let older = [(tp("ab", 0), ranges(&[(10, 20)]))];
    facts.masks_then.replace(&"a".into(), older.clone().into());
    facts
        .masks_now
        .replace(&"audit".into(), [(tp("x", 0), ranges(&[(1, 2)]))].into());
    facts.masks_now.replace(&"a".into(), older.into());
    let plan = plan(&facts).unwrap();
    assert_eq!(mask_of(&plan, "a", "ab"), ranges(&[(10, 20), (100, 130)]));
    let kept = plan.masks.of_writer(&"audit".into());
    assert_eq!(kept[&tp("x", 0)], ranges(&[(1, 2)]));
}

#[test]
fn a_subset_whose_state_holds_what_another_restore_took_away_is_refused() {
    let mut facts = world();
    facts.restored = services(&["b"]);
    // `a` alone was restored since: what it wrote from 80 on is masked, and the state of `b` holds it up to 90.
    facts
        .masks_now
        .replace(&"a".into(), [(tp("ab", 0), ranges(&[(80, 100)]))].into());
    facts
        .writers
        .insert(tp("ab", 0), written("a", &[(80, 100)]));
    let reader = facts.groups_now.get_mut(&"ga".into()).unwrap();
    reader.committed.insert(tp("ba", 0), Offset(50));
    assert_eq!(codes(&facts), ["CL0315"]);
    facts.masks_then = facts.masks_now.clone();
    assert!(codes(&facts).is_empty(), "the checkpoint was taken since");
}

#[test]
fn a_shared_topic_needs_producer_ids() {
    let mut facts = world();
    facts.restored = services(&["a"]);
    facts
        .groups_now
        .get_mut(&"gb".into())
        .unwrap()
        .committed
        .clear();
    let shared = Writers {
        by: [
            ("a".into(), ranges(&[(101, 110)])),
            ("b".into(), ranges(&[(110, 120)])),
        ]
        .into(),
        outside: ranges(&[(120, 125)]),
        ..Writers::default()
    };
    facts.writers.insert(tp("ab", 0), shared.clone());
    let plan = plan(&facts).unwrap();
    assert_eq!(
        mask_of(&plan, "a", "ab"),
        ranges(&[(100, 110), (125, 130)]),
        "others' stay"
    );
    let anonymous = Writers {
        anonymous: ranges(&[(125, 130)]),
        ..shared
    };
    facts.writers.insert(tp("ab", 0), anonymous);
    assert_eq!(codes(&facts), ["CL0316"]);
}

#[test]
fn records_without_a_producer_id_are_the_restored_writers_when_there_are_no_others() {
    let mut facts = world();
    let both = facts.outputs_now.get_mut(&"b".into()).unwrap();
    both.insert("ab".into());
    let anonymous = Writers {
        anonymous: ranges(&[(101, 130)]),
        ..Writers::default()
    };
    facts.writers.insert(tp("ab", 0), anonymous);
    let whole = plan(&facts).unwrap();
    assert_eq!(mask_of(&whole, "a", "ab"), ranges(&[(100, 130)]));
    assert_eq!(mask_of(&whole, "b", "ab"), ranges(&[(100, 130)]));
    facts.restored = services(&["a"]);
    assert!(codes(&facts).contains(&"CL0316"), "alone it cannot be told");
}

#[test]
fn what_another_instance_wrote_before_its_own_marker_stays() {
    let mut facts = world();
    let mut second = facts.cut.sidecars[&sidecar("a")].clone();
    second.positions.clear();
    second.markers.insert(tp("ab", 0), Offset(104));
    second.ranges.insert(tp("ab", 0), ranges(&[(101, 103)]));
    let id = cutline_model::SidecarId::new("a", "1");
    facts.cut.sidecars.insert(id, second);
    let plan = plan(&facts).unwrap();
    assert_eq!(mask_of(&plan, "a", "ab"), ranges(&[(100, 101), (103, 130)]));
}

#[test]
fn lists_that_the_control_topic_does_not_take_are_refused() {
    let mut facts = world();
    let many: Vec<(i64, i64)> = (0..200_000)
        .map(|at| (101 + 2 * at, 102 + 2 * at))
        .collect();
    let interleaved = Writers {
        by: [("a".into(), ranges(&[(100, 101)]))].into(),
        outside: ranges(&many),
        anonymous: ranges(&[]),
        control: ranges(&[]),
    };
    facts.writers.insert(tp("ab", 0), interleaved);
    let topic = facts.topics_now.get_mut(&"ab".into()).unwrap();
    topic.partitions.insert(0, partition_now(500_000));
    assert_eq!(codes(&facts), ["CL0318"]);

    let mut facts = world();
    let topic = facts.topics_now.get_mut(&"ab".into()).unwrap();
    topic
        .partitions
        .extend((1..60_000).map(|index| (index, partition_now(0))));
    assert_eq!(codes(&facts), ["CL0318"], "nor 60,000 holds");
}

#[test]
fn masks_below_the_beginning_of_the_log_are_forgotten() {
    let mut facts = world();
    let older: BTreeMap<_, _> = [(tp("ab", 0), ranges(&[(10, 20), (30, 60)]))].into();
    facts.masks_then.replace(&"a".into(), older.clone());
    facts.masks_now.replace(&"a".into(), older);
    let topic = facts.topics_now.get_mut(&"ab".into()).unwrap();
    topic.partitions.get_mut(&0).unwrap().log_start = Offset(40);
    let plan = plan(&facts).unwrap();
    assert_eq!(mask_of(&plan, "a", "ab"), ranges(&[(40, 60), (100, 130)]));
}
