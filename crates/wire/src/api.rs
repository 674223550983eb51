//! Which of Kafka's APIs the sidecar reads, up to which version, and which it takes away.
//!
//! Everything not named here passes byte for byte in any version.

use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ApiKey, ApiVersionsRequest,
    ConsumerGroupHeartbeatRequest, DescribeClusterRequest, EndTxnRequest, FetchRequest,
    FindCoordinatorRequest, HeartbeatRequest, InitProducerIdRequest, JoinGroupRequest,
    LeaveGroupRequest, MetadataRequest, OffsetCommitRequest, ProduceRequest, SyncGroupRequest,
    TxnOffsetCommitRequest, api_versions_response::ApiVersion,
};
use kafka_protocol::protocol::{Message, VersionRange};

/// Share groups and the Streams group protocol. Their records or assignments would pass outside what the sidecar
/// knows, so clients are told that the broker does not have them.
pub const REMOVED: [i16; 6] = [76, 77, 78, 79, 88, 89];

/// The versions in which the sidecar can read `api_key`; `None`: it does not read it.
#[must_use]
pub fn readable(api_key: i16) -> Option<VersionRange> {
    let range = match ApiKey::try_from(api_key).ok()? {
        ApiKey::Produce => ProduceRequest::VERSIONS,
        ApiKey::Fetch => FetchRequest::VERSIONS,
        ApiKey::Metadata => MetadataRequest::VERSIONS,
        ApiKey::OffsetCommit => OffsetCommitRequest::VERSIONS,
        ApiKey::FindCoordinator => FindCoordinatorRequest::VERSIONS,
        ApiKey::JoinGroup => JoinGroupRequest::VERSIONS,
        ApiKey::Heartbeat => HeartbeatRequest::VERSIONS,
        ApiKey::LeaveGroup => LeaveGroupRequest::VERSIONS,
        ApiKey::SyncGroup => SyncGroupRequest::VERSIONS,
        ApiKey::ApiVersions => ApiVersionsRequest::VERSIONS,
        ApiKey::InitProducerId => InitProducerIdRequest::VERSIONS,
        ApiKey::AddPartitionsToTxn => AddPartitionsToTxnRequest::VERSIONS,
        ApiKey::AddOffsetsToTxn => AddOffsetsToTxnRequest::VERSIONS,
        // With version 0 what follows are tokens without a Kafka header, which no frame parser can follow.
        ApiKey::SaslHandshake => VersionRange { min: 1, max: 1 },
        ApiKey::EndTxn => EndTxnRequest::VERSIONS,
        ApiKey::TxnOffsetCommit => TxnOffsetCommitRequest::VERSIONS,
        ApiKey::DescribeCluster => DescribeClusterRequest::VERSIONS,
        ApiKey::ConsumerGroupHeartbeat => ConsumerGroupHeartbeatRequest::VERSIONS,
        _ => return None,
    };
    Some(range)
}

/// True when requests of this API are refused.
#[must_use]
pub fn is_removed(api_key: i16) -> bool {
    REMOVED.contains(&api_key)
}

/// True when a request can be let through: not removed and, where it is read, in a version that can be read.
#[must_use]
pub fn is_acceptable(api_key: i16, version: i16) -> bool {
    // ApiVersions of any version is answered by the broker itself, in version 0 where it must.
    api_key == ApiKey::ApiVersions as i16
        || !is_removed(api_key)
            && readable(api_key).is_none_or(|range| range.min <= version && version <= range.max)
}

/// Takes from a broker's list of APIs what the sidecar cannot read.
pub fn cap(api_keys: &mut Vec<ApiVersion>) {
    api_keys.retain_mut(|api| {
        if let Some(range) = readable(api.api_key) {
            api.min_version = api.min_version.max(range.min);
            api.max_version = api.max_version.min(range.max);
        }
        !is_removed(api.api_key) && api.min_version <= api.max_version
    });
}

/// The version of the header before a response, for an API of the schema.
#[must_use]
pub fn response_header_version(api_key: i16, version: i16) -> Option<i16> {
    Some(
        ApiKey::try_from(api_key)
            .ok()?
            .response_header_version(version),
    )
}

/// True when a request of this API and version has flexible fields (compact lengths, tagged fields); its header
/// then ends in tagged fields too.
#[must_use]
pub fn is_flexible(api_key: i16, version: i16) -> bool {
    ApiKey::try_from(api_key).is_ok_and(|key| key.request_header_version(version) >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_versions_are_capped_and_share_groups_taken_away() {
        let mut keys = [(1, 0, 99), (78, 1, 1), (700, 0, 3), (0, 3, 13)]
            .map(|(key, min, max)| {
                ApiVersion::default()
                    .with_api_key(key)
                    .with_min_version(min)
                    .with_max_version(max)
            })
            .to_vec();
        cap(&mut keys);
        let left: Vec<_> = keys
            .iter()
            .map(|api| (api.api_key, api.min_version, api.max_version))
            .collect();
        assert_eq!(left, [(1, 4, 18), (700, 0, 3), (0, 3, 13)]);
    }
}
