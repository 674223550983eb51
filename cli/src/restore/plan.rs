//! `cutline restore plan`: what a restore would do, or everything that stands against it.

use cutline_client::{Contamination, RestoreAnswer, RestorePlan, RestoreRequest};
use cutline_model::Epoch;

use crate::{
    failure::Failure,
    page::Page,
    quantity::{count, offset, whole_bytes},
    session::Session,
    table::{Column, Table},
};

/// Does it.
///
/// # Errors
/// When there is no answer, or the plan cannot be done.
pub async fn run(
    session: &Session,
    epoch: Epoch,
    services: Option<Vec<String>>,
) -> Result<(), Failure> {
    let request = RestoreRequest {
        services,
        dry_run: true,
        ..RestoreRequest::of(epoch)
    };
    let mut progress = session.screen.progress();
    progress.stands(&format!("checkpoint {epoch}: its restore is planned"));
    let what = format!("plan a restore of checkpoint {epoch}");
    let answer = session.client.create_restore(&request, None);
    let asked = session.ask(&what, answer).await;
    drop(progress);
    match asked? {
        RestoreAnswer::Plan(plan) => show(session, &plan),
        RestoreAnswer::Started(view) => {
            let text = format!("the admin API began restore {} instead of a plan", view.id);
            let cure = format!("end it now: cutline restore abort {}", view.id);
            Err(Failure::not_done(text).with_cure(cure))
        }
    }
}

/// Shows a plan.
///
/// # Errors
/// When it cannot be done.
pub fn show(session: &Session, plan: &RestorePlan) -> Result<(), Failure> {
    session.screen.show(plan, &page(plan))?;
    if plan.feasible {
        return Ok(());
    }
    let (epoch, problems) = (plan.epoch, count(plan.problems.len(), "problem"));
    let text = format!("checkpoint {epoch} cannot be restored as things are: {problems}");
    Err(Failure::not_done(text).with_cure("each problem above says what to do; then plan again"))
}

fn page(plan: &RestorePlan) -> Page {
    headline(plan)
        .section("Problems", problems(plan))
        .section("State put back", state(plan))
        .section("Positions put back", positions(plan))
        .section("Masked, as things are now", masks(plan))
        .section("Unrestored readers held at", holds(plan))
        .section(
            "Unrestored groups that have read what would be masked",
            contaminated(&plan.contaminated),
        )
        .list("Warnings", &plan.warnings)
}

fn headline(plan: &RestorePlan) -> Page {
    let states = plan.services.iter().flat_map(|service| &service.state);
    let bytes: u64 = states.map(|state| state.state_size).sum();
    let positions = plan.services.iter().map(|service| service.positions.len());
    let names: Vec<&str> = plan
        .services
        .iter()
        .map(|one| one.service.as_str())
        .collect();
    let possible = if plan.feasible { "can" } else { "cannot" };
    Page::new()
        .line(format!("Checkpoint {} {possible} be restored.", plan.epoch))
        .facts([
            ("services", names.join(", ")),
            ("state", whole_bytes(bytes)),
            ("positions", positions.sum::<usize>().to_string()),
            ("leaves timeline", plan.timeline.to_string()),
        ])
}

fn problems(plan: &RestorePlan) -> Table {
    let mut table = Table::new([Column::Word("CODE"), Column::Text("WHAT AND CURE")]);
    for problem in &plan.problems {
        // The code has a column of its own; some details bring it along.
        let detail = problem.detail.strip_prefix(&problem.code);
        let detail = detail.unwrap_or(&problem.detail).trim_start();
        table.row([problem.code.clone(), detail.to_owned()]);
    }
    table
}

fn state(plan: &RestorePlan) -> Table {
    let mut table = Table::new([
        Column::Word("PROCESS"),
        Column::Word("PROVIDER"),
        Column::Number("STATE"),
    ]);
    for state in plan.services.iter().flat_map(|service| &service.state) {
        table.row([
            state.process.clone(),
            state.provider.clone(),
            whole_bytes(state.state_size),
        ]);
    }
    table
}

fn positions(plan: &RestorePlan) -> Table {
    let mut table = Table::new([
        Column::Word("SERVICE"),
        Column::Word("GROUP"),
        Column::Word("PARTITION"),
        Column::Number("NOW"),
        Column::Number("THEN"),
        Column::Number("MOVED"),
    ]);
    for service in &plan.services {
        for planned in &service.positions {
            let (position, now) = (&planned.position, planned.committed_now);
            let moved = now.zip(position.offset).map(|(now, then)| then - now);
            table.row([
                service.service.clone(),
                position.group.clone(),
                format!("{}-{}", position.topic, position.partition),
                offset(now),
                offset(position.offset),
                moved.map_or_else(String::new, |moved| format!("{moved:+}")),
            ]);
        }
    }
    table
}

fn masks(plan: &RestorePlan) -> Table {
    let mut table = Table::new([
        Column::Word("WRITER"),
        Column::Word("PARTITION"),
        Column::Number("FROM"),
        Column::Number("TO"),
        Column::Number("OFFSETS"),
    ]);
    for mask in &plan.masks {
        table.row([
            mask.service.clone(),
            format!("{}-{}", mask.topic, mask.partition),
            mask.from.to_string(),
            mask.to.to_string(),
            mask.to.saturating_sub(mask.from).max(0).to_string(),
        ]);
    }
    table
}

fn holds(plan: &RestorePlan) -> Table {
    let mut table = Table::new([Column::Word("PARTITION"), Column::Number("OFFSET")]);
    for hold in &plan.holds {
        table.row([
            format!("{}-{}", hold.topic, hold.partition),
            hold.offset.to_string(),
        ]);
    }
    table
}

/// One row for each group that has read what it should not have.
pub fn contaminated(groups: &[Contamination]) -> Table {
    let mut table = Table::new([
        Column::Word("SERVICE"),
        Column::Word("GROUP"),
        Column::Word("PARTITION"),
        Column::Number("MASKED FROM"),
        Column::Number("READ TO"),
    ]);
    for one in groups {
        table.row([
            one.service.clone().unwrap_or_default(),
            one.group.clone(),
            format!("{}-{}", one.topic, one.partition),
            one.from.to_string(),
            one.delivered.to_string(),
        ]);
    }
    table
}
