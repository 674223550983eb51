//! Findings in few words, and what Kafka's refusals mean.

use cutline_client::{Finding, Verdict};
use cutline_wire::client::ClientError;
use kafka_protocol::ResponseError;

fn finding(
    id: &str,
    subject: impl Into<String>,
    verdict: Verdict,
    what: impl Into<String>,
    cure: Option<String>,
) -> Finding {
    Finding {
        id: id.to_owned(),
        subject: subject.into(),
        verdict,
        what: what.into(),
        cure,
    }
}

/// As it should be.
pub fn ok(id: &str, subject: impl Into<String>, what: impl Into<String>) -> Finding {
    finding(id, subject, Verdict::Ok, what, None)
}

/// Not looked at.
pub fn skipped(id: &str, subject: impl Into<String>, why: impl Into<String>) -> Finding {
    finding(id, subject, Verdict::Skipped, why, None)
}

/// Perhaps not what is wanted.
pub fn warn(
    id: &str,
    subject: impl Into<String>,
    what: impl Into<String>,
    cure: impl Into<String>,
) -> Finding {
    finding(id, subject, Verdict::Warn, what, Some(cure.into()))
}

/// Does not work.
pub fn fail(
    id: &str,
    subject: impl Into<String>,
    what: impl Into<String>,
    cure: impl Into<String>,
) -> Finding {
    finding(id, subject, Verdict::Fail, what, Some(cure.into()))
}

/// Kafka did not answer as it should when asked for something that takes `right`, such as `Describe on Topic x`.
pub fn refused(
    id: &str,
    subject: impl Into<String>,
    error: &ClientError,
    right: &str,
    cure: &str,
) -> Finding {
    let denied = matches!(
        error.kafka(),
        Some(
            ResponseError::TopicAuthorizationFailed
                | ResponseError::GroupAuthorizationFailed
                | ResponseError::ClusterAuthorizationFailed
                | ResponseError::TransactionalIdAuthorizationFailed
        )
    );
    if denied {
        let what = format!("Kafka's ACLs deny it: {error}");
        return fail(
            id,
            subject,
            what,
            format!(
                "allow the admin API's user {right} (kafka-acls --add), and remove what denies it"
            ),
        );
    }
    fail(id, subject, error.to_string(), cure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acls_deny_is_told_from_what_is_out_of_reach() {
        let error = |error| ClientError::Kafka {
            what: "producer id of x".to_owned(),
            error,
        };
        let right = "Write on TransactionalId x";
        let denied = error(ResponseError::TransactionalIdAuthorizationFailed);
        let found = refused("kafka.transactions", "x", &denied, right, "wait");
        assert!(found.cure.unwrap().contains(right));
        let away = error(ResponseError::CoordinatorNotAvailable);
        let found = refused("kafka.transactions", "x", &away, right, "wait");
        assert_eq!(found.cure.as_deref(), Some("wait"));
    }
}
