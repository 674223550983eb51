//! A small world for tests: services `a` and `b` that send to each other, and `audit`, which reads what `a` sends.
//!
//! `a` writes `ab`, `b` writes `ba`. The checkpoint's markers stand at 100 on `ab-0` and at 50 on `ba-0`; both logs went on
//! for thirty records since.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{
    Capture, Epoch, GroupId, Mode, Offset, OffsetRange, PartRef, ProcessId, RangeSet, Scope,
    ServiceName, SidecarId, Timings, TopicPartition, View,
};

use super::{Facts, GroupNow, MemberNow, PartitionNow, SidecarNow, TopicNow, Writers};
use crate::{Cut, End, ProcessPart, SidecarPart, mask::Masks};

pub(super) fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

pub(super) fn range(start: i64, end: i64) -> OffsetRange {
    OffsetRange::new(Offset(start), Offset(end))
}

pub(super) fn ranges(parts: &[(i64, i64)]) -> RangeSet {
    parts
        .iter()
        .map(|&(start, end)| range(start, end))
        .collect()
}

pub(super) fn services(names: &[&str]) -> BTreeSet<ServiceName> {
    names.iter().map(|&name| name.into()).collect()
}

pub(super) fn sidecar(service: &str) -> SidecarId {
    SidecarId::new(service, "0")
}

pub(super) fn process(service: &str) -> ProcessId {
    ProcessId {
        service: service.into(),
        instance: Some("0".into()),
    }
}

/// `a` and `b` are restored.
pub(super) fn world() -> Facts {
    let names = ["a", "b", "audit"];
    Facts {
        cut: cut(),
        topics_then: [("ab".into(), "id-ab".into()), ("ba".into(), "id-ba".into())].into(),
        masks_then: Masks::default(),
        cluster_then: "kafka".into(),
        cluster_now: "kafka".into(),
        damaged: BTreeMap::new(),
        restored: services(&["a", "b"]),
        topics_now: [
            ("ab".into(), topic_now("id-ab", 130)),
            ("ba".into(), topic_now("id-ba", 80)),
        ]
        .into(),
        masks_now: Masks::default(),
        outputs_now: outputs(),
        groups_now: [
            group("a", "ga", "ba", 70),
            group("b", "gb", "ab", 120),
            group("audit", "gaudit", "ab", 100),
        ]
        .into(),
        sidecars: names.map(|name| (sidecar(name), sidecar_now())).into(),
        away: BTreeSet::new(),
        writers: [
            (tp("ab", 0), written("a", &[(101, 130)])),
            (tp("ba", 0), written("b", &[(51, 80)])),
        ]
        .into(),
        tables: BTreeMap::new(),
        cut_ms: 0,
        now_ms: 0,
        outside_readers: BTreeMap::new(),
        allow_contaminated: false,
    }
}

pub(super) fn written(service: &str, parts: &[(i64, i64)]) -> Writers {
    Writers {
        by: [(service.into(), ranges(parts))].into(),
        ..Writers::default()
    }
}

pub(super) fn sidecar_now() -> SidecarNow {
    SidecarNow {
        scope: Scope::Instance,
        has_state: true,
        delivered: BTreeMap::new(),
    }
}

pub(super) fn partition_now(end: i64) -> PartitionNow {
    PartitionNow {
        log_start: Offset(0),
        end: Offset(end),
        epoch_end: Some(Offset(end)),
    }
}

fn topic_now(id: &str, end: i64) -> TopicNow {
    TopicNow {
        id: id.to_owned(),
        compacted: false,
        partitions: [(0, partition_now(end))].into(),
    }
}

fn group(service: &str, group: &str, reads: &str, committed: i64) -> (GroupId, GroupNow) {
    let member = MemberNow {
        id: format!("member-of-{group}"),
        sidecar: Some(sidecar(service)),
        is_static: true,
        partitions: [tp(reads, 0)].into(),
    };
    let now = GroupNow {
        service: service.into(),
        members: vec![member],
        committed: [(tp(reads, 0), Offset(committed))].into(),
    };
    (group.into(), now)
}

fn outputs() -> BTreeMap<ServiceName, BTreeSet<cutline_model::TopicName>> {
    [
        ("a".into(), BTreeSet::from(["ab".into()])),
        ("b".into(), BTreeSet::from(["ba".into()])),
    ]
    .into()
}

fn cut() -> Cut {
    let end = |offset| End {
        offset: Offset(offset),
        leader_epoch: 0,
    };
    let names = ["a", "b", "audit"];
    Cut {
        epoch: Epoch(3),
        view: View(1),
        mode: Mode::Aligned,
        processes: names.map(|name| (process(name), process_part(name))).into(),
        sidecars: [
            part("a", ("ga", "ba", 50), Some(("ab", 100))),
            part("b", ("gb", "ab", 90), Some(("ba", 50))),
            part("audit", ("gaudit", "ab", 95), None),
        ]
        .into(),
        assignments: BTreeMap::new(),
        idle: BTreeMap::new(),
        barriers: BTreeMap::new(),
        ends: [(tp("ab", 0), end(105)), (tp("ba", 0), end(55))].into(),
        outputs: outputs(),
    }
}

fn process_part(service: &str) -> ProcessPart {
    ProcessPart {
        scope: Scope::Instance,
        guarantee: Default::default(),
        sidecars: [sidecar(service)].into(),
        part: Some(PartRef {
            key: format!("parts/{service}"),
            hash: "00".into(),
            state_bytes: 1,
            uploaded_bytes: 1,
            provider: "dir".into(),
            async_ms: 0,
        }),
    }
}

fn part(
    service: &str,
    (group, reads, position): (&str, &str, i64),
    marker: Option<(&str, i64)>,
) -> (SidecarId, SidecarPart) {
    let part = SidecarPart {
        incarnation: "run".into(),
        capture: Capture::Commit,
        markers: marker
            .map(|(topic, at)| (tp(topic, 0), Offset(at)))
            .into_iter()
            .collect(),
        late: BTreeSet::new(),
        ranges: BTreeMap::new(),
        positions: [((group.into(), tp(reads, 0)), Some(Offset(position)))].into(),
        unaligned: false,
        timings: Timings::default(),
    };
    (sidecar(service), part)
}
