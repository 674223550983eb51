//! Where a Produce landed, as the broker's answer tells it.

use cutline_protocol::ProduceAnswer;
use kafka_protocol::{
    ResponseError as KafkaError,
    error::ParseResponseErrorCode,
    messages::{ProduceResponse, produce_response::PartitionProduceResponse},
};

use super::{fetch_request::names, request::Sent};

/// What `response` says of one partition that was produced to.
#[must_use]
pub fn produced(sent: &Sent, response: &ProduceResponse) -> ProduceAnswer {
    let (name, id) = names(&sent.topic);
    let topics = response.responses.iter();
    let answers = topics
        .filter(|topic| topic.name == name && topic.topic_id == id)
        .flat_map(|topic| &topic.partition_responses);
    let mut answers = answers.filter(|answer| answer.index == sent.partition.partition);
    // A partition that is left out of the answer is in doubt.
    answers
        .next()
        .map_or(ProduceAnswer::Doubtful, |answer| landed(sent, answer))
}

fn landed(sent: &Sent, answer: &PartitionProduceResponse) -> ProduceAnswer {
    match answer.error_code.err() {
        None if answer.base_offset >= 0 => ProduceAnswer::Landed(sent.landed(answer.base_offset)),
        // Appended before, and the broker has forgotten where.
        None | Some(KafkaError::DuplicateSequenceNumber) => ProduceAnswer::Somewhere,
        // Whether it was appended is not known, and the client may not try again.
        Some(KafkaError::UnknownServerError | KafkaError::Unknown(_)) => ProduceAnswer::Somewhere,
        Some(error) if error.is_retriable() || error == KafkaError::ConcurrentTransactions => {
            ProduceAnswer::Doubtful
        }
        Some(_) => ProduceAnswer::Refused,
    }
}
