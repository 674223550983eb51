//! Which group members live behind this sidecar, as far as its traffic tells.
//!
//! What is told to the core is kept here as well, for whoever must make the members leave.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::GroupId;
use cutline_wire::frame::Frame;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatResponse, HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse,
    SyncGroupResponse,
};
use parking_lot::Mutex;

use super::{
    decide::Decide,
    response::{ResponseError, decode},
};

const MEMBER_ID_REQUIRED: i16 = 79;
const REBALANCE_IN_PROGRESS: i16 = 27;
const JOINING: i32 = 0;

/// Member ids remembered that a broker has handed out to somebody here; older ones count as new no more.
pub const ISSUED_MAX: usize = 10_000;

/// Members by group.
#[derive(Debug, Default)]
pub struct Groups {
    members: Mutex<BTreeMap<GroupId, BTreeSet<String>>>,
    /// Given to a first JoinGroup, which is to be repeated with it.
    issued: Mutex<BTreeSet<String>>,
}

impl Groups {
    /// The members that live behind this sidecar.
    #[must_use]
    pub fn members(&self) -> BTreeMap<GroupId, BTreeSet<String>> {
        self.members.lock().clone()
    }

    /// Forgets everybody: they were made to leave.
    pub fn clear(&self) {
        self.members.lock().clear();
    }

    /// A JoinGroup was answered. True when somebody is now a member.
    pub fn joined(
        &self,
        decide: &Decide,
        (group, asked): (&GroupId, &str),
        frame: &Frame,
        version: i16,
    ) -> Result<bool, ResponseError> {
        let (_, response) = decode::<JoinGroupResponse>(frame, version)?;
        let member = response.member_id.as_str();
        if response.error_code == MEMBER_ID_REQUIRED {
            let mut issued = self.issued.lock();
            if issued.len() < ISSUED_MAX {
                issued.insert(member.to_owned());
            }
        } else if response.error_code == 0 {
            let new = asked.is_empty() || self.issued.lock().remove(asked);
            self.present(decide, group, member, new);
        }
        Ok(response.error_code == 0)
    }

    /// A SyncGroup or Heartbeat was answered.
    pub fn alive(
        &self,
        decide: &Decide,
        (group, member): (&GroupId, &str),
        sync: bool,
        frame: &Frame,
        version: i16,
    ) -> Result<(), ResponseError> {
        let error = if sync {
            decode::<SyncGroupResponse>(frame, version)?.1.error_code
        } else {
            decode::<HeartbeatResponse>(frame, version)?.1.error_code
        };
        match error {
            0 => self.present(decide, group, member, false),
            REBALANCE_IN_PROGRESS => decide.rebalance(group),
            _ => {}
        }
        Ok(())
    }

    /// A LeaveGroup was answered.
    pub fn left(
        &self,
        decide: &Decide,
        (group, members): (&GroupId, &[String]),
        frame: &Frame,
        version: i16,
    ) -> Result<(), ResponseError> {
        let (_, response) = decode::<LeaveGroupResponse>(frame, version)?;
        if response.error_code == 0 {
            members
                .iter()
                .for_each(|member| self.absent(decide, group, member));
            decide.rebalance(group);
        }
        Ok(())
    }

    /// A ConsumerGroupHeartbeat was answered. True when somebody is a member.
    pub fn consumer_heartbeat(
        &self,
        decide: &Decide,
        (group, asked): (&GroupId, &str),
        epoch: i32,
        frame: &Frame,
        version: i16,
    ) -> Result<bool, ResponseError> {
        let (_, response) = decode::<ConsumerGroupHeartbeatResponse>(frame, version)?;
        if response.error_code != 0 {
            return Ok(false);
        }
        let given = response.member_id.as_ref().map(|member| member.as_str());
        let member = given.filter(|member| !member.is_empty()).unwrap_or(asked);
        if epoch < JOINING {
            self.absent(decide, group, member);
        } else {
            self.present(decide, group, member, epoch == JOINING);
        }
        if epoch <= JOINING || response.assignment.is_some() {
            decide.rebalance(group);
        }
        Ok(epoch >= JOINING)
    }

    fn present(&self, decide: &Decide, group: &GroupId, member: &str, new: bool) {
        let unseen = {
            let mut members = self.members.lock();
            let here = members.entry(group.clone()).or_default();
            !here.contains(member) && here.insert(member.to_owned())
        };
        // The core need not hear of every heartbeat.
        if unseen || new {
            decide.member(group, member, new);
        }
    }

    fn absent(&self, decide: &Decide, group: &GroupId, member: &str) {
        let mut members = self.members.lock();
        if let Some(here) = members.get_mut(group) {
            here.remove(member);
            if here.is_empty() {
                members.remove(group);
            }
        }
        decide.member_left(group, member);
    }
}
