//! How something is getting on, on stderr: a line that changes on a terminal, a line for each change elsewhere.
//!
//! It is told what to say and knows nothing of what it says.

use std::{
    io::{self, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{page::printable, stage::Stage};

/// How often a terminal is drawn anew.
const TICK: Duration = Duration::from_millis(120);

/// Shows how one thing is getting on, until dropped.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    said: String,
}

impl Progress {
    /// Nothing is shown yet. `on_terminal`: stderr can change a line.
    #[must_use]
    pub fn new(on_terminal: bool) -> Self {
        let bar = on_terminal.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(style("{spinner} {elapsed} {wide_msg}"));
            bar.enable_steady_tick(TICK);
            bar
        });
        Self {
            bar,
            said: String::new(),
        }
    }

    /// It stands so now. The same words again say nothing new.
    pub fn stands(&mut self, text: &str) {
        if self.said == text {
            return;
        }
        text.clone_into(&mut self.said);
        match &self.bar {
            Some(bar) => bar.set_message(printable(text)),
            None => say(text),
        }
    }

    /// It has come so far, which `text` says in words.
    pub fn reaches(&mut self, stage: Stage, text: &str) {
        if let Some(bar) = &self.bar {
            if bar.length().is_none() {
                bar.set_style(
                    style("{spinner} {elapsed} [{bar:24}] {wide_msg}").progress_chars("#>."),
                );
            }
            bar.set_length(stage.of as u64);
            bar.set_position(stage.done as u64);
        }
        self.stands(text);
    }

    /// Something happened that shall stay to be read.
    pub fn happened(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template names fields that exist")
}

fn say(text: &str) {
    // Words beside the data are not worth failing for.
    let _ = writeln!(io::stderr().lock(), "{}", printable(text));
}
