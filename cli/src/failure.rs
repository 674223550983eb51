//! Why a command did not do what was asked: what happened, to what, and what to do about it.
//!
//! A failure knows its exit code and its words for stderr. It does not know which command it came from beyond the
//! few words it is given.

use std::{fmt, io, io::Write, process::ExitCode, time::Duration};

use cutline_client::{AdminError, ProblemDetails};

use crate::{page::printable, quantity, session::ADMIN_DEFAULT};

/// The exit code of what was not done.
const EXIT_NOT_DONE: u8 = 1;
/// The exit code of what was not understood; the same as clap's.
const EXIT_USAGE: u8 = 2;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command cannot be understood.
    #[error("{0}")]
    Usage(String),
    /// The admin API did not do it.
    #[error("cannot {what}: {}", in_short(.error))]
    Admin {
        /// What was asked, to follow "cannot".
        what: String,
        /// Why not.
        error: AdminError,
        /// What to do, where this command knows more than the admin API.
        cure: Option<String>,
    },
    /// `--timeout` passed.
    #[error("cannot {what} within {}", quantity::duration(*.after))]
    TimedOut {
        /// What was asked, to follow "cannot".
        what: String,
        /// How long it was given.
        after: Duration,
        /// What to do.
        cure: String,
    },
    /// It was answered, and the answer is no.
    #[error("{what}")]
    NotDone {
        /// What is not done, and why.
        what: String,
        /// What to do, where that is known.
        cure: Option<String>,
    },
    /// Stdout took no more.
    #[error("stdout cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// An answer that is no.
    pub fn not_done(what: impl fmt::Display) -> Self {
        Self::NotDone {
            what: what.to_string(),
            cure: None,
        }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn with_cure(mut self, words: impl Into<String>) -> Self {
        match &mut self {
            Self::Admin { cure, .. } | Self::NotDone { cure, .. } => *cure = Some(words.into()),
            Self::TimedOut { cure, .. } => *cure = words.into(),
            Self::Usage(_) | Self::Output(_) => {}
        }
        self
    }

    /// What the process ends with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => EXIT_USAGE,
            _ => EXIT_NOT_DONE,
        })
    }

    /// Says it on stderr. A reader of stdout that has gone away, as `head` does, needs no words.
    pub fn tell(&self) {
        if !matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            // Nothing is left to say it to when stderr is gone as well.
            let _ = io::stderr().lock().write_all(self.words().as_bytes());
        }
    }

    /// What is said of it: a line that says what happened, then details and cures, indented.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = format!("error: {}\n", printable(&self.to_string()));
        for line in self.more().iter().flat_map(|more| more.lines()) {
            words += &format!("  {}\n", printable(line));
        }
        words
    }

    fn more(&self) -> Vec<String> {
        match self {
            Self::Usage(_) => vec!["try: cutline --help".to_owned()],
            Self::Admin { error, cure, .. } => {
                let mut more = about(error);
                more.extend(cure.clone());
                more
            }
            Self::TimedOut { cure, .. } => vec![cure.clone()],
            Self::NotDone { cure, .. } => cure.iter().cloned().collect(),
            Self::Output(_) => Vec::new(),
        }
    }
}

fn in_short(error: &AdminError) -> String {
    match error {
        AdminError::Problem { details, .. } => details.title.clone(),
        other => other.to_string(),
    }
}

/// What the first line leaves out, and what to do.
fn about(error: &AdminError) -> Vec<String> {
    match error {
        AdminError::Problem {
            details,
            retry_after,
        } => {
            let mut more = vec![details.to_string()];
            if let Some(after) = retry_after {
                more.push(format!("ask again in {}", quantity::duration(*after)));
            }
            more.extend(cure_of(details).map(str::to_owned));
            more
        }
        AdminError::Unreachable { address, .. } if address == ADMIN_DEFAULT => vec![format!(
            "start cutline-admin there, or say where it is: --admin URL, CUTLINE_ADMIN or a context (the default is {ADMIN_DEFAULT}); cutline doctor looks closer"
        )],
        AdminError::Unreachable { .. } => vec![
            "see that cutline-admin runs there, or correct --admin URL, CUTLINE_ADMIN or the context; cutline doctor looks closer"
                .to_owned(),
        ],
        AdminError::Unexpected { .. } => vec![
            "see that --admin or CUTLINE_ADMIN names an admin API, and one of this version"
                .to_owned(),
        ],
        AdminError::BadAddress { .. } | AdminError::BadToken | AdminError::Tls(_) => Vec::new(),
    }
}

/// What this command can do about a problem; the detail says what the admin API knows.
fn cure_of(problem: &ProblemDetails) -> Option<&'static str> {
    Some(match problem.code.as_str() {
        "CL0200" => "what it waits for, and the cure: cutline doctor",
        "CL0201" => "where the leader is: cutline doctor",
        "CL0202" => "see it: cutline checkpoint list; end it: cutline checkpoint abort EPOCH",
        "CL0203" => "see it: cutline restore list",
        "CL0211" | "CL0212" => "what is wrong with it: cutline doctor",
        "CL0219" => {
            "who you are taken for: cutline whoami; use a token with the role that is needed"
        }
        // It speaks TLS and was asked without.
        "CL0221" => "give --admin, CUTLINE_ADMIN or the context with https://",
        _ if problem.status == 401 => {
            "give a token with --token-file PATH, CUTLINE_TOKEN_FILE, or a context that has one"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(detail: &str) -> Failure {
        Failure::Admin {
            what: "delete checkpoint 7".to_owned(),
            error: AdminError::Problem {
                details: Box::new(ProblemDetails {
                    kind: "urn:cutline:error:CL0201".to_owned(),
                    title: "not leading".to_owned(),
                    status: 503,
                    detail: detail.to_owned(),
                    code: "CL0201".to_owned(),
                }),
                retry_after: Some(Duration::from_secs(2)),
            },
            cure: None,
        }
    }

    #[test]
    fn a_problem_is_told_with_title_code_detail_and_when_to_ask_again() {
        assert_eq!(
            problem("another one leads").words(),
            "error: cannot delete checkpoint 7: not leading\n  CL0201 another one leads\n  ask again in 2 s\n  where the leader is: cutline doctor\n"
        );
    }

    #[test]
    fn an_answer_cannot_write_to_the_terminal_what_it_likes() {
        assert!(!problem("\u{1b}[2J").words().contains('\u{1b}'));
    }

    #[test]
    fn who_cannot_be_reached_is_named_with_the_settings_that_say_where() {
        for (address, hint) in [(ADMIN_DEFAULT, "the default"), ("http://h:1", "correct")] {
            let failure = Failure::Admin {
                what: "list checkpoints".to_owned(),
                error: AdminError::Unreachable {
                    address: address.to_owned(),
                    reason: "connection refused".to_owned(),
                },
                cure: None,
            };
            let words = failure.words();
            for part in [address, hint, "--admin", "CUTLINE_ADMIN", "refused"] {
                assert!(words.contains(part), "{part}: {words}");
            }
        }
    }
}
