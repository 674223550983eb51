//! Authenticating again on a connection of the application, where the sidecar stands in for it (KIP-368).
//!
//! It goes between two of the application's frames: the broker would close the connection at the first request after the session's
//! end. Until its answers are there the application's frames wait.

use std::time::Duration;

use cutline_wire::{
    frame::{Frame, RequestHead},
    login::{Login, Step, renew_after},
};
use tokio::{sync::oneshot, time::Instant};

use super::{
    app::{App, AppEnd, OUR_CORRELATION_ID},
    session::Answer,
    upstream::CLIENT_ID,
};

/// How long it may take: a long poll that is under way is answered first.
pub const RENEWAL_LIMIT: Duration = Duration::from_secs(30);

/// When the sidecar authenticates again; never, where the application does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Renewal(Option<Instant>);

impl Renewal {
    /// After `span`, if at all.
    #[must_use]
    pub fn after(span: Option<Duration>) -> Self {
        Self(span.map(|span| Instant::now() + span))
    }

    /// True when it is time.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.0.is_some_and(|at| Instant::now() >= at)
    }
}

impl App {
    /// Authenticates again.
    pub(super) async fn renew(&mut self) -> Result<(), AppEnd> {
        let Some(sasl) = self.session.shared.upstreams.stands_in() else {
            return Ok(());
        };
        let (mut login, mut request) = Login::begin(sasl, CLIENT_ID, OUR_CORRELATION_ID)?;
        loop {
            let frame = Frame::of(request);
            let head = RequestHead::peek(&frame)?;
            let (answered, answer) = oneshot::channel();
            self.send(&head, Answer::Login(answered), frame.into_whole().into())
                .await?;
            let answer = tokio::time::timeout(RENEWAL_LIMIT, answer).await;
            // Dropped, or late: either way the other direction is at its end.
            let Ok(Ok(answer)) = answer else {
                return Err(AppEnd::Ended);
            };
            match login.handle_answer(&answer)? {
                Step::Send(next) => request = next,
                Step::Done(lifetime) => {
                    self.renewal = Renewal::after(lifetime.map(renew_after));
                    return Ok(());
                }
            }
        }
    }
}
