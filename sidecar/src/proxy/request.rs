//! What a request frame is to the sidecar: most are nothing but bytes, some tell what their answer will mean.
//!
//! Only the few fields needed are read, each within the frame's bounds; the frame itself is never changed here.

use cutline_model::{GroupId, OffsetRange, TopicPartition};
use cutline_wire::{
    api,
    fetch::TopicKey,
    frame::{Frame, RequestHead},
    reader::{Malformed, Reader},
};
use kafka_protocol::messages::ApiKey;

/// What an answer will mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing: it passes.
    Opaque,
    /// It lists APIs.
    ApiVersions,
    /// It names brokers.
    Metadata,
    /// It names a coordinator.
    FindCoordinator,
    /// It names brokers.
    DescribeCluster,
    /// It carries a producer id.
    InitProducerId {
        /// For whom.
        transactional_id: Option<String>,
    },
    /// A transaction ends; it may carry a new producer id.
    EndTxn {
        /// Whose.
        transactional_id: String,
    },
    /// A transaction may begin with this request.
    Begin {
        /// Whose.
        transactional_id: String,
        /// Offsets are committed by it.
        commits: bool,
    },
    /// Offsets are committed.
    Commit,
    /// A classic member joins.
    Join {
        /// Which group.
        group: GroupId,
        /// Empty when it has no id yet.
        member: String,
    },
    /// A classic member is alive.
    Alive {
        /// Which group.
        group: GroupId,
        /// Who.
        member: String,
        /// SyncGroup, not Heartbeat.
        sync: bool,
    },
    /// Classic members leave.
    Leave {
        /// Which group.
        group: GroupId,
        /// Who.
        members: Vec<String>,
    },
    /// A KIP-848 member joins, lives or leaves.
    ConsumerHeartbeat {
        /// Which group.
        group: GroupId,
        /// Empty when the broker gives the id.
        member: String,
        /// 0 joins, −1 and −2 leave.
        epoch: i32,
    },
}

/// A record's way to one partition: how many offsets its batches will take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// As the request calls the topic.
    pub topic: TopicKey,
    /// Where.
    pub partition: TopicPartition,
    /// Offsets that the batches span.
    pub span: i64,
}

impl Sent {
    /// The offsets taken when the first is `base`.
    #[must_use]
    pub fn landed(&self, base: i64) -> OffsetRange {
        OffsetRange::new(
            cutline_model::Offset(base),
            cutline_model::Offset(base.saturating_add(self.span)),
        )
    }
}

/// Reads what the answer to `frame` will mean. With `all` false only what changes addresses and versions counts.
pub fn meaning(frame: &Frame, head: &RequestHead, all: bool) -> Result<Meaning, Malformed> {
    let Ok(key) = ApiKey::try_from(head.api_key) else {
        return Ok(Meaning::Opaque);
    };
    let flexible = api::is_flexible(head.api_key, head.api_version);
    let mut reader = Reader::starting_at(frame.whole(), head.rest_at, flexible);
    match key {
        ApiKey::ApiVersions => Ok(Meaning::ApiVersions),
        ApiKey::Metadata => Ok(Meaning::Metadata),
        ApiKey::FindCoordinator => Ok(Meaning::FindCoordinator),
        ApiKey::DescribeCluster => Ok(Meaning::DescribeCluster),
        _ if !all => Ok(Meaning::Opaque),
        _ => {
            reader.skip_tags()?;
            tracked(key, head.api_version, &mut reader)
        }
    }
}

fn tracked(key: ApiKey, version: i16, reader: &mut Reader<'_>) -> Result<Meaning, Malformed> {
    match key {
        ApiKey::InitProducerId => Ok(Meaning::InitProducerId {
            transactional_id: reader
                .string_or_null("transactional id")?
                .map(str::to_owned),
        }),
        ApiKey::EndTxn => Ok(Meaning::EndTxn {
            transactional_id: reader.string("transactional id")?.to_owned(),
        }),
        ApiKey::AddPartitionsToTxn | ApiKey::AddOffsetsToTxn | ApiKey::TxnOffsetCommit => {
            if key == ApiKey::AddPartitionsToTxn && version >= 4 {
                reader.array("transactions")?;
            }
            Ok(Meaning::Begin {
                transactional_id: reader.string("transactional id")?.to_owned(),
                commits: key == ApiKey::TxnOffsetCommit,
            })
        }
        ApiKey::OffsetCommit => Ok(Meaning::Commit),
        ApiKey::JoinGroup => {
            let group = group(reader)?;
            reader.i32("session timeout")?;
            if version >= 1 {
                reader.i32("rebalance timeout")?;
            }
            let member = reader.string("member id")?.to_owned();
            Ok(Meaning::Join { group, member })
        }
        ApiKey::SyncGroup | ApiKey::Heartbeat => {
            let group = group(reader)?;
            reader.i32("generation")?;
            Ok(Meaning::Alive {
                group,
                member: reader.string("member id")?.to_owned(),
                sync: key == ApiKey::SyncGroup,
            })
        }
        ApiKey::LeaveGroup => leave(version, reader),
        ApiKey::ConsumerGroupHeartbeat => Ok(Meaning::ConsumerHeartbeat {
            group: group(reader)?,
            member: reader.string("member id")?.to_owned(),
            epoch: reader.i32("member epoch")?,
        }),
        _ => Ok(Meaning::Opaque),
    }
}

fn group(reader: &mut Reader<'_>) -> Result<GroupId, Malformed> {
    reader.string("group").map(GroupId::from)
}

fn leave(version: i16, reader: &mut Reader<'_>) -> Result<Meaning, Malformed> {
    let group = group(reader)?;
    let mut members = Vec::new();
    if version < 3 {
        members.push(reader.string("member id")?.to_owned());
    } else {
        for _ in 0..reader.array("members")? {
            members.push(reader.string("member id")?.to_owned());
            reader.string_or_null("instance id")?;
            if version >= 5 {
                reader.string_or_null("reason")?;
            }
            reader.skip_tags()?;
        }
    }
    Ok(Meaning::Leave { group, members })
}
