//! A connected sidecar: what it said when it connected and what it says since. Facts, and whether a hello is good.

use cutline_client::link::{LINK_VERSION, Uplink};
use cutline_model::{
    Capture, GroupMembers, Incarnation, Offset, Scope, SidecarId, TopicName, TopicPartition,
};
use jiff::Timestamp;

/// What a sidecar said when it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who it is.
    pub sidecar: SidecarId,
    /// Which run.
    pub incarnation: Incarnation,
    /// Whose state is one state.
    pub scope: Scope,
    /// How it captures.
    pub capture: Capture,
    /// The providers of its state.
    pub providers: Vec<String>,
    /// Where it listens for its application.
    pub listen: String,
    /// The version of its program, where it told.
    pub program: Option<String>,
}

impl Hello {
    /// Reads the first frame of a connection to the admin API of `deployment`.
    ///
    /// # Errors
    /// Why the sidecar is refused, for people.
    pub fn read(first: Uplink, deployment: &str) -> Result<Self, String> {
        let Uplink::Hello {
            version,
            deployment: theirs,
            sidecar,
            incarnation,
            scope,
            capture,
            providers,
            listen,
            program,
        } = first
        else {
            return Err("the first message must be hello".to_owned());
        };
        if version != LINK_VERSION {
            return Err(format!(
                "it speaks version {version} of this conversation, this admin API version {LINK_VERSION}: run both in the same version"
            ));
        }
        if theirs != deployment {
            return Err(format!(
                "it belongs to deployment {theirs:?}, this admin API to {deployment:?}"
            ));
        }
        if incarnation.as_str().is_empty() {
            return Err("its incarnation is empty".to_owned());
        }
        Ok(Self {
            sidecar,
            incarnation,
            scope,
            capture,
            providers,
            listen,
            program,
        })
    }

    /// The frame it was read from.
    #[must_use]
    pub fn said(self, deployment: &str) -> Uplink {
        Uplink::Hello {
            version: LINK_VERSION,
            deployment: deployment.to_owned(),
            sidecar: self.sidecar,
            incarnation: self.incarnation,
            scope: self.scope,
            capture: self.capture,
            providers: self.providers,
            listen: self.listen,
            program: self.program,
        }
    }
}

/// What a sidecar says every second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SidecarStatus {
    /// Open connections of its application.
    pub app_connections: u32,
    /// Members behind it.
    pub groups: Vec<GroupMembers>,
    /// Partitions its application reads.
    pub reads: Vec<TopicPartition>,
    /// Topics its service produces to.
    pub outputs: Vec<TopicName>,
    /// True while fenced.
    pub fenced: bool,
}

impl SidecarStatus {
    /// Reads a status; `None` for any other message.
    #[must_use]
    pub fn read(message: Uplink) -> Option<Self> {
        let Uplink::Status {
            app_connections,
            groups,
            reads,
            outputs,
            fenced,
        } = message
        else {
            return None;
        };
        Some(Self {
            app_connections,
            groups,
            reads,
            outputs,
            fenced,
        })
    }

    /// The message it was read from.
    #[must_use]
    pub fn said(self) -> Uplink {
        Uplink::Status {
            app_connections: self.app_connections,
            groups: self.groups,
            reads: self.reads,
            outputs: self.outputs,
            fenced: self.fenced,
        }
    }
}

/// A connected sidecar, as the registry has it at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// What it said when it connected.
    pub hello: Hello,
    /// Since when.
    pub connected_at: Timestamp,
    /// What it said last; `None` in its first second.
    pub status: Option<SidecarStatus>,
    /// The last record of the control topic that it has applied.
    pub applied: Option<Offset>,
}
