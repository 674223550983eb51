//! Who leads, by the group that elects the leader.

use cutline_client::Finding;
use cutline_model::GroupId;
use cutline_wire::client::Member;

use super::finding::{fail, ok, refused, warn};
use crate::app::App;

const ID: &str = "control.leader";

/// Looks at the election.
pub async fn look(app: &App) -> Vec<Finding> {
    let group = GroupId::from(format!("__cutline.{}.coordinator", app.config.deployment));
    let described = app.kafka.describe_group(&group).await;
    let right = format!("Describe and Read on Group {group}");
    vec![match described {
        Ok(state) => judge(app.leadership.is_leading(), &state.members),
        Err(error) => refused(
            ID,
            group.to_string(),
            &error,
            &right,
            "see that Kafka is well",
        ),
    }]
}

fn judge(leading: bool, members: &[Member]) -> Finding {
    let subject = match members.len() {
        1 => "1 admin API".to_owned(),
        several => format!("{several} admin APIs"),
    };
    if leading {
        return ok(ID, subject, "this admin API leads");
    }
    let elected = members.iter().find(|member| !member.assignment.is_empty());
    match elected {
        Some(member) => warn(
            ID,
            subject,
            format!(
                "this admin API stands by; the one at {} leads, or takes over at the moment",
                member.host
            ),
            format!(
                "give --admin the address of the one at {}, or of a service that leads to whoever is ready",
                member.host
            ),
        ),
        None => fail(
            ID,
            subject,
            "none leads: no checkpoint is taken and no restore goes on",
            "wait a few seconds for the election; if it lasts, see kafka.limits (group.min.session.timeout.ms), the ACLs on that group, and the admin APIs' logs",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cutline_client::Verdict;
    use cutline_model::TopicPartition;

    use super::*;

    fn member(host: &str, leads: bool) -> Member {
        let partition = TopicPartition::new("__cutline.x", 0);
        Member {
            id: "m".to_owned(),
            client_id: "cutline-admin.x".to_owned(),
            host: host.to_owned(),
            instance_id: None,
            assignment: leads
                .then_some(partition)
                .into_iter()
                .collect::<BTreeSet<_>>(),
            epoch: None,
            reconciling: false,
        }
    }

    #[test]
    fn whoever_stands_by_says_where_the_leader_is() {
        let found = judge(
            false,
            &[member("10.0.0.7", true), member("10.0.0.8", false)],
        );
        assert_eq!(found.verdict, Verdict::Warn);
        assert!(found.cure.unwrap().contains("10.0.0.7"));
        assert_eq!(
            judge(true, &[member("10.0.0.8", true)]).verdict,
            Verdict::Ok
        );
        assert_eq!(judge(false, &[]).verdict, Verdict::Fail);
    }
}
