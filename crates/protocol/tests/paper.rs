//! One test per rule of the protocol that the core carries, each named as the promise it keeps, driven by hand and in
//! virtual time. What many processes do together is the simulation's.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{
    Capture, Closing, Epoch, FromSidecar, GroupId, Guarantee, InputPartition, Limits, MarkerId,
    Mode, Offset, OffsetRange, PartitionOffset, Purpose, Role, Scope, SidecarId, ToSidecar,
    TopicPartition, View,
};
use cutline_protocol::{
    Aborted, Admission, Batch, ConnId, Control, Cut, Delivery, End, MarkPair, Moment, Process,
    ProcessConfig, ProcessOutput, ProduceAnswer, ProduceIntent, SidecarPart, Ticket, Verdict,
    Violation,
};

const CONN: ConnId = ConnId(1);
const EPOCH: Epoch = Epoch(7);
const OWN: MarkerId = MarkerId {
    producer_id: 1,
    producer_epoch: 3,
};
const SPARE: MarkerId = MarkerId {
    producer_id: 2,
    producer_epoch: 5,
};
const OTHER: MarkerId = MarkerId {
    producer_id: 9,
    producer_epoch: 4,
};

fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

fn input(partition: i32) -> TopicPartition {
    TopicPartition::new("in", partition)
}

fn out(partition: i32) -> TopicPartition {
    TopicPartition::new("out", partition)
}

fn data(base: i64, count: i32) -> Batch {
    Batch {
        base: Offset(base),
        last: Offset(base + i64::from(count) - 1),
        records: count,
        producer: None,
        transactional: false,
        control: None,
        complete: true,
    }
}

fn control(base: i64, producer: MarkerId, kind: Control) -> Batch {
    Batch {
        producer: Some(producer),
        control: Some(kind),
        transactional: true,
        ..data(base, 1)
    }
}

/// One process that reads `in-0` and `in-1` in group `g` and produces to `out-0`.
struct Scene {
    process: Process,
    outputs: Vec<ProcessOutput>,
}

impl Scene {
    fn new() -> Self {
        let mut process = Process::new(ProcessConfig {
            id: SidecarId::new("a", "0"),
            incarnation: "run".into(),
            scope: Scope::Instance,
            capture: Capture::Commit,
            guarantee: Guarantee::Consistent,
            has_state: true,
            rebuildable: BTreeSet::new(),
        });
        process.handle_registered(["out".into()]);
        process.handle_member(&GroupId::from("g"), "m", true);
        let mut scene = Self {
            process,
            outputs: Vec::new(),
        };
        for partition in [0, 1] {
            assert!(
                scene
                    .process
                    .may_fetch(at(0), CONN, &input(partition), Offset(0))
            );
        }
        scene.take();
        scene
    }

    fn armed(mode: Mode) -> Self {
        let mut scene = Self::new();
        scene.tell(0, prepare(mode));
        scene.process.handle_pairs(at(0), EPOCH, Ok((OWN, SPARE)));
        scene.tell(0, arm());
        scene
    }

    fn tell(&mut self, millis: u64, message: ToSidecar) {
        self.process.handle_message(at(millis), message);
        self.take();
    }

    fn take(&mut self) {
        while let Some(output) = self.process.poll_output() {
            self.outputs.push(output);
        }
    }

    fn said(&mut self, what: impl Fn(&ProcessOutput) -> bool) -> bool {
        self.take();
        self.outputs.iter().any(what)
    }

    fn declined(&mut self) -> Option<String> {
        self.take();
        self.outputs.iter().find_map(|output| match output {
            ProcessOutput::Send(FromSidecar::Declined { reason, .. }) => Some(reason.clone()),
            _ => None,
        })
    }

    fn deliver(
        &mut self,
        millis: u64,
        partition: i32,
        batches: &[Batch],
    ) -> (Delivery, Vec<Verdict>) {
        self.deliver_over(CONN, Aborted::Shown, millis, partition, batches)
    }

    fn deliver_over(
        &mut self,
        conn: ConnId,
        aborted: Aborted,
        millis: u64,
        partition: i32,
        batches: &[Batch],
    ) -> (Delivery, Vec<Verdict>) {
        let mut verdicts = Vec::new();
        let delivery = self.process.deliver(
            at(millis),
            conn,
            &input(partition),
            aborted,
            batches,
            &mut verdicts,
        );
        self.take();
        (delivery, verdicts)
    }

    /// Whether the looks into the log that were asked for are only for what was committed.
    fn looks_only_for_committed(&self) -> Vec<bool> {
        let looks = self.outputs.iter().filter_map(|output| match output {
            ProcessOutput::LookAside { committed_only, .. } => Some(*committed_only),
            _ => None,
        });
        looks.collect()
    }

    /// Answers the last question for committed offsets with `committed` on both partitions.
    fn commit(&mut self, millis: u64, committed: [i64; 2]) {
        self.take();
        let read = self.outputs.iter().rev().find_map(|output| match output {
            ProcessOutput::ReadCommitted { read, .. } => Some(*read),
            _ => None,
        });
        let offsets = [0, 1].map(|p| {
            (
                (GroupId::from("g"), input(p)),
                Some(Offset(committed[p as usize])),
            )
        });
        let read = read.expect("committed offsets were asked for");
        self.process
            .handle_committed(at(millis), read, Ok(BTreeMap::from(offsets)));
        self.take();
    }

    fn produce(&mut self, millis: u64, partition: i32) -> Admission {
        let partitions = [out(partition)];
        let intent = ProduceIntent {
            conn: CONN,
            transactional_id: None,
            answered: true,
            partitions: &partitions,
        };
        let admission = self.process.admit_produce(at(millis), &intent);
        self.take();
        admission
    }

    /// Up to the moment where the state has to be fixed: ten records of each partition delivered and committed.
    fn recording() -> Self {
        let mut scene = Self::armed(Mode::Unaligned);
        scene.deliver(1, 0, &[data(0, 10)]);
        scene.deliver(1, 1, &[data(0, 10)]);
        scene.tell(2, ToSidecar::Go { epoch: EPOCH });
        scene.commit(3, [10, 10]);
        scene.commit(4, [10, 10]);
        assert!(scene.said(|output| *output == ProcessOutput::Record(EPOCH)));
        scene
    }
}

fn prepare(mode: Mode) -> ToSidecar {
    let (view, purpose, limits) = (View(1), Purpose::Checkpoint, Limits::default());
    ToSidecar::Prepare {
        epoch: EPOCH,
        view,
        mode,
        purpose,
        limits,
    }
}

fn arm() -> ToSidecar {
    let inputs = [0, 1].map(|p| InputPartition {
        group: "g".into(),
        partition: input(p),
    });
    ToSidecar::Arm {
        epoch: EPOCH,
        markers: vec![OWN, SPARE, OTHER],
        inputs: inputs.to_vec(),
        outputs: vec![out(0)],
        role: Role::Solo,
    }
}

fn ticket(admission: Admission) -> Ticket {
    match admission {
        Admission::Pass(Some(ticket)) => ticket,
        other => panic!("it was to pass: {other:?}"),
    }
}

#[test]
fn a_marker_nobody_was_armed_for_passes() {
    let mut scene = Scene::new();
    let (delivery, _) = scene.deliver(
        1,
        0,
        &[data(0, 3), control(3, OTHER, Control::Commit), data(4, 1)],
    );
    assert_eq!(delivery, Delivery::Unchanged);
}

#[test]
fn the_prefix_before_a_marker_is_delivered_and_the_rest_stays_back() {
    let mut scene = Scene::armed(Mode::Aligned);
    let (_, verdicts) = scene.deliver(
        1,
        0,
        &[data(0, 3), control(3, OTHER, Control::Commit), data(4, 1)],
    );
    assert_eq!(verdicts, [Verdict::Pass, Verdict::Stop]);
    assert!(
        !scene.process.may_fetch(at(2), CONN, &input(0), Offset(3)),
        "held at the marker"
    );
    assert!(
        scene.process.may_fetch(at(2), CONN, &input(1), Offset(0)),
        "the others go on"
    );
}

#[test]
fn an_abort_is_no_marker() {
    let mut scene = Scene::armed(Mode::Aligned);
    let (delivery, _) = scene.deliver(1, 0, &[control(0, OTHER, Control::Abort), data(1, 1)]);
    assert_eq!(delivery, Delivery::Unchanged);
}

#[test]
fn unaligned_holds_all_input_at_the_first_marker() {
    let mut scene = Scene::armed(Mode::Unaligned);
    scene.deliver(1, 0, &[control(0, OTHER, Control::Commit)]);
    assert!(!scene.process.may_fetch(at(2), CONN, &input(1), Offset(0)));
}

#[test]
fn a_repeated_marker_is_ignored_after_the_cut() {
    let mut scene = Scene::recording();
    scene.process.handle_recorded(at(5), EPOCH, Ok(()));
    scene
        .process
        .handle_marked(at(6), EPOCH, MarkPair::Main, Ok(()));
    let (delivery, _) = scene.deliver(7, 0, &[control(10, OTHER, Control::Commit), data(11, 1)]);
    assert_eq!(delivery, Delivery::Unchanged);
}

#[test]
fn nothing_is_recorded_before_all_that_was_delivered_is_committed() {
    let mut scene = Scene::armed(Mode::Unaligned);
    scene.deliver(1, 0, &[data(0, 10)]);
    scene.tell(2, ToSidecar::Go { epoch: EPOCH });
    scene.commit(3, [9, 0]);
    assert!(!scene.said(|output| *output == ProcessOutput::Record(EPOCH)));
    assert!(
        !scene.process.outputs().is_closed(),
        "what is under way may still be produced"
    );
}

#[test]
fn aborted_records_count_when_one_of_two_readers_was_given_them() {
    let looks = |readers: &[(ConnId, Aborted)]| {
        let mut scene = Scene::armed(Mode::Unaligned);
        let batch = Batch {
            transactional: true,
            ..data(0, 10)
        };
        for (conn, aborted) in readers {
            scene.deliver_over(*conn, *aborted, 1, 0, &[batch]);
        }
        scene.tell(2, ToSidecar::Go { epoch: EPOCH });
        scene.commit(3, [9, 0]);
        scene.looks_only_for_committed()
    };
    let other = ConnId(2);
    assert_eq!(looks(&[(CONN, Aborted::Hidden)]), [true]);
    let both = [(CONN, Aborted::Hidden), (other, Aborted::Shown)];
    assert_eq!(looks(&both), [false]);
}

#[test]
fn a_commit_after_the_gate_was_shut_opens_it_again() {
    let mut scene = Scene::armed(Mode::Unaligned);
    scene.tell(2, ToSidecar::Go { epoch: EPOCH });
    scene.commit(3, [0, 0]);
    assert!(scene.process.outputs().is_closed());
    scene.commit(4, [1, 0]);
    assert!(!scene.process.outputs().is_closed());
    assert!(!scene.said(|output| *output == ProcessOutput::Record(EPOCH)));
}

#[test]
fn an_unanswered_produce_keeps_the_state_from_being_recorded() {
    let mut scene = Scene::armed(Mode::Unaligned);
    let ticket = ticket(scene.produce(1, 0));
    scene.tell(2, ToSidecar::Go { epoch: EPOCH });
    scene.commit(3, [0, 0]);
    assert!(scene.process.outputs().is_closed());
    assert!(!scene.said(|output| *output == ProcessOutput::Record(EPOCH)));
    let landed = ProduceAnswer::Landed(OffsetRange::new(Offset(0), Offset(1)));
    scene
        .process
        .handle_produce_answer(at(4), ticket, &[(out(0), landed)]);
    scene.commit(5, [0, 0]);
    assert!(scene.said(|output| *output == ProcessOutput::Record(EPOCH)));
}

#[test]
fn a_produce_at_the_shut_gate_before_recording_fails_the_attempt() {
    let mut scene = Scene::recording();
    assert_eq!(scene.produce(5, 0), Admission::Wait);
    assert!(
        scene
            .declined()
            .is_some_and(|reason| reason.contains("gate"))
    );
    assert!(
        !scene.process.outputs().is_closed(),
        "every gate opens again"
    );
}

#[test]
fn the_gate_opens_only_when_the_markers_are_in_the_log() {
    let mut scene = Scene::recording();
    scene.process.handle_recorded(at(5), EPOCH, Ok(()));
    assert!(scene.said(|output| matches!(output, ProcessOutput::Mark { marker: OWN, .. })));
    assert_eq!(scene.produce(6, 0), Admission::Wait);
    scene
        .process
        .handle_marked(at(7), EPOCH, MarkPair::Main, Ok(()));
    assert!(matches!(scene.produce(8, 0), Admission::Pass(Some(_))));
}

#[test]
fn a_late_mark_precedes_the_first_produce_to_an_unmarked_partition() {
    let mut scene = Scene::recording();
    scene.process.handle_recorded(at(5), EPOCH, Ok(()));
    scene
        .process
        .handle_marked(at(6), EPOCH, MarkPair::Main, Ok(()));
    assert_eq!(scene.produce(7, 3), Admission::Wait);
    assert!(scene.said(|output| matches!(output, ProcessOutput::Mark { marker: SPARE, .. })));
    scene
        .process
        .handle_marked(at(8), EPOCH, MarkPair::Spare, Ok(()));
    assert!(matches!(scene.produce(9, 3), Admission::Pass(Some(_))));
}

#[test]
fn the_watchdog_opens_everything() {
    let mut scene = Scene::recording();
    let limit = Limits::default().max_pause_ms;
    scene.process.handle_timeout(at(limit + 10));
    assert!(scene.declined().is_some());
    assert!(!scene.process.outputs().is_closed());
    assert!(
        scene
            .process
            .may_fetch(at(limit + 11), CONN, &input(0), Offset(10))
    );
}

#[test]
fn a_process_whose_alignment_times_out_goes_on_unaligned() {
    let mut scene = Scene::armed(Mode::Aligned);
    scene.deliver(1, 0, &[control(0, OTHER, Control::Commit)]);
    scene
        .process
        .handle_timeout(at(Limits::default().alignment_ms + 10));
    assert!(
        !scene
            .process
            .may_fetch(at(5_000), CONN, &input(1), Offset(0))
    );
}

#[test]
fn a_sidecar_that_was_thawed_never_reports() {
    let mut scene = Scene::recording();
    scene
        .process
        .handle_timeout(at(Limits::default().max_pause_ms + 10));
    scene.process.handle_recorded(at(20_000), EPOCH, Ok(()));
    scene
        .process
        .handle_marked(at(20_001), EPOCH, MarkPair::Main, Ok(()));
    assert!(
        !scene.said(|output| matches!(output, ProcessOutput::Send(FromSidecar::Reported { .. })))
    );
}

#[test]
fn a_rebalance_before_the_report_declines() {
    let mut scene = Scene::armed(Mode::Aligned);
    scene.process.handle_rebalance(at(1), &GroupId::from("g"));
    assert!(
        scene
            .declined()
            .is_some_and(|reason| reason.contains("rebalancing"))
    );
}

#[test]
fn after_a_restart_of_the_sidecar_an_unfetched_partition_declines() {
    let mut scene = Scene::new();
    scene
        .process
        .handle_member(&GroupId::from("g"), "joined before this run", false);
    scene.tell(0, prepare(Mode::Unaligned));
    scene.process.handle_pairs(at(0), EPOCH, Ok((OWN, SPARE)));
    let partition = TopicPartition::new("in", 5);
    let inputs = vec![InputPartition {
        group: "g".into(),
        partition: partition.clone(),
    }];
    let (markers, outputs, role) = (vec![OWN], vec![], Role::Solo);
    scene.tell(
        0,
        ToSidecar::Arm {
            epoch: EPOCH,
            markers,
            inputs,
            outputs,
            role,
        },
    );
    scene.tell(1, ToSidecar::Go { epoch: EPOCH });
    let read = scene.outputs.iter().rev().find_map(|output| match output {
        ProcessOutput::ReadCommitted { read, .. } => Some(*read),
        _ => None,
    });
    let committed = BTreeMap::from([((GroupId::from("g"), partition), Some(Offset(3)))]);
    scene
        .process
        .handle_committed(at(2), read.expect("asked"), Ok(committed));
    assert!(scene.declined().is_some());
}

#[test]
fn a_failed_epoch_leaves_nothing_held() {
    let mut scene = Scene::recording();
    let closing = Closing::Failed {
        reason: "another declined".into(),
    };
    scene.tell(
        5,
        ToSidecar::Close {
            epoch: EPOCH,
            closing,
        },
    );
    assert!(!scene.process.outputs().is_closed());
    assert!(scene.process.may_fetch(at(6), CONN, &input(0), Offset(10)));
    assert!(scene.said(|output| *output == ProcessOutput::Discard(EPOCH)));
}

// ---- the arithmetic of a cut ----

fn cut(position: i64, marker: i64, end: i64) -> Cut {
    let reader = SidecarPart {
        incarnation: "r".into(),
        capture: Capture::Commit,
        markers: BTreeMap::new(),
        late: BTreeSet::new(),
        ranges: BTreeMap::new(),
        positions: BTreeMap::from([(("g".into(), out(0)), Some(Offset(position)))]),
        unaligned: false,
        timings: Default::default(),
    };
    let markers = BTreeMap::from([(out(0), Offset(marker))]);
    let writer = SidecarPart {
        markers,
        positions: BTreeMap::new(),
        ..reader.clone()
    };
    let (reading, writing) = (SidecarId::new("reader", "0"), SidecarId::new("writer", "0"));
    Cut {
        epoch: EPOCH,
        view: View(1),
        mode: Mode::Aligned,
        processes: BTreeMap::new(),
        assignments: BTreeMap::from([(reading.clone(), BTreeSet::from([("g".into(), out(0))]))]),
        sidecars: BTreeMap::from([(reading, reader), (writing, writer)]),
        idle: BTreeMap::new(),
        barriers: BTreeMap::new(),
        ends: BTreeMap::from([(
            out(0),
            End {
                offset: Offset(end),
                leader_epoch: 0,
            },
        )]),
        outputs: BTreeMap::new(),
    }
}

/// Chandy and Lamport's two processes and one channel: money that the receiver holds and the sender never sent.
#[test]
fn a_position_past_the_first_marker_is_refused() {
    assert!(matches!(
        cut(11, 10, 20).check(),
        Err(Violation::PastMarker { .. })
    ));
    assert_eq!(cut(10, 10, 20).check(), Ok(()));
}

#[test]
fn a_marker_past_the_listed_end_is_refused() {
    assert!(matches!(
        cut(5, 20, 20).check(),
        Err(Violation::MarkerPastEnd { .. })
    ));
}

#[test]
fn an_assigned_partition_without_a_position_is_refused() {
    let mut cut = cut(5, 10, 20);
    cut.sidecars
        .get_mut(&SidecarId::new("reader", "0"))
        .expect("made above")
        .positions
        .clear();
    assert!(matches!(cut.check(), Err(Violation::NoPosition { .. })));
}

#[test]
fn where_a_marker_is_found_is_what_is_reported() {
    let mut scene = Scene::recording();
    scene.process.handle_recorded(at(5), EPOCH, Ok(()));
    scene
        .process
        .handle_marked(at(6), EPOCH, MarkPair::Main, Ok(()));
    let found = vec![PartitionOffset {
        partition: out(0),
        offset: Offset(42),
    }];
    scene
        .process
        .handle_located(at(7), EPOCH, MarkPair::Main, Ok(found.clone()));
    assert!(scene.said(|output| match output {
        ProcessOutput::Send(FromSidecar::Reported { report, .. }) => report.markers == found,
        _ => false,
    }));
}
