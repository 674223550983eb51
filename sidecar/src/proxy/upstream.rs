//! How a connection to a broker is opened on the application's behalf, and whose it is to the broker.
//!
//! The application speaks plaintext to its sidecar; whether TLS goes on from here is the sidecar's settings' word. Its SASL frames
//! pass as all others do, so that the broker sees the application's own user; or the sidecar authenticates in its place.

use std::time::Duration;

use cutline_security::{Sasl, Security};
use cutline_wire::{
    client::ClientOptions,
    login::{LoginError, log_in},
    stream::Stream,
};
use thiserror::Error;
use tokio::time::timeout;

/// How long connecting to one broker may take: less than a client's own patience, so that it hears of it.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// What the sidecar calls itself where it stands in for the application.
pub const CLIENT_ID: &str = "cutline-app";

/// Who the application is to brokers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppSasl {
    /// Who it says it is. One that says nothing is refused where the broker asks.
    #[default]
    Passthrough,
    /// Who the sidecar is.
    Sidecar,
}

impl std::str::FromStr for AppSasl {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "passthrough" => Ok(Self::Passthrough),
            "sidecar" => Ok(Self::Sidecar),
            _ => Err("passthrough or sidecar is expected"),
        }
    }
}

/// Why a broker cannot be used.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// No connection.
    #[error("{0}")]
    Connect(#[from] std::io::Error),
    /// TLS.
    #[error("CL0601 TLS: {0}")]
    Tls(String),
    /// The sidecar's credentials.
    #[error("CL0610 authentication: {0}")]
    Login(#[from] LoginError),
    /// It takes too long.
    #[error("no answer within {:?}", CONNECT_LIMIT)]
    TimedOut,
}

/// Opens connections to brokers.
#[derive(Clone, Debug, Default)]
pub struct Upstreams {
    security: Security,
    app_sasl: AppSasl,
}

/// A connection to a broker.
pub struct Opened {
    /// The connection.
    pub stream: Stream,
    /// After how long the sidecar has to authenticate again.
    pub renew_after: Option<Duration>,
}

impl Upstreams {
    /// As `security` says.
    #[must_use]
    pub fn new(security: Security, app_sasl: AppSasl) -> Self {
        Self { security, app_sasl }
    }

    /// What the sidecar authenticates with in the application's place; `None` where the application does it itself.
    #[must_use]
    pub fn stands_in(&self) -> Option<&Sasl> {
        match self.app_sasl {
            AppSasl::Passthrough => None,
            AppSasl::Sidecar => self.security.sasl(),
        }
    }

    /// How the sidecar itself asks brokers.
    #[must_use]
    pub fn client_options(&self) -> ClientOptions {
        ClientOptions {
            security: self.security.clone(),
            ..ClientOptions::default()
        }
    }

    /// Connects to the first of `addresses` that can be used.
    ///
    /// # Errors
    /// Why the last one cannot.
    pub async fn open(&self, addresses: &[String]) -> Result<Opened, UpstreamError> {
        let mut last = UpstreamError::TimedOut;
        for address in addresses {
            match timeout(CONNECT_LIMIT, self.open_one(address)).await {
                Ok(Ok(opened)) => return Ok(opened),
                Ok(Err(error)) => last = error,
                Err(_) => last = UpstreamError::TimedOut,
            }
            tracing::debug!(address, error = %last, "broker cannot be used");
        }
        Err(last)
    }

    async fn open_one(&self, address: &str) -> Result<Opened, UpstreamError> {
        let connected = Stream::connect(address, &self.security).await;
        let mut stream = connected.map_err(|error| match cutline_tls::explain(&error) {
            Some(reason) => UpstreamError::Tls(reason),
            None => UpstreamError::Connect(error),
        })?;
        let renew_after = match self.stands_in() {
            Some(sasl) => log_in(&mut stream, sasl, CLIENT_ID).await?,
            None => None,
        };
        Ok(Opened {
            stream,
            renew_after,
        })
    }
}
