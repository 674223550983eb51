//! Consumer groups, classic and of KIP-848: who is a member, what is assigned to whom, and how members are made to go.

use std::collections::BTreeSet;

use cutline_model::{GroupId, TopicPartition};
use kafka_protocol::{
    ResponseError,
    messages::{
        ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DescribeClusterRequest,
        DescribeGroupsRequest, LeaveGroupRequest, ListGroupsRequest,
        consumer_group_describe_response::{Assignment, Member as DescribedMember},
        describe_groups_response::DescribedGroupMember,
        leave_group_request::MemberIdentity,
    },
};

use super::{Acl, Client, ClientError, error::check, metadata::text};
use crate::reader::Reader;

// How a KIP-848 member says that it goes for good; a static member's instance id is then free.
const LEAVE: i32 = -1;
// The bit of DESCRIBE (operation 8) among the operations that a broker says are allowed.
const MAY_DESCRIBE: i32 = 1 << 8;

/// Which group protocol a group speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    /// JoinGroup and SyncGroup.
    Classic,
    /// KIP-848.
    Consumer,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Kafka's id of it.
    pub id: String,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it comes from, as the broker sees it.
    pub host: String,
    /// Set for static members.
    pub instance_id: Option<String>,
    /// What it may read now.
    pub assignment: BTreeSet<TopicPartition>,
    /// KIP-848 only: the group epoch it has reached.
    pub epoch: Option<i32>,
    /// True while it is not yet where its group wants it.
    pub reconciling: bool,
}

/// A group as its coordinator describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// Which protocol it speaks.
    pub kind: GroupKind,
    /// Kafka's word: `Stable`, `Empty`, `Dead`, …
    pub state: String,
    /// Its members.
    pub members: Vec<Member>,
}

impl GroupState {
    /// True when nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// True when the assignment is at rest: every member is where the group wants it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match self.state.as_str() {
            "Stable" => self.members.iter().all(|member| !member.reconciling),
            "Empty" | "Dead" => self.members.is_empty(),
            _ => false,
        }
    }
}

impl Client {
    /// The coordinator of `group`, remembered until an answer says that it moved.
    pub(super) async fn group_coordinator(&self, group: &GroupId) -> Result<i32, ClientError> {
        let known = self.inner.coordinators.read().get(group).copied();
        // One that is no broker any more, or was none for a moment, is asked for again, which also looks at the brokers again.
        let known = known.filter(|node| self.metadata().broker(*node).is_some());
        if let Some(node) = known {
            return Ok(node);
        }
        let node = self.coordinator_of_group(group.as_str()).await?;
        self.inner.coordinators.write().insert(group.clone(), node);
        Ok(node)
    }

    pub(super) fn forget_coordinator_on_error<T>(
        &self,
        group: &GroupId,
        result: &Result<T, ClientError>,
    ) {
        if result.is_err() {
            self.inner.coordinators.write().remove(group);
        }
    }

    /// Describes `group`, whichever protocol it speaks. A group that does not exist is a classic, dead one.
    pub async fn describe_group(&self, group: &GroupId) -> Result<GroupState, ClientError> {
        self.retrying(|client| async move {
            let described = client.describe_once(group).await;
            client.forget_coordinator_on_error(group, &described);
            described
        })
        .await
    }

    async fn describe_once(&self, group: &GroupId) -> Result<GroupState, ClientError> {
        let node = self.group_coordinator(group).await?;
        match self.describe_consumer_group(node, group).await {
            // Not of KIP-848, not there at all, or a broker without it.
            Err(ClientError::Kafka {
                error: ResponseError::GroupIdNotFound | ResponseError::UnsupportedVersion,
                ..
            }) => self.describe_classic_group(node, group).await,
            Err(ClientError::Unsupported(_)) => self.describe_classic_group(node, group).await,
            other => other,
        }
    }

    async fn describe_consumer_group(
        &self,
        node: i32,
        group: &GroupId,
    ) -> Result<GroupState, ClientError> {
        let request = ConsumerGroupDescribeRequest::default()
            .with_group_ids(vec![text(group.as_str()).into()]);
        let response = self.call(node, &request).await?;
        let missing = || ClientError::Missing(group.to_string());
        let described = response.groups.first().ok_or_else(missing)?;
        check(described.error_code, || format!("description of {group}"))
            .map_err(|error| error.needs(&[Acl::group("DESCRIBE", group), read_by(group)]))?;
        let epoch = described.group_epoch;
        let members = described.members.iter();
        Ok(GroupState {
            kind: GroupKind::Consumer,
            state: described.group_state.to_string(),
            members: members
                .map(|member| consumer_member(member, epoch))
                .collect(),
        })
    }

    async fn describe_classic_group(
        &self,
        node: i32,
        group: &GroupId,
    ) -> Result<GroupState, ClientError> {
        let request =
            DescribeGroupsRequest::default().with_groups(vec![text(group.as_str()).into()]);
        let response = self.call(node, &request).await?;
        let missing = || ClientError::Missing(group.to_string());
        let described = response.groups.first().ok_or_else(missing)?;
        let checked = check(described.error_code, || format!("description of {group}"))
            .map_err(|error| error.needs(&[Acl::group("DESCRIBE", group)]));
        match checked {
            // Version 6 on says so; before, such a group is described as dead.
            Err(ClientError::Kafka {
                error: ResponseError::GroupIdNotFound,
                ..
            }) => {}
            checked => checked?,
        }
        let stable = described.group_state.as_str() == "Stable";
        let members: Result<_, _> = described
            .members
            .iter()
            .map(|member| classic_member(member, stable))
            .collect();
        Ok(GroupState {
            kind: GroupKind::Classic,
            state: described.group_state.to_string(),
            members: members?,
        })
    }

    /// Makes members of a group go, static ones too. Members that are gone already are no error.
    pub async fn force_leave(
        &self,
        group: &GroupId,
        kind: GroupKind,
        members: &[Member],
    ) -> Result<(), ClientError> {
        if members.is_empty() {
            return Ok(());
        }
        self.retrying(|client| async move {
            let left = match kind {
                GroupKind::Classic => client.leave_classic(group, members).await,
                GroupKind::Consumer => client.leave_consumer(group, members).await,
            };
            client.forget_coordinator_on_error(group, &left);
            left
        })
        .await?;
        cutline_crash::here("made members leave");
        Ok(())
    }

    async fn leave_classic(&self, group: &GroupId, members: &[Member]) -> Result<(), ClientError> {
        let node = self.group_coordinator(group).await?;
        let leaving = members.iter().map(|member| {
            MemberIdentity::default()
                .with_member_id(text(&member.id))
                .with_group_instance_id(member.instance_id.as_deref().map(text))
        });
        let request = LeaveGroupRequest::default()
            .with_group_id(text(group.as_str()).into())
            .with_members(leaving.collect());
        let response = self.call(node, &request).await?;
        let checked = check(response.error_code, || format!("leaving {group}"));
        gone_is_fine(checked.map_err(|error| error.needs(&[Acl::group("READ", group)])))?;
        for member in &response.members {
            let what = || format!("leave of {} from {group}", member.member_id);
            gone_is_fine(check(member.error_code, what))?;
        }
        Ok(())
    }

    async fn leave_consumer(&self, group: &GroupId, members: &[Member]) -> Result<(), ClientError> {
        let node = self.group_coordinator(group).await?;
        for member in members {
            let request = ConsumerGroupHeartbeatRequest::default()
                .with_group_id(text(group.as_str()).into())
                .with_member_id(text(&member.id))
                .with_instance_id(member.instance_id.as_deref().map(text))
                .with_member_epoch(LEAVE);
            let response = self.call(node, &request).await?;
            let what = || format!("leave of {} from {group}", member.id);
            let checked = check(response.error_code, what);
            gone_is_fine(checked.map_err(|error| error.needs(&[Acl::group("READ", group)])))?;
        }
        Ok(())
    }

    /// Every group of the cluster. Without the right to describe the cluster a broker leaves out groups and does not say so,
    /// which is an error here.
    pub async fn list_groups(&self) -> Result<BTreeSet<GroupId>, ClientError> {
        let asked =
            DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
        let cluster = self.call_any(&asked).await?;
        if cluster.cluster_authorized_operations & MAY_DESCRIBE == 0 {
            return Err(ClientError::Denied {
                what: "list of groups".to_owned(),
                needs: Acl::cluster("DESCRIBE"),
                error: ResponseError::ClusterAuthorizationFailed,
            });
        }
        let mut groups = BTreeSet::new();
        for node in self.metadata().brokers.keys() {
            let response = self.call(*node, &ListGroupsRequest::default()).await?;
            check(response.error_code, || "list of groups".to_owned())?;
            groups.extend(
                response
                    .groups
                    .iter()
                    .map(|group| GroupId::from(group.group_id.as_str())),
            );
        }
        Ok(groups)
    }
}

/// A group is described to those only who may describe every topic that its members read; which one is missing is not said.
fn read_by(group: &GroupId) -> Acl {
    Acl::topic("DESCRIBE", &format!("(each that {group} reads)").into())
}

fn gone_is_fine(left: Result<(), ClientError>) -> Result<(), ClientError> {
    match left {
        Err(ClientError::Kafka {
            error: ResponseError::UnknownMemberId | ResponseError::GroupIdNotFound,
            ..
        }) => Ok(()),
        other => other,
    }
}

fn consumer_member(member: &DescribedMember, group_epoch: i32) -> Member {
    let assignment = partitions(&member.assignment);
    let reconciling =
        member.member_epoch != group_epoch || assignment != partitions(&member.target_assignment);
    Member {
        id: member.member_id.to_string(),
        client_id: member.client_id.to_string(),
        host: member.client_host.trim_start_matches('/').to_owned(),
        instance_id: member.instance_id.as_ref().map(ToString::to_string),
        assignment,
        epoch: Some(member.member_epoch),
        reconciling,
    }
}

fn partitions(assignment: &Assignment) -> BTreeSet<TopicPartition> {
    let topics = assignment.topic_partitions.iter();
    topics
        .flat_map(|topic| {
            let name = topic.topic_name.as_str();
            let indexes = topic.partitions.iter();
            indexes.map(move |&index| TopicPartition::new(name, index))
        })
        .collect()
}

fn classic_member(member: &DescribedGroupMember, stable: bool) -> Result<Member, ClientError> {
    Ok(Member {
        id: member.member_id.to_string(),
        client_id: member.client_id.to_string(),
        host: member.client_host.trim_start_matches('/').to_owned(),
        instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
        assignment: classic_assignment(&member.member_assignment)?,
        epoch: None,
        reconciling: !stable,
    })
}

/// What a classic member's assignment bytes say; empty ones say nothing. They are an application's own, which its broker
/// passes on unread, so nothing is reserved by a length in them.
fn classic_assignment(bytes: &[u8]) -> Result<BTreeSet<TopicPartition>, ClientError> {
    // Every version begins alike; newer ones only add at the end.
    let mut reader = Reader::new(bytes, false);
    if reader.remaining() < 2 {
        return Ok(BTreeSet::new());
    }
    reader.i16("assignment version")?;
    let mut partitions = BTreeSet::new();
    for _ in 0..reader.array("assigned topics")? {
        let topic = reader.string("assigned topic")?;
        for _ in 0..reader.array("assigned partitions")? {
            partitions.insert(TopicPartition::new(topic, reader.i32("partition")?));
        }
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_whatever_its_version() {
        let bytes = [
            &[0, 9, 0, 0, 0, 1, 0, 1][..],
            b"t",
            &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff],
        ]
        .concat();
        let wanted = [0, 7].map(|at| TopicPartition::new("t", at));
        assert_eq!(classic_assignment(&bytes).unwrap(), wanted.into());
        assert!(classic_assignment(&[]).unwrap().is_empty());
    }

    #[test]
    fn an_assignment_of_two_thousand_million_topics_is_refused() {
        let claims = [0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 1, b't'];
        assert!(classic_assignment(&claims).is_err());
    }
}
