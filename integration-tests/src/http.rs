//! The client that all questions over HTTP are asked by: one that stays unanswered is a failed test, not one that never ends.

use std::time::Duration;

use reqwest::{Client, RequestBuilder};

/// How long a connection may take to be there, on one machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long nothing may come of an answer; what checks a whole checkpoint answers at its end.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(120);

/// A client for one test: its connections end with the test's runtime.
///
/// # Panics
/// Never: nothing is asked of it that it may not have.
#[must_use]
pub fn client() -> Client {
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE_TIMEOUT)
        .build()
        .expect("a client of defaults can be made")
}

/// `GET url`, once.
pub fn get(url: impl AsRef<str>) -> RequestBuilder {
    client().get(url.as_ref())
}
