//! `cutline topology`: who reads and writes what.

use cutline_client::{GroupView, TopicLink, TopologyView};

use crate::{
    failure::Failure,
    page::Page,
    quantity::count,
    services,
    session::Session,
    table::{Column, Table},
};

/// Does it.
///
/// # Errors
/// When there is no answer.
pub async fn run(session: &Session) -> Result<(), Failure> {
    let answer = session.client.topology();
    let topology = session.ask("show the topology", answer).await?;
    if topology.services.is_empty() {
        session.screen.note("no sidecar has registered yet");
    }
    Ok(session.screen.show(&topology, &page(&topology))?)
}

fn page(topology: &TopologyView) -> Page {
    let masked = count(topology.masked_partitions, "partition");
    Page::new()
        .facts([
            ("timeline", topology.timeline.to_string()),
            ("masked", masked),
        ])
        .section("Topics", topics(&topology.topics))
        .section("Services", services::table(&topology.services))
        .section("Groups", groups(&topology.groups))
}

fn topics(topics: &[TopicLink]) -> Table {
    let mut table = Table::new([
        Column::Word("TOPIC"),
        Column::Number("PARTITIONS"),
        Column::Text("WRITERS"),
        Column::Text("READERS"),
    ]);
    for topic in topics {
        table.row([
            topic.topic.clone(),
            topic.partitions.to_string(),
            topic.writers.join(" "),
            topic.readers.join(" "),
        ]);
    }
    table
}

fn groups(groups: &[GroupView]) -> Table {
    let mut table = Table::new([
        Column::Word("GROUP"),
        Column::Word("MEMBER"),
        Column::Word("SIDECAR"),
        Column::Text("ASSIGNED"),
    ]);
    for group in groups {
        if group.members.is_empty() {
            table.row([
                group.group.clone(),
                "none".to_owned(),
                String::new(),
                String::new(),
            ]);
        }
        for member in &group.members {
            // Such a member makes every checkpoint fail: it has to catch the eye.
            let sidecar = member.sidecar.as_deref().unwrap_or("OUTSIDE");
            table.row([
                group.group.clone(),
                member.member.clone(),
                sidecar.to_owned(),
                member.assignment.join(" "),
            ]);
        }
    }
    table
}
