//! What can go wrong with a request to a broker.

use std::{io, time::Duration};

use cutline_model::TopicPartition;
use kafka_protocol::{ResponseError, error::ParseResponseErrorCode};
use thiserror::Error;

use super::Acl;
use crate::{frame::FrameError, reader::Malformed};

/// Why a call has no answer that can be used.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The broker cannot be reached.
    #[error("connecting to {address}: {source}")]
    Connect {
        /// Where to.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// TLS: one side does not believe the other, or does not speak it.
    #[error("CL0601 TLS with {address}: {reason}")]
    Tls {
        /// Where to.
        address: String,
        /// Why not, in words.
        reason: String,
    },
    /// The broker does not know us, or is not the one it seems to be.
    #[error("CL0610 authentication at {address}: {reason}")]
    Authentication {
        /// Where.
        address: String,
        /// Why not.
        reason: String,
    },
    /// The broker knows us, and we may not.
    #[error(
        "CL0611 {what}: {needs} is needed, and no ACL grants it to this program's Kafka user ({error})"
    )]
    Denied {
        /// What was asked for.
        what: String,
        /// What is missing.
        needs: Acl,
        /// The broker's error.
        error: ResponseError,
    },
    /// The connection broke; whether the request was carried out is unknown.
    #[error("connection lost: {0}")]
    Lost(String),
    /// A frame of the broker cannot be followed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// No answer in time; whether the request was carried out is unknown.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The broker answered with an error.
    #[error("{what}: {error}")]
    Kafka {
        /// What was asked for.
        what: String,
        /// The broker's error.
        error: ResponseError,
    },
    /// Our request does not fit its schema.
    #[error("encoding request {0}: {1}")]
    Encode(i16, String),
    /// The answer does not fit its schema.
    #[error("decoding the answer to request {0}: {1}")]
    Decode(i16, String),
    /// The records of a partition cannot be followed.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The broker does not have this API in a version we speak.
    #[error("the broker does not offer request {0} in a usable version")]
    Unsupported(i16),
    /// Nobody by this number in the cluster.
    #[error("broker {0} is not known")]
    NoBroker(i32),
    /// The partition does not exist, as far as metadata says.
    #[error("{0} is not known")]
    NoPartition(TopicPartition),
    /// The partition has no leader at the moment.
    #[error("{0} has no leader")]
    NoLeader(TopicPartition),
    /// What was asked for was left out of the answer.
    #[error("the answer does not speak of {0}")]
    Missing(String),
    /// It was looked for and is not in the log.
    #[error("no {0} in the log")]
    NotFound(String),
}

impl ClientError {
    /// The broker's error, when it answered with one.
    #[must_use]
    pub fn kafka(&self) -> Option<ResponseError> {
        match self {
            Self::Kafka { error, .. } | Self::Denied { error, .. } => Some(*error),
            _ => None,
        }
    }

    /// True when the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            // The schema crate takes this one for final; it means that the coordinator is still busy with the last one.
            Self::Kafka { error, .. } => {
                error.is_retriable() || *error == ResponseError::ConcurrentTransactions
            }
            // Topics just created are not yet known to every broker.
            Self::NoLeader(_) | Self::NoPartition(_) | Self::NoBroker(_) => true,
            _ => self.is_connection(),
        }
    }

    /// True when the connection is at fault: another broker may answer.
    #[must_use]
    pub fn is_connection(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::Lost(_) | Self::TimedOut(_) | Self::Frame(_)
        )
    }

    /// True when this broker and we do not trust each other: another may still answer, the same one will not.
    #[must_use]
    pub fn is_distrust(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::Authentication { .. })
    }

    /// Names the missing right among `acls`, where the broker says that one is missing.
    #[must_use]
    pub(crate) fn needs(self, acls: &[Acl]) -> Self {
        match self {
            Self::Kafka { what, error } => match acls.iter().find(|acl| acl.is_missed_by(error)) {
                Some(needs) => Self::Denied {
                    what,
                    needs: needs.clone(),
                    error,
                },
                None => Self::Kafka { what, error },
            },
            other => other,
        }
    }

    // Leaders and coordinators may have moved, unless the coordinator only says that it is busy.
    pub(super) fn wants_metadata(&self) -> bool {
        !matches!(
            self.kafka(),
            Some(ResponseError::ConcurrentTransactions | ResponseError::UnstableOffsetCommit)
        )
    }
}

/// Turns the error codes of a response's parts into the one error that explains them: a missing right before all others, and
/// last what a broker did not attempt because of another part.
pub(crate) fn check_all(
    parts: impl IntoIterator<Item = Result<(), ClientError>>,
) -> Result<(), ClientError> {
    let rank = |error: &ClientError| match error {
        ClientError::Denied { .. } => 0,
        ClientError::Kafka { error, .. } if *error == ResponseError::OperationNotAttempted => 2,
        _ => 1,
    };
    let errors = parts.into_iter().filter_map(Result::err);
    errors.min_by_key(rank).map_or(Ok(()), Err)
}

/// Turns a response's error code into an error that says `what` was asked for.
pub(crate) fn check(code: i16, what: impl FnOnce() -> String) -> Result<(), ClientError> {
    match code.err() {
        None => Ok(()),
        Some(error) => Err(ClientError::Kafka {
            what: what(),
            error,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(code: i16, what: &str) -> Result<(), ClientError> {
        check(code, || what.to_owned())
    }

    #[test]
    fn what_was_not_attempted_hides_no_reason() {
        let not_attempted = ResponseError::OperationNotAttempted.code();
        let unknown = ResponseError::UnknownTopicOrPartition.code();
        let parts = [part(0, "a"), part(not_attempted, "b"), part(unknown, "c")];
        let error = check_all(parts).unwrap_err();
        assert_eq!(error.kafka(), Some(ResponseError::UnknownTopicOrPartition));
        assert!(error.is_retryable() && error.to_string().starts_with("c: "));
        assert!(check_all([part(0, "a"), part(0, "b")]).is_ok());
    }
}
