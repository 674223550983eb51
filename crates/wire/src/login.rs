//! Authentication as frames: SaslHandshake, then SaslAuthenticate until mechanism and broker are content.
//!
//! It makes requests and takes their answers; who carries them, on a fresh connection or between the requests of one that
//! has to prove itself again, is the caller's business.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cutline_security::{Exchange, Mechanism, Sasl, SaslError};
use kafka_protocol::{
    ResponseError,
    error::ParseResponseErrorCode,
    messages::{
        RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslAuthenticateResponse,
        SaslHandshakeRequest, SaslHandshakeResponse,
    },
    protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes},
};
use thiserror::Error;
use tokio::io::AsyncWriteExt;

use crate::{
    frame::{Frame, FrameError, FrameReader, PREFIX_BYTES},
    stream::Stream,
};

/// With version 0 what follows is not framed.
const HANDSHAKE_VERSION: i16 = 1;
/// With version 1 the answer says how long it counts.
const AUTHENTICATE_VERSION: i16 = 1;
/// Messages of one exchange; SCRAM has two.
const MESSAGES_MAX: u32 = 8;
/// The part of a session after which it is renewed, in percent: early enough for a slow broker, late enough to be rare.
const RENEW_AT_PERCENT: u32 = 80;

/// Why a broker does not know us.
#[derive(Debug, Error)]
pub enum LoginError {
    /// The broker has other mechanisms only.
    #[error("the broker does not offer {mechanism}, only {offered}: set kafka.sasl.mechanisms")]
    NotOffered {
        /// Ours.
        mechanism: Mechanism,
        /// The broker's.
        offered: String,
    },
    /// The broker refuses name, password or token.
    #[error("{mechanism}: {reason}")]
    Refused {
        /// Ours.
        mechanism: Mechanism,
        /// In the broker's words.
        reason: String,
    },
    /// The mechanism.
    #[error(transparent)]
    Sasl(#[from] SaslError),
    /// The connection.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// An answer that cannot be read.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
    /// Too long an exchange.
    #[error("the exchange does not end")]
    Endless,
}

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// This request is to be sent, size prefix and all.
    Send(Bytes),
    /// The broker knows us; how long, where that has an end.
    Done(Option<Duration>),
}

/// One authentication.
pub struct Login {
    mechanism: Mechanism,
    exchange: Exchange,
    client_id: StrBytes,
    correlation_id: i32,
    messages: u32,
}

impl Login {
    /// Begins one as `client_id`. All its requests carry `correlation_id`. Answers the first request too.
    ///
    /// # Errors
    /// When there is nothing to show.
    pub fn begin(
        sasl: &Sasl,
        client_id: &str,
        correlation_id: i32,
    ) -> Result<(Self, Bytes), LoginError> {
        let login = Self {
            mechanism: sasl.mechanism(),
            exchange: sasl.begin()?,
            client_id: StrBytes::from_string(client_id.to_owned()),
            correlation_id,
            messages: 0,
        };
        let mechanism = StrBytes::from_static_str(login.mechanism.name());
        let request = SaslHandshakeRequest::default().with_mechanism(mechanism);
        let frame = login.request(&request, HANDSHAKE_VERSION)?;
        Ok((login, frame))
    }

    /// Takes the answer to the last request.
    ///
    /// # Errors
    /// When the broker does not want us, or is not the one it seems to be.
    pub fn handle_answer(&mut self, answer: &Frame) -> Result<Step, LoginError> {
        self.messages += 1;
        match self.messages {
            1 => {
                let answer = decode::<SaslHandshakeResponse>(answer, HANDSHAKE_VERSION)?;
                self.offered(&answer)?;
                self.say(self.exchange.first())
            }
            2..=MESSAGES_MAX => {
                let answer = decode::<SaslAuthenticateResponse>(answer, AUTHENTICATE_VERSION)?;
                self.answered(&answer)
            }
            _ => Err(LoginError::Endless),
        }
    }

    fn offered(&self, answer: &SaslHandshakeResponse) -> Result<(), LoginError> {
        let Some(error) = answer.error_code.err() else {
            return Ok(());
        };
        if error == ResponseError::UnsupportedSaslMechanism {
            let offered = answer.mechanisms.iter().map(|name| name.as_str());
            return Err(LoginError::NotOffered {
                mechanism: self.mechanism,
                offered: offered.collect::<Vec<_>>().join(", "),
            });
        }
        Err(self.refused(error.to_string()))
    }

    fn answered(&mut self, answer: &SaslAuthenticateResponse) -> Result<Step, LoginError> {
        if let Some(error) = answer.error_code.err() {
            let said = answer.error_message.as_ref().map(ToString::to_string);
            return Err(self.refused(said.unwrap_or_else(|| error.to_string())));
        }
        match self.exchange.handle_answer(&answer.auth_bytes)? {
            Some(message) => self.say(message),
            None => {
                let lifetime = u64::try_from(answer.session_lifetime_ms).unwrap_or(0);
                let lifetime = Some(lifetime).filter(|lifetime| *lifetime > 0);
                Ok(Step::Done(lifetime.map(Duration::from_millis)))
            }
        }
    }

    fn refused(&self, reason: String) -> LoginError {
        LoginError::Refused {
            mechanism: self.mechanism,
            reason,
        }
    }

    fn say(&self, message: Vec<u8>) -> Result<Step, LoginError> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(message.into());
        Ok(Step::Send(self.request(&request, AUTHENTICATE_VERSION)?))
    }

    fn request<R: Request>(&self, request: &R, version: i16) -> Result<Bytes, LoginError> {
        let unreadable = |error: String| LoginError::Unreadable(error);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(self.client_id.clone()));
        let mut frame = BytesMut::from(&[0; PREFIX_BYTES][..]);
        header
            .encode(&mut frame, R::header_version(version))
            .map_err(|error| unreadable(error.to_string()))?;
        request
            .encode(&mut frame, version)
            .map_err(|error| unreadable(error.to_string()))?;
        let size = u32::try_from(frame.len() - PREFIX_BYTES);
        let size = size.map_err(|error| unreadable(error.to_string()))?;
        frame[..PREFIX_BYTES].copy_from_slice(&size.to_be_bytes());
        Ok(frame.freeze())
    }
}

/// Authenticates a connection that nothing else was sent on. Answers after how long that has to be done again.
///
/// # Errors
/// As [`Login::handle_answer`], and when the connection ends.
pub async fn log_in(
    stream: &mut Stream,
    sasl: &Sasl,
    client_id: &str,
) -> Result<Option<Duration>, LoginError> {
    let (mut login, mut request) = Login::begin(sasl, client_id, 0)?;
    loop {
        let sent = async {
            stream.write_all(&request).await?;
            stream.flush().await
        };
        sent.await.map_err(FrameError::from)?;
        // One answer is under way, so nothing is read beyond it.
        let answer = FrameReader::responses(&mut *stream).next().await?;
        let answer = answer.ok_or(FrameError::Cut)?;
        match login.handle_answer(&answer)? {
            Step::Send(next) => request = next,
            Step::Done(lifetime) => return Ok(lifetime.map(renew_after)),
        }
    }
}

/// After how long a session of `lifetime` is renewed.
#[must_use]
pub fn renew_after(lifetime: Duration) -> Duration {
    lifetime * RENEW_AT_PERCENT / 100
}

fn decode<R: Decodable + HeaderVersion>(frame: &Frame, version: i16) -> Result<R, LoginError> {
    let mut payload = frame.payload();
    let unreadable = |error: String| LoginError::Unreadable(error);
    ResponseHeader::decode(&mut payload, R::header_version(version))
        .map_err(|error| unreadable(error.to_string()))?;
    R::decode(&mut payload, version).map_err(|error| unreadable(error.to_string()))
}
