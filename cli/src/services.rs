//! `cutline services`: every service, running or not.

use cutline_client::ServiceView;

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
    let answer = session.client.services();
    let services = session.ask("show the services", answer).await?;
    if services.is_empty() {
        session.screen.note("no sidecar has registered yet");
    }
    let page = Page::new().table(table(&services));
    Ok(session.screen.show(&services, &page)?)
}

/// One row for each.
pub fn table(services: &[ServiceView]) -> Table {
    let mut table = Table::new([
        Column::Word("SERVICE"),
        Column::Number("INSTANCES"),
        Column::Word("STATE"),
        Column::Word("FENCED"),
        Column::Text("GROUPS"),
        Column::Text("READS"),
        Column::Text("WRITES"),
    ]);
    let yes_or_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    for service in services {
        table.row([
            service.service.clone(),
            service.instances.len().to_string(),
            yes_or_no(service.has_state),
            yes_or_no(service.fenced),
            service.groups.join(" "),
            service.reads.join(" "),
            service.writes.join(" "),
        ]);
    }
    table
}
