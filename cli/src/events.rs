//! `cutline events`: what changes, one line each.
//!
//! Following goes on where it was after a connection is lost, for as long as an admin API may take to start anew; what was
//! missed meanwhile and is no longer had is said by an event of its own.

use std::time::Duration;

use clap::Args;
use cutline_client::{AdminError, EVENT_RESET, Event, EventStream};
use serde_json::Value;
use tokio::time::Instant;

use crate::{failure::Failure, session::Session};

/// The backlog is over when nothing has come for this long.
const BACKLOG_QUIET: Duration = Duration::from_millis(500);
/// Before a lost connection is taken up again.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// How long one tries to take a lost connection up again.
const RECONNECT_MAX: Duration = Duration::from_secs(60);
/// An event that never was: what follows it is all that is still had.
const BEFORE_ALL: &str = "0";

/// What to show.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  cutline events\n  cutline events --follow -o json")]
pub struct Arguments {
    /// Show what happens from now on, until ended or for as long as --timeout says; without it, what the admin API remembers
    #[arg(long)]
    follow: bool,
}

/// Does it.
///
/// # Errors
/// When the admin API is out of reach, or stays so.
pub async fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    if arguments.follow {
        follow(session).await
    } else {
        remembered(session).await
    }
}

async fn remembered(session: &Session) -> Result<(), Failure> {
    let what = "show events";
    let mut events = session
        .ask(what, session.client.events(Some(BEFORE_ALL)))
        .await?;
    while let Ok(next) = tokio::time::timeout(BACKLOG_QUIET, events.next()).await {
        match next.map_err(|error| failed(what, error))? {
            // It answers the event that never was and tells nothing.
            Some(event) if event.kind == EVENT_RESET => {}
            Some(event) => session.screen.show_line(&event, &line(&event))?,
            None => break,
        }
    }
    Ok(())
}

async fn follow(session: &Session) -> Result<(), Failure> {
    let work = follow_on(session);
    match session.deadline() {
        // Whoever follows for a time has seen what was asked for when it is over.
        Some(deadline) => tokio::time::timeout_at(deadline, work)
            .await
            .unwrap_or(Ok(())),
        None => work.await,
    }
}

async fn follow_on(session: &Session) -> Result<(), Failure> {
    let mut last: Option<String> = None;
    // The first connection is tried once: an address that is wrong should be said at once.
    let first = session.client.events(None).await;
    let mut events = first.map_err(|error| failed("follow events", error))?;
    let address = session.client.address();
    session
        .screen
        .note(&format!("following the events of {address}"));
    loop {
        let lost = match events.next().await {
            Ok(Some(event)) => {
                session.screen.show_line(&event, &line(&event))?;
                last = Some(event.id);
                continue;
            }
            Ok(None) => "the admin API ended the stream".to_owned(),
            Err(error @ AdminError::Unexpected { .. }) => {
                return Err(failed("follow events", error));
            }
            Err(error) => error.to_string(),
        };
        session.screen.note(&format!("{lost}; asking again"));
        events = again(session, last.as_deref()).await?;
    }
}

async fn again(session: &Session, last: Option<&str>) -> Result<EventStream, Failure> {
    let since = Instant::now();
    loop {
        tokio::time::sleep(RECONNECT_PAUSE).await;
        match session.client.events(last).await {
            Ok(events) => return Ok(events),
            Err(error) if error.is_retryable() && since.elapsed() < RECONNECT_MAX => {}
            Err(error) => return Err(failed("follow events", error)),
        }
    }
}

fn failed(what: &str, error: AdminError) -> Failure {
    Failure::Admin {
        what: what.to_owned(),
        error,
        cure: None,
    }
}

/// The event for people: when, what kind, and what belongs to it as `name=value`.
#[must_use]
pub fn line(event: &Event) -> String {
    let at = event.at.strftime("%Y-%m-%d %H:%M:%S%.3fZ");
    let mut line = format!("{at}  {}", event.kind);
    match &event.data {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                line += &match value {
                    Value::String(text) if text.contains(' ') => format!("  {name}={text:?}"),
                    Value::String(text) => format!("  {name}={text}"),
                    other => format!("  {name}={other}"),
                };
            }
        }
        Value::Null => {}
        other => line += &format!("  {other}"),
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_one_line_with_all_that_belongs_to_it() {
        let event = Event {
            id: "ab-1".to_owned(),
            at: "2026-03-04T05:06:07.891Z".parse().unwrap(),
            kind: "checkpoint.failed".to_owned(),
            data: json!({"epoch": 7, "phase": "Running", "reason": "a/0 was lost", "x": null}),
        };
        assert_eq!(
            line(&event),
            "2026-03-04 05:06:07.891Z  checkpoint.failed  epoch=7  phase=Running  reason=\"a/0 was lost\""
        );
    }
}
