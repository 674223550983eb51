//! What a sidecar and the admin API say to each other over their one WebSocket, as JSON text frames.
//!
//! The sidecar dials `GET /v1/sidecars/connect` and opens with [`Uplink::Hello`]. Everything about an epoch travels
//! inside [`Downlink::Epoch`] and [`Uplink::Epoch`]; the rest is registration, restore and liveness. Unknown fields are
//! ignored, so that one minor version apart works; [`LINK_VERSION`] changes when that is not enough.

use cutline_model::{
    Capture, Epoch, FromSidecar, GroupMembers, Incarnation, Offset, PartRef, PartitionOffset,
    Scope, SidecarId, ToSidecar, TopicName, TopicPartition,
};
use serde::{Deserialize, Serialize};

/// The version of this conversation.
pub const LINK_VERSION: u32 = 1;

/// The largest frame either side accepts, in bytes.
pub const LINK_FRAME_BYTES_MAX: usize = 64 << 20;

/// How often a sidecar says how it is, in milliseconds; three silent periods count as lost.
pub const STATUS_PERIOD_MS: u64 = 1_000;

/// From a sidecar to the admin API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Uplink {
    /// The first frame.
    Hello {
        /// [`LINK_VERSION`] of the sidecar.
        version: u32,
        /// The deployment it belongs to.
        deployment: String,
        /// Who it is.
        sidecar: SidecarId,
        /// Which run.
        incarnation: Incarnation,
        /// Whose state is one state.
        scope: Scope,
        /// How it captures.
        capture: Capture,
        /// The providers of its state, by name; empty for none.
        providers: Vec<String>,
        /// Where it listens for its application.
        listen: String,
        /// The version of its program; older ones do not tell.
        #[serde(default)]
        program: Option<String>,
    },
    /// About an epoch.
    Epoch {
        /// The message.
        message: FromSidecar,
    },
    /// Every record of the control topic up to and including this offset is applied: fences closed the connections, masks
    /// and holds are in force.
    Applied {
        /// The last applied offset.
        offset: Offset,
    },
    /// How it is.
    Status {
        /// Open connections of the application.
        app_connections: u32,
        /// Members behind it.
        groups: Vec<GroupMembers>,
        /// Partitions its application reads.
        reads: Vec<TopicPartition>,
        /// Topics its service produces to.
        outputs: Vec<TopicName>,
        /// True while fenced.
        fenced: bool,
    },
    /// The answer to [`Downlink::AskDelivered`].
    Delivered {
        /// The request's number.
        request: u64,
        /// Where the delivered prefix ends, for those of the partitions asked for that were read in this run.
        ends: Vec<PartitionOffset>,
    },
    /// The answer to [`Downlink::RestoreState`] and [`Downlink::ResumeHook`].
    Done {
        /// The request's number.
        request: u64,
        /// `None` when it succeeded, else why not.
        error: Option<String>,
    },
}

/// From the admin API to a sidecar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Downlink {
    /// The answer to a good `Hello`.
    Welcome {
        /// [`LINK_VERSION`] of the admin API.
        version: u32,
        /// Where state goes, as `--store` would say it.
        store: String,
    },
    /// The answer to a bad one; the connection closes.
    Refused {
        /// Why, for people.
        reason: String,
    },
    /// About an epoch.
    Epoch {
        /// The message.
        message: ToSidecar,
        /// The trace it belongs to, as W3C's `traceparent`; absent from an admin API that makes none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<String>,
    },
    /// How far was this delivered to your application?
    AskDelivered {
        /// Given back.
        request: u64,
        /// Which partitions.
        partitions: Vec<TopicPartition>,
    },
    /// Put this state back in place and verify it. Sent only while fenced; may be repeated.
    RestoreState {
        /// Given back.
        request: u64,
        /// The checkpoint's epoch, for logs.
        epoch: Epoch,
        /// The part.
        part: PartRef,
        /// As in [`Downlink::Epoch`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<String>,
    },
    /// The fence has lifted: let an application that was paused by its hook go on.
    ResumeHook {
        /// Given back.
        request: u64,
        /// As in [`Downlink::Epoch`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    /// What both sides said in version 1, one frame of every kind: never changed, only added to.
    const UP: &str = include_str!("../conversation/1/up.jsonl");
    const DOWN: &str = include_str!("../conversation/1/down.jsonl");

    /// The same frame as a later version may write it: every object in it has one more field.
    fn later(frame: &Value) -> Value {
        match frame {
            Value::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, value)| (name.clone(), later(value)));
                let added = ("added_later".to_owned(), json!({ "since": 2 }));
                fields.chain([added]).collect()
            }
            Value::Array(items) => items.iter().map(later).collect(),
            plain => plain.clone(),
        }
    }

    /// True when `written` has everything an earlier version looks for.
    fn has_all(written: &Value, earlier: &Value) -> bool {
        match (written, earlier) {
            (Value::Object(written), Value::Object(earlier)) => earlier
                .iter()
                .all(|(name, value)| written.get(name).is_some_and(|field| has_all(field, value))),
            (Value::Array(written), Value::Array(earlier)) => {
                written.len() == earlier.len()
                    && written.iter().zip(earlier).all(|(a, b)| has_all(a, b))
            }
            (written, earlier) => written == earlier,
        }
    }

    fn one_version_apart<Frame>(frames: &str)
    where
        Frame: Debug + PartialEq + Serialize + DeserializeOwned,
    {
        for line in frames.lines() {
            let frame: Value = serde_json::from_str(line).unwrap();
            let read = |frame: Value| -> Frame {
                serde_json::from_value(frame).unwrap_or_else(|error| panic!("{error}: {line}"))
            };
            let known = read(frame.clone());
            assert_eq!(read(later(&frame)), known, "{line}");
            let written = serde_json::to_value(&known).unwrap();
            assert!(has_all(&written, &frame), "{line} is now {written}");
        }
    }

    #[test]
    fn what_the_first_version_says_is_understood_and_so_is_what_a_later_one_adds() {
        one_version_apart::<Uplink>(UP);
        one_version_apart::<Downlink>(DOWN);
    }

    #[test]
    fn a_trace_is_nothing_that_an_earlier_or_a_later_version_stumbles_over() {
        let earlier = r#"{"kind":"resume_hook","request":7}"#;
        let read: Downlink = serde_json::from_str(earlier).unwrap();
        let (request, trace) = (7, None);
        assert_eq!(read, Downlink::ResumeHook { request, trace });
        assert_eq!(serde_json::to_string(&read).unwrap(), earlier);
        let later = r#"{"kind":"resume_hook","request":7,"trace":"00-a-b-01","weight":3}"#;
        let read: Downlink = serde_json::from_str(later).unwrap();
        let trace = Some("00-a-b-01".to_owned());
        assert_eq!(read, Downlink::ResumeHook { request, trace });
    }
}
