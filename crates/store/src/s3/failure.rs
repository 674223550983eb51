//! What a request to S3 came to when not to success, in the few kinds that a caller can act on.
//!
//! The details are the server's own words and the connection's; they hold keys of objects, never credentials.

use std::error::Error;

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use crate::{StoreError, s3::S3};

/// What can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The same request may succeed a little later.
    Passing,
    /// There is no such object, or no such upload.
    Absent,
    /// There is an object already.
    Exists,
    /// The object ends before the range asked for.
    Short,
    /// There is no such bucket.
    NoBucket,
    /// No room left.
    Full,
    /// The server does not offer this.
    NotOffered,
    /// The server will not, however often it is asked.
    Refused,
}

/// A request that did not succeed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// What was said, for messages.
    pub(crate) detail: String,
}

impl Failure {
    pub(crate) fn passing(detail: impl Into<String>) -> Self {
        Self {
            kind: Kind::Passing,
            detail: detail.into(),
        }
    }

    pub(crate) fn refused(detail: impl Into<String>) -> Self {
        Self {
            kind: Kind::Refused,
            detail: detail.into(),
        }
    }

    /// As the caller of the store meets it.
    pub(crate) fn into_error(self, store: &S3, operation: &'static str, key: &str) -> StoreError {
        let (store, detail) = (store.name().to_owned(), self.detail);
        let key = key.to_owned();
        match self.kind {
            Kind::Absent => StoreError::Missing { key },
            Kind::Full => StoreError::Full { store, detail },
            Kind::NoBucket => StoreError::NoBucket { store, detail },
            Kind::Passing => StoreError::Backend {
                store,
                operation,
                key,
                detail,
            },
            Kind::Exists | Kind::Short | Kind::NotOffered | Kind::Refused => StoreError::Refused {
                store,
                operation,
                key,
                detail,
            },
        }
    }
}

impl<E> From<SdkError<E, HttpResponse>> for Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        match &error {
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                let code = answer.err().code().unwrap_or_default();
                let message = answer.err().message().unwrap_or_default();
                Self {
                    kind: judge(status, code),
                    detail: format!("{status} {code} {message}").trim_end().to_owned(),
                }
            }
            SdkError::ConstructionFailure(_) => Self::refused(chain(&error)),
            // No answer, half an answer or none in time.
            _ => Self::passing(chain(&error)),
        }
    }
}

fn judge(status: u16, code: &str) -> Kind {
    match (status, code) {
        (_, "NoSuchBucket") => Kind::NoBucket,
        // Another conditional write is under way: who wins shows when asked again.
        (409, "ConditionalRequestConflict" | "OperationAborted") => Kind::Passing,
        (412, _) | (409, "PreconditionFailed") => Kind::Exists,
        (416, _) | (_, "InvalidRange") => Kind::Short,
        (501, _) | (_, "NotImplemented") => Kind::NotOffered,
        (507, _) | (_, "QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull") => Kind::Full,
        (400, "RequestTimeout" | "IncompleteBody" | "BadDigest" | "XAmzContentSHA256Mismatch") => {
            Kind::Passing
        }
        (404, _) => Kind::Absent,
        (408 | 429 | 500..=599, _) => Kind::Passing,
        _ => Kind::Refused,
    }
}

/// An error and its causes, each said once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_does_not() {
        for (status, code, kind) in [
            (503, "SlowDown", Kind::Passing),
            (500, "InternalError", Kind::Passing),
            (429, "", Kind::Passing),
            (409, "ConditionalRequestConflict", Kind::Passing),
            (412, "PreconditionFailed", Kind::Exists),
            (404, "NoSuchKey", Kind::Absent),
            (404, "NoSuchBucket", Kind::NoBucket),
            (403, "AccessDenied", Kind::Refused),
            (301, "PermanentRedirect", Kind::Refused),
            (501, "NotImplemented", Kind::NotOffered),
            (507, "", Kind::Full),
            (416, "InvalidRange", Kind::Short),
        ] {
            assert_eq!(judge(status, code), kind, "{status} {code}");
        }
    }
}
