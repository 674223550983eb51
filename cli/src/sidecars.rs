//! `cutline sidecars`: every sidecar and how it stands to the admin API; and evicting one that is gone for good.

use clap::{Args, Subcommand};
use cutline_client::SidecarView;
use cutline_model::{Capture, Scope, SidecarId};

use crate::{
    completions,
    confirm::confirm,
    failure::Failure,
    page::Page,
    quantity::whole_ms,
    session::Session,
    table::{Column, Table},
};

/// What to do; to show them when nothing is said.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// What to do with sidecars.
#[derive(Debug, Subcommand)]
enum Verb {
    /// End the run of a sidecar that is gone for good, so that checkpoints go on without it
    #[command(after_long_help = "Examples:\n  cutline sidecars evict orders/orders-1")]
    Evict {
        /// The sidecar, as `cutline sidecars` names it
        #[arg(value_name = "SERVICE/INSTANCE", value_parser = parse_sidecar, add = completions::sidecars())]
        sidecar: SidecarId,
        /// Do not ask first
        #[arg(long)]
        yes: bool,
    },
}

fn parse_sidecar(text: &str) -> Result<SidecarId, String> {
    match text.split_once('/') {
        Some((service, instance)) if !service.is_empty() && !instance.is_empty() => {
            Ok(SidecarId::new(service, instance))
        }
        _ => Err("give SERVICE/INSTANCE, as `cutline sidecars` shows it".to_owned()),
    }
}

/// Does it.
///
/// # Errors
/// When there is no answer.
pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    match arguments.verb {
        None => list(session).await,
        Some(Verb::Evict { sidecar, yes }) => evict(session, &sidecar, yes).await,
    }
}

async fn evict(session: &Session, sidecar: &SidecarId, yes: bool) -> Result<(), Failure> {
    let name = sidecar.to_string();
    confirm(
        session,
        &format!("end the run of sidecar {name}"),
        &name,
        yes,
    )?;
    let answer = session.client.evict_sidecar(sidecar);
    let view = session
        .ask(&format!("evict sidecar {name}"), answer)
        .await?;
    let page = Page::new().line(format!(
        "sidecar {name} is evicted; checkpoints begin again in {}",
        whole_ms(view.settles_in_ms)
    ));
    Ok(session.screen.show(&view, &page)?)
}

async fn list(session: &Session) -> Result<(), Failure> {
    let answer = session.client.sidecars();
    let sidecars = session.ask("show the sidecars", answer).await?;
    if sidecars.is_empty() {
        session.screen.note("no sidecar has registered yet");
    }
    let page = Page::new().table(table(&sidecars));
    Ok(session.screen.show(&sidecars, &page)?)
}

fn table(sidecars: &[SidecarView]) -> Table {
    let mut table = Table::new([
        Column::Word("SIDECAR"),
        Column::Word("STANDS"),
        Column::Word("CAPTURE"),
        Column::Word("LISTENS"),
        Column::Number("CONNECTIONS"),
        Column::Number("READS"),
        Column::Text("STATE"),
        Column::Text("WRITES"),
    ]);
    for sidecar in sidecars {
        let scope = scope_word(sidecar.scope);
        let state = match sidecar.providers.as_slice() {
            [] => String::new(),
            providers => format!("{}, one for each {scope}", providers.join(" ")),
        };
        table.row([
            format!("{}/{}", sidecar.service, sidecar.instance),
            sidecar.state.to_string(),
            sidecar.capture.map_or("", capture_word).to_owned(),
            sidecar.listen.clone().unwrap_or_default(),
            sidecar.app_connections.to_string(),
            sidecar.reads.len().to_string(),
            state,
            sidecar.writes.join(" "),
        ]);
    }
    table
}

/// The word for whose state is recorded.
pub fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::Instance => "instance",
        Scope::Service => "service",
    }
}

/// The word for how a sidecar captures.
pub fn capture_word(capture: Capture) -> &'static str {
    match capture {
        Capture::Commit => "commit",
        Capture::Hook => "hook",
    }
}
