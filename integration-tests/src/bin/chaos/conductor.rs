//! One round after another: a checkpoint, a storm, a rollback, a count.
//!
//! The banks are plain at-least-once applications: killed in the middle of a batch, or expelled from their group, they do it again, and what
//! they sent counts twice, with Cutline and without.
//! So a round ends with a rollback to a checkpoint that was taken before any of that, and must then be right to the last coin. Where
//! nothing disturbed the applications' own work, it ends with any checkpoint of the storm.

use std::time::{Duration, Instant};

use integration_tests::{Sidecar, groups::Progress};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::{
    control::Control,
    fault::Fault,
    holds,
    stage::{Setting, Stage},
    tally::Tally,
};

/// How many admin APIs there are.
const ADMINS: usize = 2;
/// How many faults a storm has.
const STORM_FAULTS_MIN: usize = 3;
const STORM_FAULTS_MAX: usize = 6;
/// How far apart the schedule's checkpoints begin in a storm.
const INTERVAL_MS: u64 = 1_500;
/// How long records flow before a storm and between its faults.
const CALM: Duration = Duration::from_millis(800);
/// How long after the end of a fault every partition of every bank may take until it moves again.
const PROGRESS_LIMIT: Duration = Duration::from_secs(60);
/// How long a rollback may take, with all that is in its way.
const ROLL_BACK_LIMIT: Duration = Duration::from_secs(300);
/// How long the money may take to come to rest.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
/// The longest an application may be held: `max-pause`, left at its default.
const MAX_PAUSE_SECONDS: f64 = 10.0;
/// How long after its beginning a rollback is struck at most.
const STRIKE_WITHIN_MS: u64 = 1_500;
/// How many of a storm's checkpoints are read whole again.
const VERIFIED_MAX: usize = 3;
/// How much of a log is shown after a violation.
const LOG_LINES: usize = 25;
const ASSIGNORS: [&str; 3] = ["range", "cooperative-sticky", "consumer"];
const MODES: [&str; 3] = ["aligned", "unaligned", "synchronous"];

/// The run.
pub struct Conductor {
    stage: Stage,
    control: Control,
    faults: Vec<Fault>,
    random: StdRng,
    tally: Tally,
    holds: tokio::task::JoinHandle<()>,
}

impl Conductor {
    /// Sets the stage.
    pub async fn begin(seed: u64, faults: Vec<Fault>, tally: Tally) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let setting = Setting {
            admins: ADMINS,
            assignor: ASSIGNORS.choose(&mut random).expect("there are assignors"),
            hook: random.random_bool(0.5),
        };
        let mut stage = Stage::set(&setting).await;
        tally.note(&format!("all parts are up: {setting:?}"));
        let (faults, left_out): (Vec<Fault>, Vec<Fault>) = faults
            .into_iter()
            .partition(|fault| fault.is_possible_on(&mut stage));
        for fault in left_out {
            tally.note(&format!("{} is not possible here", fault.name()));
        }
        Self {
            control: Control::of(&stage),
            holds: holds::watch(stage.metrics_urls(), stage.stopped.clone(), tally.clone()),
            stage,
            faults,
            random,
            tally,
        }
    }

    /// Begins rounds for `time`, and ends the last one, or stops at the first violation: a world that is wrong stays wrong.
    pub async fn conduct(&mut self, time: Duration) {
        let start = Instant::now();
        let mut round = 0;
        while start.elapsed() < time && self.tally.violations() == 0 {
            round += 1;
            self.tally.note(&format!("round {round}"));
            if let Err(what) = self.round(round).await {
                self.tally.violated(&what);
            }
        }
        self.holds.abort();
        let longest = self.tally.hold_seconds_max();
        if longest >= MAX_PAUSE_SECONDS {
            self.tally
                .violated(&format!("an application was held for {longest:.3} s"));
        }
    }

    async fn round(&mut self, round: u32) -> Result<(), String> {
        let base = self.base(round).await?;
        let disturbed = self.storm().await?;
        let taken = self.control.completed_since(base).await;
        self.tally.checkpoints(1 + taken.len());
        let target = taken.choose(&mut self.random).copied().unwrap_or(base);
        self.tally.note(&format!(
            "{} completed in the storm; back to {target}",
            taken.len()
        ));
        self.roll_back(target, true).await?;
        if disturbed && target != base {
            // What it brought back may hold what the storm made the applications do twice.
            self.progress().await?;
            self.tally
                .note(&format!("back to {base}, from before the storm"));
            self.roll_back(base, true).await?;
        }
        self.count(base).await?;
        for epoch in taken.iter().rev().take(VERIFIED_MAX).chain([&base]) {
            let read = self.control.verify(*epoch).await;
            read.map_err(|why| format!("checkpoint {epoch} is not readable: {why}"))?;
        }
        self.stage.start_load();
        Ok(())
    }

    /// A checkpoint of a world that is right; kept, however many follow.
    async fn base(&mut self, round: u32) -> Result<u64, String> {
        tokio::time::sleep(CALM).await;
        self.all_connected().await?;
        let mode = self.mode();
        let name = format!("round-{round}");
        let base = self.control.checkpoint(mode, &name).await;
        let base = base.map_err(|why| format!("no checkpoint before the storm: {why}"))?;
        self.tally.note(&format!("checkpoint {base}, {mode}"));
        Ok(base)
    }

    /// Strikes several times while checkpoints are taken. True when the applications' own work was disturbed.
    async fn storm(&mut self) -> Result<bool, String> {
        let mode = self.mode();
        self.control.schedule(Some(INTERVAL_MS), mode).await;
        let refused = self.stage.bank.commits_refused();
        let mut disturbed = false;
        for _ in 0..self
            .random
            .random_range(STORM_FAULTS_MIN..=STORM_FAULTS_MAX)
        {
            let fault = self.pick(|_| true);
            self.strike(fault).await;
            disturbed |= fault.disturbs_work() | self.revive();
            tokio::time::sleep(CALM).await;
            self.progress().await?;
        }
        self.control.schedule(None, mode).await;
        let refused = self.stage.bank.commits_refused() - refused;
        if refused > 0 {
            self.tally.note(&format!(
                "{refused} commits were refused: work was done again"
            ));
        }
        Ok(disturbed | self.revive() | (refused > 0))
    }

    async fn roll_back(&mut self, epoch: u64, may_strike: bool) -> Result<(), String> {
        let start = Instant::now();
        let mut last = String::new();
        while start.elapsed() < ROLL_BACK_LIMIT {
            self.revive();
            self.all_connected().await?;
            let id = self.control.begin_restore(epoch).await;
            let id = id.map_err(|why| format!("no restore of {epoch} begins: {why}"))?;
            if may_strike && self.random.random_bool(0.5) {
                let wait = self.random.random_range(0..STRIKE_WITHIN_MS);
                tokio::time::sleep(Duration::from_millis(wait)).await;
                let fault = self.pick(|fault| !fault.disturbs_work());
                self.strike(fault).await;
            }
            let (status, view) = self.control.ended_restore(&id).await?;
            if status == "COMPLETED" {
                self.tally.restored();
                return Ok(());
            }
            last = view["reason"].to_string();
            self.tally
                .note(&format!("restore {id} is {status}: {last}"));
        }
        Err(format!("no restore of {epoch} completes: {last}"))
    }

    /// Lets everything come to rest, and looks at the money. What an application did again by itself after the rollback, for what
    /// struck it during that, is undone by another.
    async fn count(&mut self, base: u64) -> Result<(), String> {
        let refused = self.stage.bank.commits_refused();
        self.progress().await?;
        let ended = self.revive();
        self.stage.bank.wait_assigned().await;
        self.stage.bank.stop_load().await;
        let mut count = self.stage.bank.count(SETTLE_LIMIT).await;
        let refused = self.stage.bank.commits_refused() - refused;
        if !count.is_right() && (ended || refused > 0) {
            self.tally.note(&format!(
                "{count:?}; ended by themselves: {ended}, commits refused: {refused}; back once more"
            ));
            self.roll_back(base, false).await?;
            self.stage.bank.wait_assigned().await;
            count = self.stage.bank.count(SETTLE_LIMIT).await;
        }
        self.tally.note(&format!("{count:?}"));
        if count.is_right() {
            Ok(())
        } else {
            Err(format!("the money is not right: {count:?}"))
        }
    }

    async fn strike(&mut self, fault: Fault) {
        self.tally.fault();
        let struck = fault.strike(&mut self.stage, &mut self.random).await;
        self.tally.note(&format!("{}: {struck}", fault.name()));
    }

    /// Every partition of every bank must move.
    async fn progress(&mut self) -> Result<(), String> {
        self.revive();
        let bank = &self.stage.bank;
        let progress = Progress::of(&self.stage.kafka.bootstrap(), bank.inputs()).await;
        match progress.stands_still_after(PROGRESS_LIMIT).await {
            still if still.is_empty() => Ok(()),
            still => {
                self.say_logs();
                Err(format!("no progress within {PROGRESS_LIMIT:?}: {still:?}"))
            }
        }
    }

    /// What every instance and its sidecar said last.
    fn say_logs(&mut self) {
        for instance in &mut self.stage.bank.instances {
            let sidecar = instance.sidecar.as_mut().map(Sidecar::process);
            for process in [Some(&mut instance.app), sidecar].into_iter().flatten() {
                let name = process.name();
                let tail = process.log_tail(LOG_LINES);
                self.tally.note(&format!("{name} said last:\n{tail}"));
            }
        }
    }

    /// Starts what ended by itself, as an orchestrator does. True when something had.
    fn revive(&mut self) -> bool {
        let revived = self.stage.bank.revive();
        for name in &revived {
            self.tally.note(&format!("{name} had ended by itself"));
        }
        !revived.is_empty()
    }

    async fn all_connected(&mut self) -> Result<(), String> {
        let all = self.stage.bank.instances.len();
        if self.control.connected(all).await {
            Ok(())
        } else {
            Err("not every sidecar is connected".into())
        }
    }

    fn mode(&mut self) -> &'static str {
        MODES.choose(&mut self.random).expect("there are modes")
    }

    /// One of those that may be, or any where none of them may.
    fn pick(&mut self, may_be: impl Fn(Fault) -> bool) -> Fault {
        let faults = self.faults.iter().copied();
        let left: Vec<Fault> = faults.filter(|fault| may_be(*fault)).collect();
        let from = if left.is_empty() { &self.faults } else { &left };
        *from.choose(&mut self.random).expect("there are faults")
    }
}
