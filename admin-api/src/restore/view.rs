//! Plans and restores as the REST interface shows them.
//!
//! Everything is read from the plan or from the stored journal: a restore looks the same from whichever admin API.

use std::collections::{BTreeMap, BTreeSet};

use cutline_client::{
    Contamination, OffsetView, PlanProblem, PlannedMask, PlannedPosition, PlannedService,
    PlannedState, PositionView, RestoreJournalEntry, RestorePlan, RestoreStatus, RestoreView,
};
use cutline_model::ServiceName;
use cutline_protocol::restore::{self, Entry, Facts, Journal, Plan, Problem, Step, group_targets};
use cutline_store::{JournalRecord, MaskRecord};
use cutline_telemetry::Span;
use jiff::Timestamp;

use super::{
    live::Live,
    stored::{self, Begun},
};

/// What no restore can take back.
const EFFECTS_OUTSIDE: &str = "what left Kafka and the recorded states cannot be rolled back: mails, calls to other systems, and whatever readers without a sidecar have done";

/// A contaminated reader.
#[must_use]
pub fn contamination(found: &restore::Contamination) -> Contamination {
    Contamination {
        service: Some(found.service.to_string()),
        group: found
            .group
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        topic: found.partition.topic.to_string(),
        partition: found.partition.partition,
        from: found.first.0,
        delivered: found.delivered.0,
    }
}

/// What a user is told of a plan that holds.
#[must_use]
pub fn warnings(plan: &Plan) -> Vec<String> {
    let notices = plan.notices.iter().map(ToString::to_string);
    notices.chain([EFFECTS_OUTSIDE.to_owned()]).collect()
}

/// A plan, or why there is none.
#[must_use]
pub fn plan(facts: &Facts, planned: &Result<Plan, Vec<Problem>>) -> RestorePlan {
    let problems = planned.as_ref().err().map_or(&[][..], Vec::as_slice);
    let seen = problems.iter().filter_map(|problem| match problem {
        Problem::Contaminated(found) => Some(contamination(found)),
        _ => None,
    });
    let plan = planned.as_ref().ok();
    let allowed = plan.into_iter().flat_map(|plan| &plan.contaminated);
    let holds = plan.into_iter().flat_map(|plan| &plan.holds);
    RestorePlan {
        epoch: facts.cut.epoch,
        feasible: planned.is_ok(),
        problems: problems
            .iter()
            .map(|problem| PlanProblem {
                code: problem.code().to_owned(),
                detail: problem.to_string(),
            })
            .collect(),
        warnings: plan.map_or_else(|| vec![EFFECTS_OUTSIDE.to_owned()], warnings),
        timeline: cutline_model::Timeline::default(),
        services: facts
            .restored
            .iter()
            .map(|service| planned_service(facts, service))
            .collect(),
        holds: holds
            .map(|(partition, offset)| OffsetView {
                topic: partition.topic.to_string(),
                partition: partition.partition,
                offset: offset.0,
            })
            .collect(),
        masks: plan.map_or_else(Vec::new, |plan| planned_masks(facts, plan)),
        contaminated: seen.chain(allowed.map(contamination)).collect(),
    }
}

fn planned_service(facts: &Facts, service: &ServiceName) -> PlannedService {
    let of_service = facts
        .cut
        .processes
        .iter()
        .filter(|(id, _)| id.service == *service);
    let state = of_service.filter_map(|(process, part)| {
        let part = part.part.as_ref()?;
        Some(PlannedState {
            process: process.to_string(),
            provider: part.provider.clone(),
            state_size: part.state_bytes,
        })
    });
    PlannedService {
        service: service.to_string(),
        state: state.collect(),
        positions: planned_positions(facts, service),
    }
}

fn planned_positions(facts: &Facts, service: &ServiceName) -> Vec<PlannedPosition> {
    let known = facts.groups_now.iter();
    let known = known.map(|(group, now)| (group.clone(), now.service.clone()));
    let only = BTreeSet::from([service.clone()]);
    let mut planned = Vec::new();
    for (group, target) in group_targets(&facts.cut, &only, known) {
        let nothing = BTreeMap::new();
        let now = facts
            .groups_now
            .get(&group)
            .map_or(&nothing, |now| &now.committed);
        let partitions: BTreeSet<_> = target.offsets.keys().chain(now.keys()).collect();
        planned.extend(partitions.into_iter().map(|partition| PlannedPosition {
            position: PositionView {
                group: group.to_string(),
                topic: partition.topic.to_string(),
                partition: partition.partition,
                offset: target.offsets.get(partition).map(|offset| offset.0),
            },
            committed_now: now.get(partition).map(|offset| offset.0),
        }));
    }
    planned
}

/// Where data lies in masks of the restored services.
fn planned_masks(facts: &Facts, plan: &Plan) -> Vec<PlannedMask> {
    let own = plan
        .masks
        .iter()
        .filter(|(service, ..)| plan.services.contains(*service));
    own.filter_map(|(service, partition, ranges)| {
        let mut real = ranges.clone();
        if let Some(wrote) = facts.writers.get(partition) {
            let mut unwritten = ranges.clone();
            unwritten.subtract(&wrote.data());
            real.subtract(&unwritten);
        }
        let (first, last) = (real.ranges().first()?, real.ranges().last()?);
        Some(PlannedMask {
            service: service.to_string(),
            topic: partition.topic.to_string(),
            partition: partition.partition,
            from: first.start.0,
            to: last.end.0,
        })
    })
    .collect()
}

/// Where a restore stands.
#[must_use]
pub fn status_of(journal: &Journal, aborted: bool) -> RestoreStatus {
    match journal.next() {
        Step::Over | Step::GiveUp if journal.given_up().is_some() => {
            let over = journal.next() == Step::Over;
            match (over, aborted) {
                (true, true) => RestoreStatus::Aborted,
                (true, false) => RestoreStatus::Failed,
                (false, _) => RestoreStatus::Fencing,
            }
        }
        Step::Over => RestoreStatus::Completed,
        Step::WriteHolds => RestoreStatus::Planned,
        _ if journal.may_give_up() => RestoreStatus::Fencing,
        _ => RestoreStatus::Restoring,
    }
}

/// How many offsets are masked of `services`.
#[must_use]
pub fn masked_offsets(masks: &[MaskRecord], services: &BTreeSet<ServiceName>) -> u64 {
    let own = masks
        .iter()
        .filter(|record| services.contains(&record.service));
    let ranges = own.flat_map(|record| record.ranges.ranges());
    let count = ranges.map(|range| u64::try_from(range.end.0 - range.start.0).unwrap_or(0));
    count.sum()
}

/// A restore as its journal tells it. `live` is set when it runs here.
#[must_use]
pub fn restore(records: &[JournalRecord], live: Option<&Live>) -> RestoreView {
    let (first, last) = (records.first(), records.last());
    let at = |record: Option<&JournalRecord>| record.map_or(Timestamp::UNIX_EPOCH, |r| r.at);
    let (started_at, over) = (at(first), last.is_some_and(|record| record.finished));
    let ended_at = if over { at(last) } else { Timestamp::now() };
    let duration = ended_at
        .duration_since(started_at)
        .unsigned_abs()
        .as_millis();
    let mut view = RestoreView {
        id: first
            .map(|record| record.restore.clone())
            .unwrap_or_default(),
        epoch: first.map(|record| record.epoch).unwrap_or_default(),
        status: if over {
            RestoreStatus::Failed
        } else {
            RestoreStatus::Planned
        },
        step: last.map(|record| record.step.clone()).unwrap_or_default(),
        services: Vec::new(),
        started_at,
        completed_at: over.then_some(ended_at),
        duration_ms: u64::try_from(duration).unwrap_or(u64::MAX),
        reason: live.and_then(Live::obstacle),
        safety_epoch: None,
        timeline: None,
        state_size: 0,
        masked_offsets: 0,
        contaminated: Vec::new(),
        warnings: Vec::new(),
        trace_id: None,
        journal: records
            .iter()
            .map(|record| RestoreJournalEntry {
                seq: record.seq,
                at: record.at,
                step: record.step.clone(),
            })
            .collect(),
    };
    match stored::read(records) {
        Ok(read) => fill(&mut view, &read),
        Err(error) => {
            // One that the store refused has no plan to show, and says itself why.
            let refused = last.and_then(|record| record.data.get("reason")?.as_str());
            view.reason = Some(refused.map_or_else(|| error.to_string(), str::to_owned));
        }
    }
    view
}

fn fill(view: &mut RestoreView, read: &stored::Read) {
    let Begun {
        services,
        states,
        warnings,
        ..
    } = &read.begun;
    view.status = status_of(&read.journal, read.beside.aborted);
    view.services = services.iter().map(ToString::to_string).collect();
    view.safety_epoch = read.journal.safety();
    view.timeline = read.journal.timeline();
    view.masked_offsets = masked_offsets(&read.masks, services);
    view.contaminated.clone_from(&read.beside.contaminated);
    view.warnings.clone_from(warnings);
    let trace = read.begun.trace.as_deref();
    view.trace_id = trace.and_then(|caller| Span::of_caller(caller).trace_id());
    let restored = |entry: &Entry| match entry {
        Entry::StateRestored { process } => Some(process.clone()),
        _ => None,
    };
    let done: BTreeSet<_> = read.journal.entries().iter().filter_map(restored).collect();
    let sizes = states.iter().filter(|state| done.contains(&state.process));
    view.state_size = sizes.map(|state| state.part.state_bytes).sum();
    if let Some(reason) = read.journal.given_up() {
        view.reason = Some(reason.to_owned());
    }
    for entry in read.journal.entries() {
        if let Entry::Emptied { transactional_ids } = entry
            && !transactional_ids.is_empty()
        {
            view.warnings.push(format!(
                "these transactional ids had an open transaction and are fenced for good, restart their applications: {}",
                transactional_ids.join(", ")
            ));
        }
    }
}
