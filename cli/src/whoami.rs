//! `cutline whoami`: who the admin API takes this command for.

use crate::{failure::Failure, page::Page, session::Session};

/// Does it.
///
/// # Errors
/// When there is no answer.
pub async fn run(session: &Session) -> Result<(), Failure> {
    let answer = session.client.whoami();
    let view = session.ask("tell who asks", answer).await?;
    let may = match view.role.as_deref() {
        None => "everything: this admin API asks for no token",
        Some("viewer") => "look",
        Some("operator") => "look, take and verify checkpoints, set the schedule",
        Some("admin") => "everything people may",
        Some(_) => "what its role says",
    };
    let page = Page::new().facts([
        ("name", view.name.clone()),
        ("role", view.role.clone().unwrap_or_default()),
        ("may", may.to_owned()),
        ("deployment", view.deployment.clone().unwrap_or_default()),
        ("admin API", session.place()),
        ("its version", view.version.clone()),
        ("leads", if view.leading { "yes" } else { "no" }.to_owned()),
    ]);
    Ok(session.screen.show(&view, &page)?)
}
