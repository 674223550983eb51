//! Groups: members join and leave, everybody learns of it sooner or later, partitions are assigned anew.
//!
//! Eager rebalancing: whoever learns of it gives up what it has in hand.

use cutline_model::TopicPartition;
use rand::Rng;

use super::{broker::Group, event::Event, world::World};

impl super::broker::Broker {
    /// A new group.
    pub fn add_group(&mut self, name: &str, service: usize, topics: &[usize]) -> usize {
        self.groups.push(Group {
            name: name.into(),
            service,
            topics: topics.to_vec(),
            members: Default::default(),
            newcomers: Default::default(),
            assignment: Default::default(),
            stable: true,
            generation: 0,
            committed: Default::default(),
        });
        self.groups.len() - 1
    }

    /// The partitions a group's member is assigned.
    pub fn assigned_to<'a>(
        &'a self,
        group: usize,
        member: &'a str,
    ) -> impl Iterator<Item = usize> + 'a {
        let all = self.groups[group].assignment.iter();
        all.filter(move |(_, m)| *m == member)
            .map(|(part, _)| *part)
    }
}

impl World {
    /// An instance's consumer joins its group under a new member id.
    pub fn join_group(&mut self, inst: usize, consumer: usize) {
        let (group, app) = (
            self.insts[inst].consumers[consumer].group,
            self.insts[inst].app,
        );
        let member = format!("m{inst}-{consumer}-{app}");
        let members = &mut self.broker.groups[group].members;
        // Whatever an earlier run of it joined as has timed out by now.
        members.retain(|_, who| *who != (inst, consumer));
        members.insert(member.clone(), (inst, consumer));
        self.broker.groups[group].newcomers.insert(member.clone());
        self.insts[inst].consumers[consumer].member = Some(member);
        self.rebalance(group);
    }

    /// The group's members are assigned anew.
    pub fn rebalance(&mut self, group: usize) {
        let this = &mut self.broker.groups[group];
        this.stable = false;
        this.generation += 1;
        let generation = this.generation;
        let members: Vec<String> = this.members.keys().cloned().collect();
        for member in members {
            let delay = self.rng.random_range(1..8_000);
            self.after(delay, Event::Learn(group, generation, member));
        }
        self.after(8_500, Event::Rebalanced(group, generation));
    }

    /// A member learns of it: its JoinGroup passes its sidecar.
    pub fn learn(&mut self, group: usize, generation: u32, member: &str) {
        let this = &self.broker.groups[group];
        let Some(&(inst, consumer)) = this.members.get(member) else {
            return;
        };
        if this.generation != generation {
            return;
        }
        let (now, name) = (self.moment(), this.name.clone());
        let new = this.newcomers.contains(member);
        if self.insts[inst].sidecar.up && self.insts[inst].running {
            let process = &mut self.insts[inst].sidecar.process;
            process.handle_member(&name, member, new);
            process.handle_rebalance(now, &name);
        }
        self.give_up(inst, consumer);
        self.drain(inst);
    }

    /// A consumer has no partitions any more.
    pub fn give_up(&mut self, inst: usize, consumer: usize) {
        self.abandon(inst, consumer);
        let names: Vec<(usize, TopicPartition)> = self.insts[inst].consumers[consumer]
            .assigned
            .iter()
            .map(|part| (*part, self.tp(*part)))
            .collect();
        for (part, tp) in names {
            let conn = self.insts[inst].conn(consumer, part % 2);
            // Few clients do not say what they no longer want.
            if self.plan.calm || self.rng.random_ratio(9, 10) {
                self.insts[inst].sidecar.process.handle_forgotten(conn, &tp);
            }
        }
        let this = &mut self.insts[inst].consumers[consumer];
        this.assigned.clear();
        this.fetch.clear();
        this.position.clear();
        self.try_pause(inst);
    }

    /// Everybody has joined and is told what is its own.
    pub fn rebalanced(&mut self, group: usize, generation: u32) {
        if self.broker.groups[group].generation != generation {
            return;
        }
        let topics = self.broker.groups[group].topics.clone();
        let existing = |part: &usize| self.broker.logs[*part].exists;
        let parts: Vec<usize> = topics
            .iter()
            .flat_map(|topic| self.broker.parts_of(*topic))
            .filter(existing)
            .collect();
        // In the order of the instances, so that the same instances get the same partitions again.
        let mut members: Vec<((usize, usize), String)> = self.broker.groups[group]
            .members
            .iter()
            .map(|(member, who)| (*who, member.clone()))
            .collect();
        members.sort();
        let this = &mut self.broker.groups[group];
        this.stable = true;
        this.assignment.clear();
        this.newcomers.clear();
        for (index, part) in parts.iter().enumerate().filter(|_| !members.is_empty()) {
            let (_, member) = &members[index % members.len()];
            this.assignment.insert(*part, member.clone());
        }
        self.tell(|| {
            format!(
                "group {group} assigned {:?}",
                self.broker.groups[group].assignment
            )
        });
        for ((inst, consumer), member) in members {
            self.take_over(group, inst, consumer, &member);
        }
    }

    fn take_over(&mut self, group: usize, inst: usize, consumer: usize, member: &str) {
        let parts: Vec<usize> = self.broker.assigned_to(group, member).collect();
        let committed = self.broker.groups[group].committed.clone();
        let this = &mut self.insts[inst].consumers[consumer];
        this.assigned = parts.iter().copied().collect();
        for part in parts {
            let at = committed.get(&part).copied().unwrap_or(0);
            this.fetch.insert(part, at);
            this.position.insert(part, at);
        }
        self.fetch_soon(inst);
    }

    /// A topic was made by its first Produce: its readers find it when they look.
    pub fn topic_made(&mut self, part: usize) {
        let topic = self.broker.topic_of[part];
        let parts: Vec<usize> = self.broker.parts_of(topic).collect();
        for part in parts {
            self.broker.logs[part].exists = true;
        }
        let groups: Vec<usize> = self.broker.readers_of(topic).collect();
        for group in groups {
            self.rebalance(group);
        }
    }
}
