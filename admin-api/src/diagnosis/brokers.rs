//! Kafka's brokers: whether each advertised one is reached from here, and whether it speaks what Cutline needs.

use cutline_client::Finding;
use cutline_wire::client::{Broker, Client, ClientError};
use futures_util::future::join_all;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, ConsumerGroupDescribeRequest, DescribeProducersRequest,
    EndTxnRequest, InitProducerIdRequest, ListTransactionsRequest,
};

use super::finding::{fail, ok, refused, warn};
use crate::app::App;

const REACH: &str = "kafka.brokers";
const SPEAKS: &str = "kafka.versions";
/// Markers are written with this version of AddPartitionsToTxn: later ones are for brokers among themselves.
const ADD_PARTITIONS: i16 = 3;

/// What one broker is.
struct Seen {
    broker: Broker,
    /// Names of what it lacks, or why it was not asked.
    lacks: Result<Vec<Lack>, ClientError>,
}

/// Something that a broker does not speak.
#[derive(Clone, Copy)]
struct Lack {
    name: &'static str,
    /// Without it only some things do not work.
    needed_for: Option<&'static str>,
}

/// Looks at every broker of the metadata.
pub async fn look(app: &App) -> Vec<Finding> {
    let kafka = &app.kafka;
    let metadata = match kafka.refresh_metadata().await {
        Ok(metadata) => metadata,
        Err(error) => {
            let cure = format!(
                "see that brokers run at {} and are reached from the admin API's machine",
                app.config.kafka.join(", ")
            );
            let right = "Describe on Topic";
            return vec![refused(REACH, "cluster", &error, right, &cure)];
        }
    };
    let asked = metadata.brokers.values().map(|broker| async move {
        Seen {
            broker: broker.clone(),
            lacks: lacks(kafka, broker.node).await,
        }
    });
    let seen = join_all(asked).await;
    seen.iter().map(judge).collect()
}

async fn lacks(kafka: &Client, node: i32) -> Result<Vec<Lack>, ClientError> {
    let needed = |name| Lack {
        name,
        needed_for: None,
    };
    let wanted = |name, needed_for| Lack {
        name,
        needed_for: Some(needed_for),
    };
    let offers = [
        (
            kafka.supports::<InitProducerIdRequest>(node, 2).await?,
            needed("InitProducerId 2"),
        ),
        (
            kafka
                .supports::<AddPartitionsToTxnRequest>(node, ADD_PARTITIONS)
                .await?,
            needed("AddPartitionsToTxn 3"),
        ),
        (
            kafka.supports::<EndTxnRequest>(node, 3).await?,
            needed("EndTxn 3"),
        ),
        (
            kafka.supports::<ListTransactionsRequest>(node, 0).await?,
            needed("ListTransactions"),
        ),
        (
            kafka.supports::<DescribeProducersRequest>(node, 0).await?,
            wanted("DescribeProducers", "finding producers behind no sidecar"),
        ),
        (
            kafka
                .supports::<ConsumerGroupDescribeRequest>(node, 0)
                .await?,
            wanted(
                "ConsumerGroupDescribe",
                "groups of the new protocol (KIP-848)",
            ),
        ),
    ];
    let lacking = offers.into_iter().filter(|(offered, _)| !offered);
    Ok(lacking.map(|(_, lack)| lack).collect())
}

fn judge(seen: &Seen) -> Finding {
    let subject = format!("broker {} ({})", seen.broker.node, seen.broker.address());
    let lacks = match &seen.lacks {
        Ok(lacks) => lacks,
        Err(error) => {
            return refused(
                REACH,
                subject,
                error,
                "",
                "this is the address that the broker advertises: correct its advertised.listeners, or let the admin API and every sidecar reach it; if the broker is down, start it",
            );
        }
    };
    if lacks.is_empty() {
        return ok(REACH, subject, "reached, and speaks all that is needed");
    }
    let names: Vec<&str> = lacks.iter().map(|lack| lack.name).collect();
    let upgrade = "run Apache Kafka 3.9 to 4.3 on every broker";
    let what = format!("it does not speak {}", names.join(", "));
    if lacks.iter().any(|lack| lack.needed_for.is_none()) {
        let what = format!(
            "{what}: markers cannot be written, so no aligned or unaligned checkpoint can be taken and nothing can be restored"
        );
        return fail(SPEAKS, subject, what, upgrade);
    }
    let missing: Vec<&str> = lacks.iter().filter_map(|lack| lack.needed_for).collect();
    let what = format!("{what}, which serves {}", missing.join(" and "));
    warn(SPEAKS, subject, what, upgrade)
}

#[cfg(test)]
mod tests {
    use cutline_client::Verdict;

    use super::*;

    fn seen(lacks: Result<Vec<Lack>, ClientError>) -> Seen {
        let broker = Broker {
            node: 2,
            host: "b2".to_owned(),
            port: 9092,
        };
        Seen { broker, lacks }
    }

    #[test]
    fn a_broker_without_what_markers_need_fails_and_one_without_less_warns() {
        let lack = |needed_for| Lack {
            name: "X",
            needed_for,
        };
        let verdict = |lacks| judge(&seen(Ok(lacks))).verdict;
        assert_eq!(verdict(vec![]), Verdict::Ok);
        assert_eq!(verdict(vec![lack(Some("little"))]), Verdict::Warn);
        assert_eq!(
            verdict(vec![lack(Some("little")), lack(None)]),
            Verdict::Fail
        );
    }

    #[test]
    fn a_broker_out_of_reach_is_named_with_the_address_it_advertises() {
        let found = judge(&seen(Err(ClientError::Lost("x".to_owned()))));
        assert_eq!(found.verdict, Verdict::Fail);
        assert!(found.subject.contains("b2:9092"));
        assert!(found.cure.unwrap().contains("advertised.listeners"));
    }
}
