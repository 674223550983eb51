//! Rolling back, as the admin API would: plan, hold at the bounds, quiesce or not, fence, mask, put back, lift.
//!
//! The plan and the arithmetic are the product's own; only what carries them out is modelled.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{MarkerId, Offset, Purpose, RangeSet, ServiceName, TopicPartition};
use cutline_protocol::{
    mask::new_mask,
    restore::{
        Facts, GroupNow, MemberNow, PartitionNow, Plan, Problem, SidecarNow, TopicNow, Writers,
        changed, contaminated, masks_of, plan,
    },
};
use rand::Rng;

use super::{
    broker::Kind,
    event::{Event, Owner},
    world::{Consumer, World},
};

/// How far a restore is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Readers are held at the bounds; the restored may be quiescing.
    Stopping,
    /// Everything is put back; the fence is still there.
    Fenced,
}

/// A restore in progress.
#[derive(Clone, Debug)]
pub struct Restore {
    /// Which checkpoint.
    pub checkpoint: usize,
    /// Which services.
    pub services: BTreeSet<ServiceName>,
    /// How far it is.
    pub stage: Stage,
}

impl World {
    /// Begins a restore, if one can be planned.
    pub fn begin_restore(&mut self) -> bool {
        let ready = |i: &super::world::Instance| i.gone || i.sidecar.up;
        if self.checkpoints.is_empty() || !self.insts.iter().all(ready) {
            return false;
        }
        let checkpoint = self.rng.random_range(0..self.checkpoints.len());
        let names: Vec<ServiceName> = self.services.iter().map(|s| s.name.clone()).collect();
        let whole = self.rng.random_ratio(1, 2);
        let mut services: BTreeSet<ServiceName> = names.iter().cloned().collect();
        if !whole {
            services.retain(|_| self.rng.random_ratio(1, 2));
        }
        let Some(plan) = self.closed_plan(checkpoint, &mut services) else {
            return false;
        };
        self.tell(|| {
            let epoch = self.checkpoints[checkpoint].cut.epoch;
            format!(
                "restore {services:?} to epoch {epoch}; holds {:?}",
                plan.holds
            )
        });
        self.bounds = plan.holds.clone();
        self.restore = Some(Restore {
            checkpoint,
            services: services.clone(),
            stage: Stage::Stopping,
        });
        for inst in 0..self.insts.len() {
            let restored = services.contains(&self.insts[inst].id.service);
            if !restored && self.insts[inst].sidecar.up {
                let bounds = self.bounds.clone();
                self.process(inst).handle_bounds(bounds);
                self.drain(inst);
            }
        }
        match self.rng.random_range(0..3) {
            0 => self.start_epoch(Purpose::Safety, services),
            1 => self.start_epoch(Purpose::Stop, services),
            _ => {
                let delay = self.rng.random_range(1..10_000);
                self.after(delay, Event::Restore);
            }
        }
        true
    }

    /// The safety checkpoint or the stop is over, however it ended.
    pub fn restore_epoch_over(&mut self, completed: bool) {
        // What could not be quiesced is restarted anyway.
        let delay = if completed {
            self.rng.random_range(1..5_000)
        } else {
            1
        };
        self.after(delay, Event::Restore);
    }

    /// The restore goes on.
    pub fn restore_step(&mut self) {
        let Some(restore) = self.restore.clone() else {
            return;
        };
        match restore.stage {
            Stage::Stopping => {
                let up = |i: &super::world::Instance| i.gone || i.sidecar.up;
                if !self.insts.iter().all(up) {
                    self.after(5_000, Event::Restore);
                } else if self.fence(&restore) {
                    if let Some(restore) = &mut self.restore {
                        restore.stage = Stage::Fenced;
                    }
                    let delay = self.rng.random_range(1..10_000);
                    self.after(delay, Event::Restore);
                } else {
                    self.lift(&BTreeSet::new());
                }
            }
            Stage::Fenced => {
                if restore.services.len() == self.services.len() {
                    self.stats.whole += 1;
                } else {
                    self.stats.subsets += 1;
                }
                self.lift(&restore.services);
            }
        }
    }

    /// A plan for `services`, who are joined by everybody the plan asks for.
    fn closed_plan(
        &mut self,
        checkpoint: usize,
        services: &mut BTreeSet<ServiceName>,
    ) -> Option<Plan> {
        loop {
            if services.is_empty() || !self.same_roster(checkpoint, services) {
                self.stats
                    .refused("nothing to restore, or other instances than then");
                return None;
            }
            let problems = match plan(&self.facts(checkpoint, services)) {
                Ok(plan) => return Some(plan),
                Err(problems) => problems,
            };
            let mut grown = false;
            for problem in &problems {
                grown |= match problem {
                    Problem::Contaminated(seen) => services.insert(seen.service.clone()),
                    Problem::OtherHistory { writer, .. } => services.insert(writer.clone()),
                    _ => false,
                };
            }
            if !grown {
                self.stats.refused(&format!("{}", problems[0]));
                return None;
            }
        }
    }

    /// State of single instances goes back to the same instances.
    fn same_roster(&self, checkpoint: usize, services: &BTreeSet<ServiceName>) -> bool {
        let (then, now) = (&self.checkpoints[checkpoint].roster, self.roster());
        (0..self.services.len()).all(|number| {
            let restored = services.contains(&self.services[number].name);
            !restored || !self.by_instance(number) || then.get(&number) == now.get(&number)
        })
    }

    /// The world as the admin API would find it.
    fn facts(&self, checkpoint: usize, services: &BTreeSet<ServiceName>) -> Facts {
        let then = &self.checkpoints[checkpoint];
        let mut topics_now: BTreeMap<_, TopicNow> = BTreeMap::new();
        let mut writers = BTreeMap::new();
        for log in self.broker.logs.iter().filter(|log| log.exists) {
            let end = Offset(log.end());
            let topic = topics_now.entry(log.name.topic.clone()).or_default();
            topic.id = log.name.topic.to_string();
            let now = PartitionNow {
                log_start: Offset(0),
                end,
                epoch_end: Some(end),
            };
            topic.partitions.insert(log.name.partition, now);
            writers.insert(log.name.clone(), self.writers(log));
        }
        let topics_then = then.cut.ends.keys();
        Facts {
            cut: then.cut.clone(),
            topics_then: topics_then
                .map(|p| (p.topic.clone(), p.topic.to_string()))
                .collect(),
            masks_then: then.masks.clone(),
            cluster_then: String::new(),
            cluster_now: String::new(),
            damaged: BTreeMap::new(),
            restored: services.clone(),
            topics_now,
            masks_now: self.masks.clone(),
            outputs_now: self.outputs.clone(),
            groups_now: self.groups_now(),
            sidecars: self.sidecars_now(),
            away: BTreeSet::new(),
            writers,
            tables: BTreeMap::new(),
            cut_ms: 0,
            now_ms: 0,
            outside_readers: BTreeMap::new(),
            allow_contaminated: false,
        }
    }

    fn writers(&self, log: &super::broker::Log) -> Writers {
        let mut writers = Writers::default();
        for batch in &log.batches {
            if let Kind::Data { service, .. } = &batch.kind {
                let name = self.services[*service].name.clone();
                writers.by.entry(name).or_default().insert(batch.span());
            }
        }
        writers
    }

    fn groups_now(&self) -> BTreeMap<cutline_model::GroupId, GroupNow> {
        let describe = |(number, group): (usize, &super::broker::Group)| {
            let members = group.members.iter().map(|(id, (inst, _))| MemberNow {
                id: id.clone(),
                sidecar: Some(self.insts[*inst].id.clone()),
                is_static: false,
                partitions: self
                    .broker
                    .assigned_to(number, id)
                    .map(|p| self.tp(p))
                    .collect(),
            });
            let committed = group.committed.iter();
            let now = GroupNow {
                service: self.services[group.service].name.clone(),
                members: members.collect(),
                committed: committed
                    .map(|(part, at)| (self.tp(*part), Offset(*at)))
                    .collect(),
            };
            (group.name.clone(), now)
        };
        self.broker
            .groups
            .iter()
            .enumerate()
            .map(describe)
            .collect()
    }

    fn sidecars_now(&self) -> BTreeMap<cutline_model::SidecarId, SidecarNow> {
        let living = self.insts.iter().filter(|inst| !inst.gone);
        let describe = |inst: &super::world::Instance| {
            let plan = &self.plan.services[inst.service];
            let delivered = self.broker.logs.iter().filter_map(|log| {
                let end = inst.sidecar.process.inputs().delivered_end(&log.name)?;
                Some((log.name.clone(), end))
            });
            let now = SidecarNow {
                scope: plan.scope,
                has_state: plan.has_state,
                delivered: delivered.collect(),
            };
            (inst.id.clone(), now)
        };
        living.map(describe).collect()
    }

    /// Fence, ends, state, offsets. Answers false when somebody saw too much since the plan.
    fn fence(&mut self, restore: &Restore) -> bool {
        let mut services = restore.services.clone();
        let Some(planned) = self.closed_plan(restore.checkpoint, &mut services) else {
            return false;
        };
        if services != restore.services {
            self.stats
                .refused("somebody saw too much between plan and fence");
            return false;
        }
        let restored: Vec<usize> = (0..self.insts.len())
            .filter(|inst| services.contains(&self.insts[*inst].id.service))
            .collect();
        for inst in &restored {
            self.check_hands(*inst);
            self.close_for_good(*inst);
        }
        let pending: Vec<(u64, usize)> = self
            .broker
            .markings
            .iter()
            .flat_map(|(number, marking)| marking.pending.iter().map(|part| (*number, *part)))
            .collect();
        for (marking, part) in pending {
            self.land(marking, part);
        }
        let mut ends = BTreeMap::new();
        // Only now: until its connections were closed, an application may have made another topic.
        let fences = self
            .facts(restore.checkpoint, &services)
            .restored_partitions();
        for partition in &fences {
            let part = self.broker.part(partition);
            let log = &mut self.broker.logs[part];
            let fence = log.append_control(FENCE, true);
            log.high = log.end();
            ends.insert(partition.clone(), fence);
        }
        let facts = self.facts(restore.checkpoint, &services);
        let masks = match masks_of(&facts, &ends, &facts.writers) {
            Ok(masks) => masks,
            Err(problems) => {
                self.violate(format!("fenced, and then: {}", problems[0]));
                return true;
            }
        };
        let changes = changed(&facts, &masks, &facts.writers);
        if let Some(seen) = contaminated(&facts, &changes).first() {
            self.violate(format!("fenced, and then: {seen}"));
        }
        self.check_masks(restore, &services, &ends, &masks);
        self.masks = masks;
        self.put_back(restore, &services, &planned);
        true
    }

    /// Who was made to stand still has nothing left in hand that it would work on in the restored world.
    fn check_hands(&mut self, inst: usize) {
        let this = &self.insts[inst];
        let stands_still = this.sidecar.up && this.sidecar.process.stands_still();
        if !stands_still || !this.running {
            return;
        }
        let left: usize = this.consumers.iter().map(|c| c.buffer.len()).sum();
        if left > 0 {
            let id = this.id.clone();
            self.violate(format!(
                "epoch of a restore: {id} is fenced with {left} records in hand"
            ));
        }
    }

    /// Connections are closed after their Produces are answered, and the application with them.
    fn close_for_good(&mut self, inst: usize) {
        let requests: Vec<_> = self.insts[inst].under_way.values().cloned().collect();
        for (request, _) in requests {
            if self.rng.random_ratio(1, 2) {
                let service = self.insts[inst].service;
                let log = &mut self.broker.logs[request.part];
                let fresh = !log.exists;
                log.append(inst, service, &request.records);
                self.raise_high(request.part);
                if fresh {
                    self.topic_made(request.part);
                }
                if request.owner == Owner::Free {
                    self.tell(|| format!("answered at the fence: {request:?}"));
                }
            }
        }
        self.close_connections(inst);
        let now = self.moment();
        let this = &mut self.insts[inst];
        this.fenced = true;
        this.fenced_app = if this.gone { u32::MAX } else { this.app + 1 };
        this.consumers = this
            .consumers
            .iter()
            .map(|c| Consumer::new(c.group))
            .collect();
        if this.sidecar.up {
            this.sidecar.process.handle_fenced(now);
            self.drain(inst);
        }
    }

    /// The product's masks hide what the arithmetic over all restored services at once would hide.
    fn check_masks(
        &mut self,
        restore: &Restore,
        services: &BTreeSet<ServiceName>,
        ends: &BTreeMap<TopicPartition, Offset>,
        masks: &cutline_protocol::mask::Masks,
    ) {
        let cut = &self.checkpoints[restore.checkpoint].cut;
        for (partition, end) in ends {
            let log = &self.broker.logs[self.broker.part(partition)];
            let mut others = RangeSet::default();
            for batch in &log.batches {
                if let Kind::Data { service, .. } = batch.kind
                    && !services.contains(&self.services[service].name)
                {
                    others.insert(batch.span());
                }
            }
            let mask = new_mask(cut, partition, services, *end, &others, &self.rules);
            let hidden = masks.of(partition);
            for batch in log
                .batches
                .iter()
                .filter(|b| matches!(b.kind, Kind::Data { .. }))
            {
                let fresh = mask.overlaps(batch.span());
                if fresh && !hidden.is_some_and(|ranges| ranges.overlaps(batch.span())) {
                    let what = format!("{partition}@{} must be masked and is not", batch.base);
                    return self.violate(what);
                }
            }
        }
    }

    /// States, committed offsets.
    fn put_back(&mut self, restore: &Restore, services: &BTreeSet<ServiceName>, planned: &Plan) {
        let then = self.checkpoints[restore.checkpoint].clone();
        for inst in 0..self.insts.len() {
            let ledger = self.insts[inst].ledger;
            if services.contains(&self.insts[inst].id.service) {
                // An instance that joined since shares the state, or the plan had refused.
                let state = then.ledgers.get(&ledger).cloned().unwrap_or_default();
                self.ledgers[ledger] = state;
            }
        }
        for group in &mut self.broker.groups {
            if !services.contains(&self.services[group.service].name) {
                continue;
            }
            group.members.clear();
            group.assignment.clear();
            group.newcomers.clear();
            group.generation += 1;
            group.committed.clear();
        }
        for (name, target) in &planned.groups {
            let group = self.broker.group(name);
            for (partition, offset) in &target.offsets {
                let part = self.broker.part(partition);
                self.broker.groups[group].committed.insert(part, offset.0);
            }
        }
    }

    /// Masks are in force everywhere, holds and fence go, applications come back.
    fn lift(&mut self, services: &BTreeSet<ServiceName>) {
        self.bounds.clear();
        self.restore = None;
        for inst in 0..self.insts.len() {
            if self.insts[inst].sidecar.up {
                let masks = self.masks.clone();
                self.process(inst).handle_masks(masks);
                self.process(inst).handle_bounds(BTreeMap::new());
                self.drain(inst);
            }
            if services.contains(&self.insts[inst].id.service) && !self.insts[inst].gone {
                self.insts[inst].fenced = false;
                let delay = self.rng.random_range(1..5_000);
                self.after(delay, Event::AppUp(inst));
            }
        }
        self.tell(|| format!("lifted; masks {:?}", self.masks));
        if !services.is_empty() && self.rng.random_ratio(1, 3) && self.begin_restore() {
            return;
        }
        let pause = self.rng.random_range(5_000..60_000);
        self.after(pause, Event::Epoch);
    }
}

/// Under which the model's fence markers are written.
const FENCE: MarkerId = MarkerId {
    producer_id: 777_777,
    producer_epoch: 0,
};
