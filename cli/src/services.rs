//! `cutline services`: every service, running or not; and forgetting one that does not come back.

use clap::{Args, Subcommand};
use cutline_client::ServiceView;
use serde_json::json;

use crate::{
    failure::Failure,
    page::Page,
    session::Session,
    table::{Column, Table},
};

/// What to do with services.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Forget a service that has no instances and will have none: it stands against no checkpoint any more
    Forget {
        /// The service
        service: String,
    },
}

/// Does it.
///
/// # Errors
/// When it is not done.
pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    match arguments.verb {
        None => show(session).await,
        Some(Verb::Forget { service }) => forget(session, &service).await,
    }
}

async fn forget(session: &Session, service: &str) -> Result<(), Failure> {
    let what = format!("forget service {service}");
    let forgotten = session.client.forget_service(service);
    session.ask(&what, forgotten).await?;
    let page = Page::new().line(format!("service {service} is forgotten"));
    let answer = json!({ "service": service, "forgotten": true });
    Ok(session.screen.show(&answer, &page)?)
}

async fn show(session: &Session) -> Result<(), Failure> {
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
