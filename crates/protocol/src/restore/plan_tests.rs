//! One test for each thing a plan promises to see.

use std::collections::BTreeMap;

use cutline_model::{Offset, ServiceName};

use super::*;
use crate::restore::{
    MemberNow, Writers,
    sample::{partition_now, process, ranges, services, sidecar, sidecar_now, tp, world, written},
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
fn a_whole_rollback_masks_what_came_after_the_markers_and_puts_offsets_and_states_back() {
    let plan = plan(&world()).unwrap();
    assert_eq!(mask_of(&plan, "a", "ab"), ranges(&[(100, 130)]));
    assert_eq!(mask_of(&plan, "b", "ba"), ranges(&[(50, 80)]));
    let offsets = |group: &str| plan.groups[&group.into()].offsets.clone();
    assert_eq!(offsets("gb"), BTreeMap::from([(tp("ab", 0), Offset(90))]));
    assert_eq!(offsets("ga"), BTreeMap::from([(tp("ba", 0), Offset(50))]));
    assert!(
        !plan.groups.contains_key(&"gaudit".into()),
        "it is not restored"
    );
    assert_eq!(plan.states.len(), 2);
    assert_eq!(plan.states[&process("a")].sidecars, [sidecar("a")].into());
    assert_eq!(plan.fences, [tp("ab", 0), tp("ba", 0)].into());
    assert_eq!(plan.holds[&tp("ab", 0)], Offset(100));
    assert!(plan.contaminated.is_empty());
}

#[test]
fn nothing_and_unknown_services_are_refused() {
    let mut facts = world();
    facts.restored = services(&[]);
    assert_eq!(codes(&facts), ["CL0300"]);
    facts.restored = services(&["a", "b", "c"]);
    assert_eq!(codes(&facts), ["CL0301"]);
}

#[test]
fn another_cluster_is_refused() {
    let mut facts = world();
    facts.cluster_now = "other".into();
    assert_eq!(codes(&facts), ["CL0302"]);
    facts.cluster_now = String::new();
    assert!(codes(&facts).is_empty(), "unknown is not other");
}

#[test]
fn a_damaged_part_is_refused_unless_its_service_stays() {
    let mut facts = world();
    facts.damaged = [(process("audit"), "torn".to_owned())].into();
    assert!(codes(&facts).is_empty());
    facts.damaged = [(process("a"), "torn".to_owned())].into();
    assert_eq!(codes(&facts), ["CL0303"]);
}

#[test]
fn topics_gone_or_made_again_are_refused() {
    let mut facts = world();
    let topic = facts.topics_now.get_mut(&"ab".into()).unwrap();
    topic.id = "id-new".into();
    topic.partitions.insert(0, partition_now(0));
    assert_eq!(
        codes(&facts),
        ["CL0305"],
        "its log is no longer worth a word"
    );
    facts.topics_now.remove(&"ab".into());
    assert_eq!(codes(&facts), ["CL0304"]);
}

#[test]
fn a_gap_that_retention_made_is_refused_and_its_edge_is_not() {
    let mut facts = world();
    let set = |facts: &mut Facts, log_start| {
        let topic = facts.topics_now.get_mut(&"ab".into()).unwrap();
        topic.partitions.get_mut(&0).unwrap().log_start = Offset(log_start);
    };
    set(&mut facts, 90);
    assert!(codes(&facts).is_empty());
    set(&mut facts, 91);
    assert_eq!(codes(&facts), ["CL0307"]);
}

#[test]
fn a_log_truncated_below_the_bound_is_refused() {
    let mut facts = world();
    let set = |facts: &mut Facts, end| {
        let topic = facts.topics_now.get_mut(&"ab".into()).unwrap();
        topic.partitions.get_mut(&0).unwrap().epoch_end = Some(Offset(end));
    };
    set(&mut facts, 100);
    assert!(
        codes(&facts).is_empty(),
        "what lies above the bound is not needed"
    );
    set(&mut facts, 99);
    assert_eq!(codes(&facts), ["CL0308"]);
}

#[test]
fn a_member_outside_a_sidecar_is_refused_in_restored_groups_only() {
    let mut facts = world();
    let outsider = MemberNow {
        id: "stranger".into(),
        sidecar: None,
        is_static: false,
        partitions: Default::default(),
    };
    let add = |facts: &mut Facts, group: &str| {
        let group = facts.groups_now.get_mut(&group.into()).unwrap();
        group.members.push(outsider.clone());
    };
    add(&mut facts, "gaudit");
    assert!(codes(&facts).is_empty());
    add(&mut facts, "gb");
    assert_eq!(codes(&facts), ["CL0309"]);
}

#[test]
fn a_sidecar_that_cannot_be_spoken_to_is_named_at_once() {
    let mut facts = world();
    facts.away = [cutline_model::SidecarId::new("x", "9")].into();
    assert_eq!(codes(&facts), ["CL0319"]);
}

#[test]
fn state_needs_a_sidecar_and_offsets_do_not() {
    let mut facts = world();
    facts.sidecars.remove(&sidecar("b"));
    for group in facts.groups_now.values_mut() {
        if group.service == ServiceName::from("b") {
            group.members.clear();
        }
    }
    assert_eq!(codes(&facts), ["CL0310"]);
    facts.cut.processes.get_mut(&process("b")).unwrap().part = None;
    let plan = plan(&facts).unwrap();
    assert!(plan.groups.contains_key(&"gb".into()));
    assert!(plan.notices.contains(&Notice::Idle("b".into())));
}

#[test]
fn instance_state_goes_back_to_the_same_instances_with_the_same_assignments() {
    let mut facts = world();
    let extra = cutline_model::SidecarId::new("a", "1");
    facts.sidecars.insert(extra, sidecar_now());
    assert_eq!(codes(&facts), ["CL0311"]);

    let mut facts = world();
    let group = facts.groups_now.get_mut(&"gb".into()).unwrap();
    group.members[0].partitions.clear();
    assert_eq!(codes(&facts), ["CL0312"]);
    let group = facts.groups_now.get_mut(&"gb".into()).unwrap();
    group.members.clear();
    let unknown = Notice::AssignmentUnknown("gb".into());
    assert!(
        plan(&facts).unwrap().notices.contains(&unknown),
        "a stopped application is fine"
    );
}

#[test]
fn a_partition_added_since_is_allowed_named_and_masked_from_its_beginning() {
    let mut facts = world();
    let topic = facts.topics_now.get_mut(&"ab".into()).unwrap();
    topic.partitions.insert(1, partition_now(9));
    facts.writers.insert(tp("ab", 1), written("a", &[(0, 9)]));
    let group = facts.groups_now.get_mut(&"gb".into()).unwrap();
    group.members[0].partitions.insert(tp("ab", 1));
    group.committed.insert(tp("ab", 1), Offset(9));
    let plan = plan(&facts).unwrap();
    assert!(plan.notices.contains(&Notice::PartitionAdded(tp("ab", 1))));
    let mask = plan.masks.of_writer(&"a".into())[&tp("ab", 1)].clone();
    assert_eq!(mask, ranges(&[(0, 9)]));
    let target = &plan.groups[&"gb".into()];
    assert!(
        !target.offsets.contains_key(&tp("ab", 1)),
        "it had no position: deleted"
    );
}

#[test]
fn an_unrestored_reader_past_the_bound_is_contaminated_and_named() {
    let mut facts = world();
    let audit = facts.groups_now.get_mut(&"gaudit".into()).unwrap();
    audit.committed.insert(tp("ab", 0), Offset(101));
    assert!(codes(&facts).is_empty(), "it has only passed the marker");
    let audit = facts.groups_now.get_mut(&"gaudit".into()).unwrap();
    audit.committed.insert(tp("ab", 0), Offset(102));
    assert_eq!(codes(&facts), ["CL0314"]);
    facts.allow_contaminated = true;
    let plan = plan(&facts).unwrap();
    assert_eq!(plan.contaminated.len(), 1);
    assert_eq!(plan.contaminated[0].first, Offset(101));
}

#[test]
fn a_reader_without_a_group_is_seen_by_what_was_delivered() {
    let mut facts = world();
    let audit = facts.sidecars.get_mut(&sidecar("audit")).unwrap();
    audit.delivered.insert(tp("ab", 0), Offset(110));
    assert_eq!(codes(&facts), ["CL0314"]);
}

#[test]
fn restoring_the_reader_too_heals_contamination() {
    let mut facts = world();
    let audit = facts.groups_now.get_mut(&"gaudit".into()).unwrap();
    audit.committed.insert(tp("ab", 0), Offset(130));
    facts.restored = services(&["a", "b", "audit"]);
    assert!(codes(&facts).is_empty());
}

#[test]
fn a_compacted_topic_is_refused_only_when_something_on_it_is_rolled_back() {
    let mut facts = world();
    facts.topics_now.get_mut(&"ab".into()).unwrap().compacted = true;
    assert_eq!(codes(&facts), ["CL0317"], "nothing is known of it");
    let only_control = Writers {
        control: ranges(&[(100, 130)]),
        ..Writers::default()
    };
    facts.writers.insert(tp("ab", 0), only_control);
    assert!(codes(&facts).is_empty());
}

#[test]
fn a_group_without_position_and_one_that_began_since_are_named() {
    let mut facts = world();
    let a = facts.cut.sidecars.get_mut(&sidecar("a")).unwrap();
    a.positions.insert(("ga".into(), tp("ba", 0)), None);
    let mut newcomer = facts.groups_now[&"ga".into()].clone();
    newcomer.members.clear();
    facts.groups_now.insert("later".into(), newcomer);
    let plan = plan(&facts).unwrap();
    let none = Notice::NoPosition {
        group: "ga".into(),
        partition: tp("ba", 0),
    };
    assert!(plan.notices.contains(&none));
    assert!(plan.notices.contains(&Notice::GroupSince("later".into())));
    assert!(plan.groups[&"later".into()].offsets.is_empty());
    assert!(plan.groups[&"ga".into()].offsets.is_empty());
}

#[test]
fn a_reader_of_no_service_is_named_and_stops_nothing() {
    let mut facts = world();
    facts.outside_readers = [("tool".into(), [(tp("ab", 0), Offset(130))].into())].into();
    let notices = plan(&facts).unwrap().notices;
    assert!(
        notices
            .iter()
            .any(|n| matches!(n, Notice::OutsideReader { .. }))
    );
}
