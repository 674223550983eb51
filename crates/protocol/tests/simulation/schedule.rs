//! What a seed decides before anything happens: topology, mode, speeds, faults, and which danger to seek.
//!
//! A plan is plain data. Everything that happens later draws from the same seed, so a seed is a whole schedule.

use cutline_model::{Capture, Limits, Mode, Scope};
use cutline_protocol::Rules;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

/// Which broken rule a schedule is bent to expose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Danger {
    /// None: every rule is kept.
    None,
    /// Nobody waits until all are armed, and nobody adds up afterwards.
    NoArmBarrier,
    /// Nobody waits until all are armed, but the manifest's arithmetic is kept.
    NoArmBarrierAddedUp,
    /// The gate opens when EndTxn answers, before the markers are in the log.
    GateOnEndTxn,
    /// Ends are listed after the confirmations.
    EndsAfterConfirmations,
    /// A restarted sidecar goes unseen.
    RestartUnseen,
    /// A sidecar that joined goes unseen.
    JoinUnseen,
    /// A barrier is taken for a bound.
    BarrierIsBound,
    /// What a writer appended between another's marker and its own is forgotten.
    RangeForgotten,
    /// A mask starts at the last marker instead of the first.
    MaskStartsLate,
    /// A first Produce to an unmarked partition is not preceded by a late mark.
    NoLateMark,
    /// An application is fenced with records in hand that its client fetched ahead.
    FencedUnfinished,
}

impl Danger {
    /// The rules with this one broken.
    pub fn rules(self) -> Rules {
        let mut rules = Rules::default();
        match self {
            Self::None | Self::GateOnEndTxn => {}
            Self::NoArmBarrier => {
                rules.arm_barrier = false;
                rules.arithmetic = false;
            }
            Self::NoArmBarrierAddedUp => rules.arm_barrier = false,
            Self::EndsAfterConfirmations => rules.list_before_confirm = false,
            Self::RestartUnseen => rules.see_restarts = false,
            Self::JoinUnseen => rules.see_joins = false,
            Self::BarrierIsBound => rules.barrier_is_no_bound = false,
            Self::RangeForgotten => rules.keep_ranges = false,
            Self::MaskStartsLate => rules.mask_from_first_marker = false,
            Self::NoLateMark => rules.late_marks = false,
            Self::FencedUnfinished => rules.finish_before_fence = false,
        }
        rules
    }
}

/// A topic.
#[derive(Clone, Debug)]
pub struct TopicPlan {
    /// How many partitions.
    pub partitions: usize,
    /// False: made by the first Produce.
    pub exists: bool,
}

/// A service.
#[derive(Clone, Debug)]
pub struct ServicePlan {
    /// Whose state is one state.
    pub scope: Scope,
    /// How its work is known to be finished.
    pub capture: Capture,
    /// False: nothing to fix.
    pub has_state: bool,
    /// Its instances at the start.
    pub instances: usize,
    /// What each of its groups reads.
    pub groups: Vec<Vec<usize>>,
    /// What it writes.
    pub writes: Vec<usize>,
    /// What it writes later only.
    pub late_writes: Vec<usize>,
    /// Microseconds between sends that no record caused; none for those that only answer.
    pub every: Option<u64>,
}

/// How often things go wrong, each in thousandths of its occasions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A message between coordinator and sidecar is lost.
    pub lose: u32,
    /// It arrives twice.
    pub double: u32,
    /// It overtakes others.
    pub reorder: u32,
    /// A Produce or its answer is lost, or the answer is retriable.
    pub produce: u32,
    /// A commit's answer, a read or a hook call goes wrong.
    pub call: u32,
    /// How many crashes, joins and leaves there are in a schedule.
    pub events: usize,
    /// The store answers something else than *created*.
    pub store: u32,
    /// The coordinator gives an epoch up.
    pub abort: u32,
}

/// A schedule.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it comes from.
    pub seed: u64,
    /// What it seeks.
    pub danger: Danger,
    /// The mode of every epoch.
    pub mode: Mode,
    /// Topics.
    pub topics: Vec<TopicPlan>,
    /// Services.
    pub services: Vec<ServicePlan>,
    /// Deadlines.
    pub limits: Limits,
    /// Faults.
    pub faults: Faults,
    /// No fault and time enough: every epoch has to commit.
    pub calm: bool,
    /// The longest usual delay of a message, in microseconds.
    pub wire: u64,
    /// The longest usual delay of a marker's append after EndTxn, in microseconds.
    pub marker_lag: u64,
    /// The longest usual delay of the high watermark, in microseconds; zero: none.
    pub high_lag: u64,
    /// The longest time a record takes to process, in microseconds.
    pub work: u64,
    /// How many epochs are tried.
    pub epochs: usize,
    /// After how many epochs there is a restore each.
    pub restores: Vec<usize>,
}

impl Plan {
    /// The schedule of `seed`, bent towards `danger`.
    pub fn new(seed: u64, danger: Danger) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let rng = &mut rng;
        let mode = mode(rng, danger);
        let (topics, mut services) = topology(rng);
        for service in &mut services {
            furnish(rng, service, topics.len(), danger);
        }
        let calm = danger == Danger::None && rng.random_ratio(1, 4);
        let epochs = rng.random_range(2..=4);
        Self {
            seed,
            danger,
            mode,
            topics,
            services,
            limits: limits(rng, calm),
            faults: faults(rng, calm, danger),
            calm,
            wire: *[300, 1_000, 4_000].choose(rng).expect("not empty"),
            marker_lag: *[500, 3_000, 12_000].choose(rng).expect("not empty"),
            high_lag: *[0, 0, 1_000, 4_000].choose(rng).expect("not empty"),
            work: *[300, 1_500, 6_000].choose(rng).expect("not empty"),
            epochs,
            restores: (0..epochs).filter(|_| rng.random_ratio(1, 3)).collect(),
        }
    }
}

fn mode(rng: &mut StdRng, danger: Danger) -> Mode {
    match danger {
        Danger::BarrierIsBound => Mode::Aligned,
        Danger::None => *[Mode::Aligned, Mode::Unaligned, Mode::Synchronous]
            .choose(rng)
            .expect("not empty"),
        _ => *[Mode::Aligned, Mode::Unaligned]
            .choose(rng)
            .expect("not empty"),
    }
}

/// Roomy limits, or ones that the watchdog and every deadline meet now and then.
fn limits(rng: &mut StdRng, calm: bool) -> Limits {
    let tight = !calm && rng.random_ratio(1, 6);
    if tight {
        return Limits {
            max_pause_ms: 70,
            alignment_ms: 12,
            drain_ms: 30,
            record_ms: 12,
            mark_ms: 15,
        };
    }
    Limits {
        max_pause_ms: 900,
        alignment_ms: 100,
        drain_ms: 400,
        record_ms: 150,
        mark_ms: 200,
    }
}

fn faults(rng: &mut StdRng, calm: bool, danger: Danger) -> Faults {
    if calm {
        return Faults::default();
    }
    if danger != Danger::None {
        // The broken rule is to be the only thing that goes wrong, most of the time.
        return Faults {
            produce: 10,
            events: rng.random_range(0..=1),
            ..Faults::default()
        };
    }
    let rough = rng.random_ratio(1, 2);
    Faults {
        lose: if rough { 8 } else { 0 },
        double: rng.random_range(0..60),
        reorder: if rough { 30 } else { 0 },
        produce: rng.random_range(0..40),
        call: if rough { 15 } else { 2 },
        events: rng.random_range(0..=if rough { 6 } else { 2 }),
        store: 20,
        abort: 10,
    }
}

/// Topics and who reads and writes them: chains, fans, cycles, shared partitions, or anything.
fn topology(rng: &mut StdRng) -> (Vec<TopicPlan>, Vec<ServicePlan>) {
    let wide = |rng: &mut StdRng| TopicPlan {
        partitions: rng.random_range(1..=3),
        exists: rng.random_ratio(9, 10),
    };
    let reads_and_writes: Vec<(Vec<usize>, Vec<usize>)> = match rng.random_range(0..6) {
        // A chain.
        0 => vec![
            (vec![], vec![0]),
            (vec![0], vec![1]),
            (vec![1], vec![2]),
            (vec![2], vec![]),
        ],
        // Two that send to each other, and somebody outside.
        1 => vec![(vec![], vec![0]), (vec![0], vec![1]), (vec![1], vec![0])],
        // A fan: one topic, several services.
        2 => vec![
            (vec![], vec![0]),
            (vec![0], vec![1]),
            (vec![0], vec![1]),
            (vec![0, 1], vec![2]),
        ],
        // Several producers to one topic, which has a reader.
        3 => vec![
            (vec![], vec![0]),
            (vec![], vec![0, 1]),
            (vec![1], vec![0]),
            (vec![0], vec![1, 2]),
        ],
        // A ring of three.
        4 => vec![
            (vec![], vec![0]),
            (vec![0], vec![1]),
            (vec![1], vec![2]),
            (vec![2], vec![0]),
        ],
        _ => {
            let some = |rng: &mut StdRng| {
                let count = rng.random_range(1..=2);
                (0..count)
                    .map(|_| rng.random_range(0..4))
                    .collect::<Vec<usize>>()
            };
            let mut all = vec![(vec![], some(rng))];
            for _ in 0..rng.random_range(1..=3) {
                all.push((some(rng), some(rng)));
            }
            all
        }
    };
    let topics: Vec<TopicPlan> = (0..4).map(|_| wide(rng)).collect();
    let services = reads_and_writes.into_iter().map(|(mut reads, mut writes)| {
        reads.sort_unstable();
        reads.dedup();
        writes.sort_unstable();
        writes.dedup();
        ServicePlan {
            scope: Scope::Instance,
            capture: Capture::Commit,
            has_state: true,
            instances: 1,
            groups: if reads.is_empty() {
                Vec::new()
            } else {
                vec![reads]
            },
            writes,
            late_writes: Vec::new(),
            every: None,
        }
    });
    (topics, services.collect())
}

fn furnish(rng: &mut StdRng, service: &mut ServicePlan, topics: usize, danger: Danger) {
    if rng.random_ratio(1, 2) {
        service.scope = Scope::Service;
    }
    service.instances = *[1, 1, 2, 3].choose(rng).expect("not empty");
    let late = match danger {
        Danger::EndsAfterConfirmations
        | Danger::RestartUnseen
        | Danger::NoLateMark
        | Danger::NoArmBarrier
        | Danger::NoArmBarrierAddedUp => 4,
        _ => 1,
    };
    if rng.random_ratio(late, 5) {
        service.late_writes.push(rng.random_range(0..topics));
    }
    let every = Some(rng.random_range(2_000..12_000));
    if service.groups.is_empty() {
        service.every = every;
        if rng.random_ratio(2, 3) {
            service.has_state = false;
        } else {
            service.capture = Capture::Hook;
        }
        return;
    }
    service.has_state = rng.random_ratio(9, 10);
    if rng.random_ratio(1, 4) {
        service.capture = Capture::Hook;
        service.has_state = true;
        if rng.random_ratio(1, 2) {
            service.every = every;
        }
    } else if rng.random_ratio(1, 6) {
        // A second group on some of the same topics.
        let again = service.groups[0].clone();
        service.groups.push(again);
    }
}
