//! `cutline sidecars`: every sidecar and how it stands to the admin API.

use cutline_client::SidecarView;
use cutline_model::{Capture, Scope};

use crate::{
    failure::Failure,
    page::Page,
    session::Session,
    table::{Column, Table},
};

/// Does it.
///
/// # Errors
/// When there is no answer.
pub async fn run(session: &Session) -> Result<(), Failure> {
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
