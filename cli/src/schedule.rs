//! `cutline schedule`: the periodic checkpoints, shown and replaced.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use cutline_client::{ScheduleRequest, ScheduleView};
use cutline_model::Mode;

use crate::{
    failure::Failure,
    page::Page,
    quantity::{parse_duration, time, whole_ms},
    session::Session,
};

/// What to do with the schedule.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show the schedule in force
    Show,
    /// Replace the schedule until the admin API restarts; what is not given becomes as configured
    #[command(
        after_long_help = "Examples:\n  cutline schedule set --interval 5m --min-pause 30s\n  cutline schedule set --off"
    )]
    Set(Replacement),
}

/// The schedule to be.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("when").required(true).args(["interval", "off"])))]
pub struct Replacement {
    /// From one checkpoint's trigger to the next, such as 30s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    interval: Option<Duration>,
    /// No periodic checkpoints
    #[arg(long)]
    off: bool,
    /// The least time from the end of one checkpoint to the next trigger
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    min_pause: Option<Duration>,
    /// How input is held: aligned, unaligned or synchronous
    #[arg(long)]
    mode: Option<Mode>,
}

/// Does it.
///
/// # Errors
/// When it is not done.
pub async fn run(session: &Session, verb: Verb) -> Result<(), Failure> {
    let view = match verb {
        Verb::Show => {
            let answer = session.client.schedule();
            session.ask("show the schedule", answer).await?
        }
        Verb::Set(to) => {
            let request = ScheduleRequest {
                interval_ms: to.interval.map(in_ms),
                min_pause_ms: to.min_pause.map(in_ms),
                mode: to.mode,
            };
            let answer = session.client.set_schedule(&request);
            session.ask("set the schedule", answer).await?
        }
    };
    Ok(session.screen.show(&view, &page(&view))?)
}

fn in_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn page(view: &ScheduleView) -> Page {
    let interval = view.interval_ms.map(whole_ms);
    Page::new().facts([
        ("interval", interval.unwrap_or_else(|| "off".to_owned())),
        ("min pause", whole_ms(view.min_pause_ms)),
        ("mode", view.mode.to_string()),
        ("next at", view.next_at.map(time).unwrap_or_default()),
        ("failures since the last success", view.failures.to_string()),
    ])
}
