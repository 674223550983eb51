//! Requests on the wire: over connections that are kept, plain or with TLS, by certificates that may be replaced meanwhile.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cutline_tls::{ClientTls, explain};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use parking_lot::Mutex;
use rustls::ClientConfig;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

type Plain = Client<HttpConnector, Full<Bytes>>;
type Tls = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// How requests get to an admin API. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) enum Transport {
    Plain(Box<Plain>),
    Tls(ClientTls, Arc<Mutex<(Arc<ClientConfig>, Tls)>>),
}

/// A request that was not answered.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) reason: String,
    /// True when it never got to anybody, so that nothing of it can have been done.
    pub(super) is_unsent: bool,
}

impl Transport {
    pub(super) fn new(tls: Option<ClientTls>) -> Self {
        let Some(tls) = tls else {
            let client = Client::builder(TokioExecutor::new()).build(connector());
            return Self::Plain(Box::new(client));
        };
        let config = tls.config();
        let client = over(&config);
        Self::Tls(tls, Arc::new(Mutex::new((config, client))))
    }

    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let sending = match self {
            Self::Plain(client) => client.request(request),
            Self::Tls(tls, client) => current(tls, client).request(request),
        };
        sending.await.map_err(|error| Unanswered {
            is_unsent: error.is_connect(),
            reason: cause(&error),
        })
    }
}

/// The client of the configuration as it is now: connections of an earlier one are not used again.
fn current(tls: &ClientTls, client: &Mutex<(Arc<ClientConfig>, Tls)>) -> Tls {
    let config = tls.config();
    let mut client = client.lock();
    if !Arc::ptr_eq(&config, &client.0) {
        let renewed = over(&config);
        *client = (config, renewed);
    }
    client.1.clone()
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_nodelay(true);
    // It is asked for https too, and does the part below TLS.
    connector.enforce_http(false);
    connector
}

fn over(config: &ClientConfig) -> Tls {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config.clone())
        .https_only()
        .enable_http1()
        .wrap_connector(connector());
    Client::builder(TokioExecutor::new()).build(connector)
}

/// What TLS says, or the innermost cause, which says it best: "connection refused" rather than "error sending request".
pub(super) fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(words) = explain(error) {
        return words;
    }
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
