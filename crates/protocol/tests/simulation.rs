//! Seeded schedules over the real process and coordinator, against a model Kafka, judged record by record.
//!
//! `CUTLINE_SIM_SEED=n` runs one seed and tells what happens; `CUTLINE_SIM_SCHEDULES=n` changes how many are run;
//! `CUTLINE_SIM_DANGER=name` with a seed bends it as the test of that broken rule does.

mod simulation {
    pub mod admin;
    pub mod app;
    pub mod broker;
    pub mod event;
    pub mod fault;
    pub mod ledger;
    pub mod member;
    pub mod oracle;
    pub mod reader;
    pub mod restore;
    pub mod schedule;
    pub mod sender;
    pub mod shell;
    pub mod stats;
    pub mod world;
}

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use cutline_model::Mode;
use simulation::{
    schedule::{Danger, Plan},
    stats::Stats,
    world::World,
};

/// Schedules in the ordinary run.
const SCHEDULES: u64 = 10_000;
/// Schedules a broken rule has to be found in.
const SABOTAGE_SCHEDULES: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64, danger: Danger, verbose: bool) -> Result<Stats, String> {
    let plan = Plan::new(seed, danger);
    if verbose {
        eprintln!("{plan:#?}");
    }
    let outcome = std::panic::catch_unwind(|| World::new(plan, verbose).run());
    outcome.unwrap_or_else(|_| Err("the core panicked".to_owned()))
}

/// Runs seeds on every core until one fails; the lowest failing seed found and what all came to.
fn search(schedules: u64, danger: Danger) -> (Stats, Option<(u64, String)>) {
    let (next, found) = (AtomicU64::new(0), AtomicBool::new(false));
    let total = Mutex::new((Stats::default(), None::<(u64, String)>));
    let work = || {
        let mut stats = Stats::default();
        while !found.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= schedules {
                break;
            }
            match run(seed, danger, false) {
                Ok(one) => {
                    stats.schedules += 1;
                    stats.add(one);
                }
                Err(why) => {
                    found.store(true, Ordering::Relaxed);
                    let mut total = total.lock().expect("no thread panics");
                    if total.1.as_ref().is_none_or(|(other, _)| seed < *other) {
                        total.1 = Some((seed, why));
                    }
                }
            }
        }
        total.lock().expect("no thread panics").0.add(stats);
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    total.into_inner().expect("no thread panics")
}

#[test]
fn every_committed_cut_is_consistent_and_every_restore_is_a_run_that_could_have_been() {
    if let Some(seed) = number("CUTLINE_SIM_SEED") {
        let outcome = run(seed, Danger::None, true);
        eprintln!("{outcome:#?}");
        outcome.expect("the seed asked for passes");
        return;
    }
    let schedules = number("CUTLINE_SIM_SCHEDULES").unwrap_or(SCHEDULES);
    let (stats, failure) = search(schedules, Danger::None);
    eprintln!("{stats:#?}");
    if let Some((seed, why)) = failure {
        panic!("seed {seed}: {why}\n  again, with every step: CUTLINE_SIM_SEED={seed}");
    }
    for mode in [Mode::Aligned, Mode::Unaligned, Mode::Synchronous] {
        let rate = stats.rate(mode);
        eprintln!("{mode}: {:.1} % of epochs committed", 100.0 * rate);
        assert!(rate > 0.5, "too few {mode} epochs commit: {rate}");
    }
}

/// Breaks one rule and demands that the judge, and not some deadline, notices.
fn is_caught(danger: Danger) {
    if let Some(seed) = number("CUTLINE_SIM_SEED") {
        eprintln!("{:#?}", run(seed, danger, true));
        return;
    }
    let (stats, failure) = search(SABOTAGE_SCHEDULES, danger);
    let (seed, why) = failure.expect("a broken rule makes some schedule fail");
    eprintln!(
        "{danger:?}: seed {seed}, {} schedules passed: {why}",
        stats.schedules
    );
    assert!(
        why.starts_with("epoch ") || why.starts_with("at the end: "),
        "{danger:?} was noticed otherwise than by states and logs: {why}"
    );
}

#[test]
fn cutting_before_all_are_armed_is_caught() {
    is_caught(Danger::NoArmBarrier);
}

#[test]
fn cutting_before_all_are_armed_fails_epochs_where_the_offsets_are_added_up() {
    let (stats, failure) = search(SABOTAGE_SCHEDULES / 4, Danger::NoArmBarrierAddedUp);
    assert_eq!(failure, None);
    let stopped = stats.failed.iter();
    let stopped = stopped.filter(|(why, _)| why.contains("do not make a consistent cut"));
    let count: u64 = stopped.map(|(_, count)| count).sum();
    eprintln!("{count} epochs were stopped by arithmetic");
    assert!(count > 0, "the danger was never met: {stats:#?}");
}

#[test]
fn a_gate_opened_when_end_txn_answers_is_caught() {
    is_caught(Danger::GateOnEndTxn);
}

#[test]
fn ends_listed_after_the_confirmations_are_caught() {
    is_caught(Danger::EndsAfterConfirmations);
}

#[test]
fn a_restart_unseen_is_caught() {
    is_caught(Danger::RestartUnseen);
}

#[test]
fn a_join_unseen_is_caught() {
    is_caught(Danger::JoinUnseen);
}

#[test]
fn a_barrier_taken_for_a_bound_is_caught() {
    is_caught(Danger::BarrierIsBound);
}

#[test]
fn a_writers_range_forgotten_on_a_shared_partition_is_caught() {
    is_caught(Danger::RangeForgotten);
}

#[test]
fn a_mask_that_starts_at_the_last_marker_is_caught() {
    is_caught(Danger::MaskStartsLate);
}

#[test]
fn a_fence_around_records_in_hand_is_caught() {
    is_caught(Danger::FencedUnfinished);
}

#[test]
fn a_first_produce_without_a_late_mark_is_caught() {
    is_caught(Danger::NoLateMark);
}
