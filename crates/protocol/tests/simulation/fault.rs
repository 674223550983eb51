//! Starts, crashes, joins and leaves.

use cutline_model::Scope;
use rand::Rng;

use super::{
    event::{Ask, Event, Fault, Owner, Run},
    ledger::Rec,
    schedule::Danger,
    world::{Consumer, World},
};

/// How many instances a service may have, gone ones too.
const INSTANCES_MAX: usize = 6;

impl World {
    /// A sidecar starts: it registers, reads the control topic past that, and only then forwards anything.
    pub fn sidecar_up(&mut self, inst: usize) {
        let this = &self.insts[inst];
        if this.gone || this.sidecar.up {
            return;
        }
        let (id, service, run) = (this.id.clone(), this.service, this.sidecar.run + 1);
        let first = run == 1;
        let mut process = self.new_process(&id, service, run);
        self.registered
            .insert(id.clone(), process.config().incarnation.clone());
        let outputs = self.outputs.get(&self.services[service].name).cloned();
        process.handle_registered(outputs.unwrap_or_default());
        process.handle_masks(self.masks.clone());
        process.handle_bounds(self.bounds.clone());
        self.tell(|| format!("{id} up, run {run}"));
        let this = &mut self.insts[inst];
        this.sidecar.process = process;
        this.sidecar.run = run;
        this.sidecar.up = true;
        this.sidecar.timer = None;
        this.sidecar.held_since = None;
        if first {
            let delay = self.delay(2_000);
            self.after(delay, Event::AppUp(inst));
        } else {
            let delay = self.rng.random_range(1..3_000);
            self.after(delay, Event::Heartbeat(self.insts[inst].sidecar_run(inst)));
            let run = self.insts[inst].app_run(inst);
            self.after(500, Event::GateRetry(run));
            self.fetch_soon(inst);
        }
        self.drain(inst);
    }

    /// The clients' heartbeats pass the new sidecar: members it did not see join.
    pub fn heartbeat(&mut self, run: Run) {
        if !self.sidecar_runs(run) || !self.insts[run.inst].running {
            return;
        }
        let consumers = self.insts[run.inst].consumers.iter();
        let members: Vec<_> = consumers
            .filter_map(|c| Some((c.group, c.member.clone()?)))
            .collect();
        for (group, member) in members {
            let name = self.broker.groups[group].name.clone();
            self.process(run.inst).handle_member(&name, &member, false);
        }
        self.drain(run.inst);
    }

    /// An application starts, with nothing in memory.
    pub fn app_up(&mut self, inst: usize) {
        let this = &mut self.insts[inst];
        if this.gone || this.running || this.fenced {
            return;
        }
        this.running = true;
        this.app += 1;
        this.conns += 1_000;
        this.consumers = this
            .consumers
            .iter()
            .map(|c| Consumer::new(c.group))
            .collect();
        let (run, consumers) = (this.app_run(inst), this.consumers.len());
        self.tell(|| format!("{} app run {}", self.insts[inst].id, run.run));
        for consumer in 0..consumers {
            self.join_group(inst, consumer);
        }
        self.after(1_000, Event::SendTick(run));
    }

    /// A fault, if there is somebody it can happen to.
    pub fn fault(&mut self, fault: Fault) {
        if self.settling || self.restore.is_some() {
            return;
        }
        match fault {
            Fault::Any => {
                let living: Vec<usize> = (0..self.insts.len())
                    .filter(|i| !self.insts[*i].gone)
                    .collect();
                let inst = living[self.rng.random_range(0..living.len())];
                let service = self.insts[inst].service;
                let fault = match self.rng.random_range(0..6) {
                    0 | 1 => Fault::SidecarCrash(inst),
                    2 | 3 => Fault::AppCrash(inst),
                    4 => Fault::Join(service),
                    _ => Fault::Leave(inst),
                };
                self.fault(fault);
            }
            Fault::SidecarCrash(inst) => self.sidecar_crash(inst),
            Fault::AppCrash(inst) => {
                self.app_crash(inst);
                let delay = self.rng.random_range(1_000..40_000);
                self.after(delay, Event::AppUp(inst));
            }
            Fault::Join(service) => {
                if self.services[service].instances < INSTANCES_MAX {
                    self.add_instance(service);
                }
            }
            Fault::Leave(inst) => self.leave(inst),
        }
    }

    /// A sidecar dies. Its application keeps its memory, and repeats what was not answered.
    fn sidecar_crash(&mut self, inst: usize) {
        if !self.insts[inst].sidecar.up {
            return;
        }
        self.tell(|| format!("{} sidecar crashes", self.insts[inst].id));
        let this = &mut self.insts[inst];
        this.sidecar.up = false;
        this.sidecar.held_since = None;
        this.conns += 1_000;
        for consumer in &mut this.consumers {
            consumer.fetching = [None, None];
        }
        for (request, _) in std::mem::take(&mut this.under_way).into_values() {
            this.waiting.push(request);
        }
        let hook = this.paused.or(this.pausing);
        let run = this.app_run(inst);
        if let Some(epoch) = hook {
            let lease = self.plan.limits.max_pause_ms * 500;
            self.after(lease, Event::LeaseEnds(run, epoch));
        }
        let quick = self.plan.danger == Danger::RestartUnseen;
        let down = if quick {
            1_000
        } else {
            self.rng.random_range(500..30_000)
        };
        self.after(down, Event::SidecarUp(inst));
        self.link_lost(inst);
    }

    /// The admin API sees sooner or later that a connection is gone.
    fn link_lost(&mut self, inst: usize) {
        if self.plan.danger == Danger::RestartUnseen {
            return;
        }
        let id = self.insts[inst].id.clone();
        let delay = self.rng.random_range(1..40_000);
        self.after(delay, Event::Ask(self.admin.epoch, Ask::LinkLost(id)));
    }

    /// An application dies: what was not committed comes to nothing.
    pub fn app_crash(&mut self, inst: usize) {
        if !self.insts[inst].running {
            return;
        }
        self.tell(|| format!("{} app crashes", self.insts[inst].id));
        for consumer in 0..self.insts[inst].consumers.len() {
            self.abandon(inst, consumer);
        }
        let free = self.free_records(inst);
        let ledger = self.insts[inst].ledger;
        self.make_ghosts(ledger, &free);
        self.close_connections(inst);
    }

    /// Records of sends that no work waits for, not acknowledged.
    fn free_records(&self, inst: usize) -> Vec<Rec> {
        let open = self.insts[inst].open.values();
        let free = open.filter(|request| request.owner == Owner::Free);
        free.flat_map(|request| request.records.iter().copied())
            .collect()
    }

    /// The application's connections are closed and its memory is gone.
    pub fn close_connections(&mut self, inst: usize) {
        let now = self.moment();
        let pausing = self.insts[inst].pausing;
        if let Some(epoch) = pausing {
            // The hook's connection breaks.
            let side = self.insts[inst].sidecar_run(inst);
            self.after(1_000, Event::HookPaused(side, epoch));
        }
        let this = &mut self.insts[inst];
        this.running = false;
        this.pausing = None;
        this.paused = None;
        this.open.clear();
        this.waiting.clear();
        let tickets: Vec<_> = std::mem::take(&mut this.under_way).into_values().collect();
        let mut conns: Vec<_> = (0..this.consumers.len())
            .flat_map(|consumer| [(consumer, 0), (consumer, 1)])
            .map(|(consumer, lane)| this.conn(consumer, lane))
            .collect();
        conns.push(this.producer_conn(0));
        conns.push(this.producer_conn(1));
        this.conns += 1_000;
        for consumer in &mut this.consumers {
            consumer.fetching = [None, None];
        }
        if !this.sidecar.up {
            return;
        }
        let late = self.rng.random_ratio(1, 2);
        let process = self.process(inst);
        if !late {
            for (_, ticket) in &tickets {
                process.handle_produce_lost(now, *ticket);
            }
        }
        let last = conns.len() - 1;
        for (index, conn) in conns.iter().enumerate() {
            process.handle_disconnected(now, *conn, index == last);
        }
        if late {
            for (_, ticket) in &tickets {
                process.handle_produce_lost(now, *ticket);
            }
        }
        self.drain(inst);
    }

    /// An instance ends for good, unless its service would have none left.
    fn leave(&mut self, inst: usize) {
        let service = self.insts[inst].service;
        let peers = self
            .insts
            .iter()
            .filter(|i| i.service == service && !i.gone)
            .count();
        let stateless = !self.plan.services[service].has_state;
        if peers < 2 && !stateless {
            return;
        }
        self.app_crash(inst);
        self.tell(|| format!("{} leaves", self.insts[inst].id));
        let id = self.insts[inst].id.clone();
        self.registered.remove(&id);
        self.insts[inst].gone = true;
        self.insts[inst].gone_at = self.now;
        self.insts[inst].sidecar.up = false;
        self.link_lost(inst);
        let groups: Vec<usize> = self.services[service].groups.clone();
        for group in groups {
            let members = &mut self.broker.groups[group].members;
            members.retain(|_, (of, _)| *of != inst);
            self.rebalance(group);
        }
    }

    /// A sidecar has reported: the moment to look for what a broken rule lets pass.
    pub fn seek_danger_at_report(&mut self, inst: usize) {
        let lucky = self.rng.random_ratio(1, 2);
        match self.plan.danger {
            Danger::RestartUnseen if lucky => {
                self.insts[inst].late_from = self.now;
                self.after(1, Event::Fault(Fault::SidecarCrash(inst)));
            }
            Danger::EndsAfterConfirmations | Danger::NoLateMark if lucky => {
                self.insts[inst].late_from = self.now + self.rng.random_range(0..20_000);
            }
            Danger::JoinUnseen if lucky => {
                let service = self.insts[inst].service;
                let writes = !self.plan.services[service].writes.is_empty();
                let source = self.plan.services[service].groups.is_empty();
                if writes && source {
                    self.after(1, Event::Fault(Fault::Join(service)));
                }
            }
            _ => {}
        }
    }

    /// True when instances' states are their own.
    pub fn by_instance(&self, service: usize) -> bool {
        self.plan.services[service].scope == Scope::Instance
    }
}
