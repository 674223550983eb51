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
    use super::*;

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
