//! `cutline man`: the manual, a page for each command.

use std::path::Path;

use clap::CommandFactory;

use crate::{Cli, failure::Failure, screen::Screen};

/// Writes the pages into `directory`, which is made when it is not there.
///
/// # Errors
/// When they cannot be written.
pub fn run(screen: &Screen, directory: &Path) -> Result<(), Failure> {
    let made = std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory));
    made.map_err(|error| {
        let shown = directory.display();
        Failure::not_done(format!("the manual cannot be written to {shown}: {error}"))
            .with_cure("give a directory that you may write, such as ~/.local/share/man/man1")
    })?;
    let shown = directory.display();
    screen.note(&format!("read it by: man {shown}/cutline.1"));
    Ok(())
}
