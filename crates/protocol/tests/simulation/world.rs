//! The world of one schedule: everything there is, and the queue of what happens next.
//!
//! Virtual time, one event at a time, every choice from one seeded generator: the same seed is the same world.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
};

use cutline_model::{
    Incarnation, MarkerId, Offset, Scope, ServiceName, SidecarId, TopicName, TopicPartition,
};
use cutline_protocol::{ConnId, Moment, Process, Rules, Ticket, mask::Masks};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    admin::Admin,
    broker::Broker,
    event::{Event, Fault, Owner, Request, Run},
    ledger::{Ledger, Rec, Records},
    oracle::Checkpoint,
    restore::Restore,
    schedule::Plan,
    stats::Stats,
};

/// A schedule that is not over by then does not end (microseconds).
const TIME_MAX: u64 = 60_000_000;
/// Nor does one with more events than this.
const EVENTS_MAX: u64 = 2_000_000;

/// What a consumer has in hand.
#[derive(Debug)]
pub struct Work {
    /// Unique in a schedule.
    pub number: u64,
    /// What it processes: partition, offset, record.
    pub items: Vec<(usize, i64, Rec)>,
    /// What it sent.
    pub sends: Vec<Rec>,
    /// Produces not acknowledged yet.
    pub unanswered: usize,
    /// True once its effects are in the state.
    pub done: bool,
    /// True once its commit was applied: a crash undoes nothing of it.
    pub durable: bool,
}

/// One consumer of an application: a member of one group, over two connections.
#[derive(Debug)]
pub struct Consumer {
    /// Its group.
    pub group: usize,
    /// Its member id.
    pub member: Option<String>,
    /// Its partitions.
    pub assigned: BTreeSet<usize>,
    /// Where it fetches next.
    pub fetch: BTreeMap<usize, i64>,
    /// Where it processes next.
    pub position: BTreeMap<usize, i64>,
    /// Delivered and not processed.
    pub buffer: VecDeque<(usize, i64, Rec)>,
    /// In hand.
    pub work: Option<Work>,
    /// Per connection: the generation of the fetch under way.
    pub fetching: [Option<u64>; 2],
}

/// A sidecar as it runs.
#[derive(Debug)]
pub struct Sidecar {
    /// The core.
    pub process: Process,
    /// Which run this is.
    pub run: u32,
    /// False while it is down.
    pub up: bool,
    /// The earliest timer set.
    pub timer: Option<u64>,
    /// Since when something is held or the gate shut.
    pub held_since: Option<u64>,
    /// The last pairs taken: main, spare.
    pub epochs: [i16; 2],
}

/// One instance of a service: an application and its sidecar.
#[derive(Debug)]
pub struct Instance {
    /// Its service.
    pub service: usize,
    /// Its name.
    pub id: SidecarId,
    /// Its state.
    pub ledger: usize,
    /// Which run of the application this is.
    pub app: u32,
    /// False while the application is down.
    pub running: bool,
    /// True once it has ended for good.
    pub gone: bool,
    /// And when.
    pub gone_at: u64,
    /// True while a restore keeps it away.
    pub fenced: bool,
    /// What earlier runs of the application than this one sent is never appended any more.
    pub fenced_app: u32,
    /// Its consumers.
    pub consumers: Vec<Consumer>,
    /// Base of its connections' numbers; a new base when they are made again.
    pub conns: u64,
    /// Produces that wait at the gate.
    pub waiting: Vec<Request>,
    /// Produces under way.
    pub under_way: BTreeMap<u64, (Request, Ticket)>,
    /// Everything it sends that is not acknowledged, also for work it gave up.
    pub open: BTreeMap<u64, Request>,
    /// Set while the hook was asked to pause: the epoch.
    pub pausing: Option<u64>,
    /// Set while it is paused.
    pub paused: Option<u64>,
    /// When the last message to the coordinator arrives, and the last one from it.
    pub link: [u64; 2],
    /// From when on it writes its late topics too.
    pub late_from: u64,
    /// The sidecar.
    pub sidecar: Sidecar,
}

impl Instance {
    /// How many sends that no record caused are not acknowledged.
    pub fn free_sends(&self) -> usize {
        let free = self.open.values();
        free.filter(|request| request.owner == Owner::Free).count()
    }

    /// The connection of a consumer's lane.
    pub fn conn(&self, consumer: usize, lane: usize) -> ConnId {
        ConnId(self.conns + 10 * consumer as u64 + lane as u64)
    }

    /// A connection it produces on.
    pub fn producer_conn(&self, part: usize) -> ConnId {
        ConnId(self.conns + 500 + (part % 2) as u64)
    }

    /// The run of the application.
    pub fn app_run(&self, inst: usize) -> Run {
        let run = self.app;
        Run { inst, run }
    }

    /// The run of the sidecar.
    pub fn sidecar_run(&self, inst: usize) -> Run {
        let run = self.sidecar.run;
        Run { inst, run }
    }
}

/// A service.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Its groups.
    pub groups: Vec<usize>,
    /// The state its instances share, when they do.
    pub shared: Option<usize>,
    /// How many instances it ever had.
    pub instances: usize,
}

struct Entry {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        // The queue is a maximum heap; the earliest comes first.
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// The world of one schedule.
pub struct World {
    /// What was decided beforehand.
    pub plan: Plan,
    /// Which rules are kept.
    pub rules: Rules,
    /// Chance.
    pub rng: StdRng,
    /// Microseconds since the beginning.
    pub now: u64,
    queue: BinaryHeap<Entry>,
    numbers: u64,
    /// Kafka.
    pub broker: Broker,
    /// Every record.
    pub records: Records,
    /// Every state.
    pub ledgers: Vec<Ledger>,
    /// Services.
    pub services: Vec<Service>,
    /// Instances, gone ones too.
    pub insts: Vec<Instance>,
    /// The control topic: who is registered.
    pub registered: BTreeMap<SidecarId, Incarnation>,
    /// The control topic: who produces to what.
    pub outputs: BTreeMap<ServiceName, BTreeSet<TopicName>>,
    /// The control topic: masks in force.
    pub masks: Masks,
    /// The control topic: holds of a restore.
    pub bounds: BTreeMap<TopicPartition, Offset>,
    /// The admin API.
    pub admin: Admin,
    /// What was committed.
    pub checkpoints: Vec<Checkpoint>,
    /// States fixed for epochs that are not committed: by epoch and state.
    pub snaps: BTreeMap<(u64, usize), Ledger>,
    /// When everything has to be received.
    pub settle_by: u64,
    /// A restore in progress.
    pub restore: Option<Restore>,
    /// Nothing new is made.
    pub settling: bool,
    /// The schedule has ended well.
    pub over: bool,
    /// What is counted.
    pub stats: Stats,
    /// The first thing that should not have been.
    pub violation: Option<String>,
    /// Tell what happens.
    pub verbose: bool,
}

impl World {
    /// The world at its beginning.
    pub fn new(plan: Plan, verbose: bool) -> Self {
        let mut world = Self {
            rules: plan.danger.rules(),
            rng: StdRng::seed_from_u64(plan.seed ^ 0x5eed),
            plan,
            now: 0,
            queue: BinaryHeap::new(),
            numbers: 0,
            broker: Broker::default(),
            records: Records::default(),
            ledgers: Vec::new(),
            services: Vec::new(),
            insts: Vec::new(),
            registered: BTreeMap::new(),
            outputs: BTreeMap::new(),
            masks: Masks::default(),
            bounds: BTreeMap::new(),
            admin: Admin::default(),
            checkpoints: Vec::new(),
            snaps: BTreeMap::new(),
            settle_by: 0,
            restore: None,
            settling: false,
            over: false,
            stats: Stats::default(),
            violation: None,
            verbose,
        };
        world.build();
        world
    }

    fn build(&mut self) {
        for (number, topic) in self.plan.topics.clone().into_iter().enumerate() {
            self.broker
                .add_topic(&format!("t{number}"), topic.partitions, topic.exists);
        }
        for (number, service) in self.plan.services.clone().into_iter().enumerate() {
            let shared = (service.scope == Scope::Service).then(|| self.add_ledger());
            let name: ServiceName = format!("s{number}").into();
            let mut groups = Vec::new();
            for (index, topics) in service.groups.iter().enumerate() {
                groups.push(
                    self.broker
                        .add_group(&format!("g{number}{index}"), number, topics),
                );
            }
            self.services.push(Service {
                name,
                groups,
                shared,
                instances: 0,
            });
            for _ in 0..service.instances {
                self.add_instance(number);
            }
        }
        for _ in 0..self.plan.faults.events {
            let at = self.rng.random_range(10_000..300_000);
            self.at(at, Event::Fault(Fault::Any));
        }
        let first = self.rng.random_range(20_000..40_000);
        self.at(first, Event::Epoch);
    }

    fn add_ledger(&mut self) -> usize {
        self.ledgers.push(Ledger::default());
        self.ledgers.len() - 1
    }

    /// A new instance of a service; its sidecar starts, then its application.
    pub fn add_instance(&mut self, service: usize) -> usize {
        let ledger = match self.services[service].shared {
            Some(ledger) => ledger,
            None => self.add_ledger(),
        };
        let inst = self.insts.len();
        let name = format!("i{}", self.services[service].instances);
        self.services[service].instances += 1;
        let id = SidecarId::new(self.services[service].name.clone(), name.as_str());
        let groups = self.services[service].groups.clone();
        let late_from = if self.rng.random_ratio(1, 4) {
            self.rng.random_range(0..200_000)
        } else {
            u64::MAX
        };
        let process = self.new_process(&id, service, 0);
        self.insts.push(Instance {
            service,
            id,
            ledger,
            app: 0,
            running: false,
            gone: false,
            gone_at: 0,
            fenced: false,
            fenced_app: 0,
            consumers: groups.into_iter().map(Consumer::new).collect(),
            conns: 1_000,
            waiting: Vec::new(),
            under_way: BTreeMap::new(),
            open: BTreeMap::new(),
            pausing: None,
            paused: None,
            link: [0, 0],
            late_from,
            sidecar: Sidecar {
                process,
                run: 0,
                up: false,
                timer: None,
                held_since: None,
                epochs: [0, 0],
            },
        });
        let start = self.delay(2_000);
        self.after(start, Event::SidecarUp(inst));
        inst
    }

    // ---- time and chance ----

    /// Something happens at a moment.
    pub fn at(&mut self, at: u64, event: Event) {
        self.numbers += 1;
        let (at, number) = (at.max(self.now), self.numbers);
        self.queue.push(Entry { at, number, event });
    }

    /// Something happens after a while.
    pub fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    /// A number nothing else has.
    pub fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A delay of usually at most `usual` microseconds, now and then much longer.
    pub fn delay(&mut self, usual: u64) -> u64 {
        let long = if self.rng.random_ratio(1, 40) { 8 } else { 1 };
        self.rng.random_range(1..=usual.max(1)) * long
    }

    /// A delay on the wire.
    pub fn wire(&mut self) -> u64 {
        let usual = self.plan.wire;
        self.delay(usual)
    }

    /// True in so many of a thousand cases.
    pub fn chance(&mut self, in_thousand: u32) -> bool {
        in_thousand > 0 && self.rng.random_ratio(in_thousand.min(1_000), 1_000)
    }

    /// The present moment for the core.
    pub fn moment(&self) -> Moment {
        Moment(std::time::Duration::from_micros(self.now))
    }

    /// Tells what happens, when somebody wants to know.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            eprintln!("{:>9} {}", self.now, what());
        }
    }

    /// Something that should not be.
    pub fn violate(&mut self, what: String) {
        self.tell(|| format!("VIOLATION {what}"));
        self.violation.get_or_insert(what);
    }

    /// Runs the schedule to its end.
    pub fn run(mut self) -> Result<Stats, String> {
        let mut events = 0;
        while let Some(Entry { at, event, .. }) = self.queue.pop() {
            self.now = at;
            events += 1;
            self.happen(event);
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
            if self.over {
                self.stats.events = events;
                return Ok(self.stats);
            }
            if at > TIME_MAX || events > EVENTS_MAX {
                return Err(format!(
                    "the schedule does not end: {events} events, {at} µs"
                ));
            }
        }
        Err("nothing happens any more".to_owned())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::FetchTick(run, consumer, lane) => self.fetch_tick(run, consumer, lane),
            Event::FetchServe(run, fetch, consumer, lane, asks) => {
                self.fetch_serve(run, fetch, consumer, lane, &asks);
            }
            Event::FetchArrive(run, fetch, consumer, lane, answers) => {
                self.fetch_arrive(run, fetch, consumer, lane, answers);
            }
            Event::AppStep(run, consumer) => self.app_step(run, consumer),
            Event::WorkDone(run, consumer) => self.work_done(run, consumer),
            Event::CommitServe(run, consumer, work) => self.commit_serve(run, consumer, work),
            Event::CommitAnswer(run, consumer, work) => self.commit_answer(run, consumer, work),
            Event::ProduceTry(run, request) => self.produce_try(run, request),
            Event::GateRetry(run) => self.gate_retry(run),
            Event::ProduceServe(run, side, request, ticket, fate) => {
                self.produce_serve(run, side, request, ticket, fate);
            }
            Event::ProduceAnswer(run, side, request, ticket, fate, base) => {
                self.produce_answer(run, side, request, ticket, fate, base);
            }
            Event::High(part, to) => {
                let high = &mut self.broker.logs[part].high;
                *high = to.max(*high);
            }
            Event::SendTick(run) => self.send_tick(run),
            Event::HookPaused(run, epoch) => self.hook_paused(run, epoch),
            Event::LeaseEnds(run, epoch) => self.lease_ends(run, epoch),
            Event::Timer(run) => self.timer(run),
            Event::Down(id, message) => self.down(&id, *message),
            Event::Up(id, message) => self.up(&id, *message),
            Event::Job(run, job) => self.job(run, job),
            Event::Land(marking, part) => self.land(marking, part),
            Event::Ask(epoch, ask) => self.ask(epoch, ask),
            Event::Epoch => self.epoch(),
            Event::Learn(group, generation, member) => self.learn(group, generation, &member),
            Event::Rebalanced(group, generation) => self.rebalanced(group, generation),
            Event::Fault(fault) => self.fault(fault),
            Event::SidecarUp(inst) => self.sidecar_up(inst),
            Event::AppUp(inst) => self.app_up(inst),
            Event::Heartbeat(run) => self.heartbeat(run),
            Event::Restore => self.restore_step(),
            Event::Settle => self.settle(),
            Event::Settled => self.settled(),
        }
    }

    // ---- lookups ----

    /// The name of a partition.
    pub fn tp(&self, part: usize) -> TopicPartition {
        self.broker.logs[part].name.clone()
    }

    /// The instance of a sidecar, unless it has ended.
    pub fn inst_of(&self, id: &SidecarId) -> Option<usize> {
        self.insts.iter().position(|i| i.id == *id && !i.gone)
    }

    /// The plan of an instance's service.
    pub fn service_plan(&self, inst: usize) -> &super::schedule::ServicePlan {
        &self.plan.services[self.insts[inst].service]
    }

    /// True for applications without input and without state.
    pub fn is_source(&self, inst: usize) -> bool {
        let plan = self.service_plan(inst);
        !plan.has_state && plan.groups.is_empty()
    }

    /// True while a run of the application is the present one and it is not kept away.
    pub fn app_runs(&self, run: Run) -> bool {
        let inst = &self.insts[run.inst];
        inst.app == run.run && inst.running && !inst.fenced
    }

    /// True while a run of the sidecar is the present one.
    pub fn sidecar_runs(&self, run: Run) -> bool {
        let sidecar = &self.insts[run.inst].sidecar;
        sidecar.run == run.run && sidecar.up
    }

    /// A marker pair of an instance's sidecar: main or spare.
    pub fn fresh_pair(&mut self, inst: usize, which: usize) -> MarkerId {
        let epochs = &mut self.insts[inst].sidecar.epochs[which];
        *epochs += 1;
        MarkerId {
            producer_id: i64::try_from(10 * inst + which).expect("few instances"),
            producer_epoch: *epochs,
        }
    }
}

impl Consumer {
    /// A consumer that has not joined.
    pub fn new(group: usize) -> Self {
        Self {
            group,
            member: None,
            assigned: BTreeSet::new(),
            fetch: BTreeMap::new(),
            position: BTreeMap::new(),
            buffer: VecDeque::new(),
            work: None,
            fetching: [None, None],
        }
    }
}
