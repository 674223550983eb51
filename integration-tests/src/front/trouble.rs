//! What an S3 server in trouble does to requests: refuses them, does them and says it did not, breaks off in the middle.
//!
//! Every third request is left alone, so that whoever tries again gets through in the end.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{
    body::{Body, Bytes},
    http::{StatusCode, header},
    response::Response,
};
use futures_util::stream;
use parking_lot::Mutex;

/// One request in so many is left alone.
const LEFT_ALONE: usize = 3;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is not done, and told to come more slowly.
    Refused,
    /// It is done, and told that it failed.
    Denied,
    /// The half of what is to be written arrives at the server, or the half of what was read comes back; then the connection ends.
    Halved,
}

/// The trouble a server is in now, if any.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    now: Mutex<Option<Trouble>>,
    asked: AtomicUsize,
}

impl Troubles {
    pub(super) fn set(&self, trouble: Option<Trouble>) {
        *self.now.lock() = trouble;
    }

    /// What becomes of the next request.
    pub(super) fn next(&self) -> Option<Trouble> {
        let trouble = (*self.now.lock())?;
        let turn = self.asked.fetch_add(1, Ordering::Relaxed);
        (!turn.is_multiple_of(LEFT_ALONE)).then_some(trouble)
    }
}

/// An answer of S3 that says `code`.
pub(super) fn failure(status: StatusCode, code: &str) -> Response {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>trouble</Message></Error>"
    );
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/xml"),
    );
    response
}

/// The first half of `body`, and then an error in place of the rest.
pub(super) fn half(
    body: &Bytes,
) -> stream::Iter<std::array::IntoIter<Result<Bytes, std::io::Error>, 2>> {
    let broken = std::io::Error::other("broken off on purpose");
    stream::iter([Ok(body.slice(..body.len() / 2)), Err(broken)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_tries_three_times_gets_through() {
        let troubles = Troubles::default();
        assert_eq!(troubles.next(), None);
        troubles.set(Some(Trouble::Refused));
        let told: Vec<_> = (0..6).map(|_| troubles.next()).collect();
        let (alone, hit) = (None, Some(Trouble::Refused));
        assert_eq!(told, [alone, hit, hit, alone, hit, hit]);
        troubles.set(None);
        assert_eq!(troubles.next(), None);
    }
}
