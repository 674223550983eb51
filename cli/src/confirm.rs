//! Asking a person before what cannot be undone.
//!
//! Only on a terminal: whoever runs the command from a program has decided already. It does not know what is about to be done
//! beyond the words it is given.

use std::io::{self, IsTerminal, Write};

use crate::{failure::Failure, page::printable, session::Session};

/// Goes on when `yes` says so, when nobody sits at a terminal, or when the person there types `word`.
///
/// # Errors
/// When something else is typed.
pub fn confirm(session: &Session, what: &str, word: &str, yes: bool) -> Result<(), Failure> {
    if yes || !io::stdin().is_terminal() {
        return Ok(());
    }
    let place = session.place();
    let question = format!("This will {what}, at {place}.\nType {word} to go on: ");
    let mut stderr = io::stderr().lock();
    for line in question.split_inclusive('\n') {
        let text = printable(line.trim_end_matches('\n'));
        let end = if line.ends_with('\n') { "\n" } else { "" };
        // Nobody can answer what cannot be read; the answer will say so.
        let _ = write!(stderr, "{text}{end}");
    }
    let _ = stderr.flush();
    let mut typed = String::new();
    // What cannot be read is no answer.
    let _ = io::stdin().read_line(&mut typed);
    if typed.trim() == word {
        return Ok(());
    }
    Err(
        Failure::not_done(format!("not confirmed: nothing was done at {place}"))
            .with_cure(format!("type {word} when asked, or give --yes")),
    )
}
