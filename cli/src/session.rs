//! One run of the command line: the admin API it talks to, where it writes, and until when.
//!
//! Every question goes through here, so that every failure says what was asked and `--timeout` holds for all of them.

use std::{fmt::Display, future::Future, path::Path, time::Duration};

use cutline_client::{AdminClient, AdminError};
use tokio::time::Instant;

use crate::{
    failure::Failure,
    progress::Progress,
    quantity,
    screen::{Format, Screen},
    tls,
};

/// Where the admin API is, when nothing else is said.
pub const ADMIN_DEFAULT: &str = "http://127.0.0.1:7070";
/// How often one asks how something is getting on.
const POLL_PAUSE: Duration = Duration::from_millis(200);
/// How long a wait goes on without an answer: longer than an admin API takes to start anew.
const OUTAGE_MAX: Duration = Duration::from_secs(30);
/// The longest that an admin API can make a wait pause between two questions.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

/// The token in the file at `path`.
///
/// # Errors
/// When the file cannot be read.
pub fn token_in(path: &Path) -> std::io::Result<String> {
    Ok(std::fs::read_to_string(path)?.trim().to_owned())
}

/// One run.
#[derive(Debug)]
pub struct Session {
    /// The admin API.
    pub client: AdminClient,
    /// Where to write.
    pub screen: Screen,
    context: Option<String>,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
}

impl Session {
    /// A run against the admin API at `address`, or the one of several that leads, that ends after `timeout`. Nothing is sent
    /// yet.
    ///
    /// # Errors
    /// When the address is none, or the token or a certificate cannot be read.
    pub fn new(
        address: &str,
        tls: &tls::Files,
        token_file: Option<&Path>,
        format: Format,
        timeout: Option<Duration>,
    ) -> Result<Self, Failure> {
        let client = match tls.spec() {
            None => AdminClient::new(address),
            Some(spec) => AdminClient::over_tls(address, spec),
        };
        let mut client = client.map_err(|error| match error {
            AdminError::Tls(error) => Failure::Usage(error.to_string()),
            error => Failure::Usage(format!("--admin, CUTLINE_ADMIN or the context: {error}")),
        })?;
        if let Some(path) = token_file {
            let wrong = |error: &dyn Display| {
                let path = path.display();
                Failure::Usage(format!(
                    "--token-file, CUTLINE_TOKEN_FILE or the context's token-file: {path}: {error}"
                ))
            };
            let token = token_in(path).map_err(|error| wrong(&error))?;
            let with_token = client.with_token(&token);
            client = with_token.map_err(|error| wrong(&error))?;
        }
        Ok(Self {
            client,
            screen: Screen::new(format),
            context: None,
            timeout,
            // A deadline too far to be told is none.
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        })
    }

    /// The same, as `context` says it.
    #[must_use]
    pub fn in_context(mut self, context: Option<String>) -> Self {
        self.context = context;
        self
    }

    /// The context that says where the admin API is, if any.
    #[must_use]
    pub fn context(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// Where the admin API is, for people.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.context {
            Some(context) => format!("{context} ({})", self.client.address()),
            None => self.client.address().to_owned(),
        }
    }

    /// When `--timeout` has passed.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The answer, or a failure that says what was asked; `what` follows "cannot".
    ///
    /// # Errors
    /// When the admin API does not do it, or not in time.
    pub async fn ask<T>(
        &self,
        what: &str,
        answer: impl Future<Output = Result<T, AdminError>>,
    ) -> Result<T, Failure> {
        let answer = self.in_time(what, answer).await?;
        answer.map_err(|error| Failure::Admin {
            what: what.to_owned(),
            error,
            cure: None,
        })
    }

    /// Asks until there is an answer, through outages that pass: an admin API that starts anew ends no wait.
    ///
    /// # Errors
    /// When there is no answer for too long, or not in time.
    pub async fn ask_patiently<T, F>(
        &self,
        what: &str,
        progress: &mut Progress,
        mut ask: impl FnMut() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, AdminError>>,
    {
        let since = Instant::now();
        loop {
            let error = match self.ask(what, ask()).await {
                Err(Failure::Admin { error, .. }) => error,
                other => return other,
            };
            if !error.is_retryable() || since.elapsed() >= OUTAGE_MAX {
                return Err(Failure::Admin {
                    what: what.to_owned(),
                    error,
                    cure: None,
                });
            }
            progress.stands(&format!("no answer now, asking again: {error}"));
            let wanted = match &error {
                AdminError::Problem { retry_after, .. } => *retry_after,
                _ => None,
            };
            let pause = wanted
                .unwrap_or_default()
                .clamp(POLL_PAUSE, RETRY_AFTER_MAX);
            self.pause(what, pause).await?;
        }
    }

    /// Waits a moment before the next question of a wait.
    ///
    /// # Errors
    /// When `--timeout` passes.
    pub async fn pause_between_polls(&self, what: &str) -> Result<(), Failure> {
        self.pause(what, POLL_PAUSE).await
    }

    async fn pause(&self, what: &str, pause: Duration) -> Result<(), Failure> {
        self.in_time(what, tokio::time::sleep(pause)).await
    }

    async fn in_time<T>(&self, what: &str, work: impl Future<Output = T>) -> Result<T, Failure> {
        let (Some(deadline), Some(after)) = (self.deadline, self.timeout) else {
            return Ok(work.await);
        };
        let done = tokio::time::timeout_at(deadline, work).await;
        done.map_err(|_| Failure::TimedOut {
            what: what.to_owned(),
            after,
            cure: format!(
                "{} may be busy, and what was asked may go on; look again, or raise --timeout ({})",
                self.client.address(),
                quantity::duration(after)
            ),
        })
    }
}
