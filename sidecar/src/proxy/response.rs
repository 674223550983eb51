//! Responses that name brokers or APIs, rewritten so that the application stays behind the sidecar.

use std::io;

use bytes::{Buf, Bytes};
use cutline_wire::{api, frame::Frame};
use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsResponse, DescribeClusterResponse, FetchResponse,
        FindCoordinatorResponse, MetadataResponse, ProduceResponse, ResponseHeader,
        api_versions_response::ApiVersion,
    },
    protocol::{Decodable, HeaderVersion, StrBytes},
};
use thiserror::Error;

use super::{advertise::Brokers, fetch_answer::encode, topics::Topics};

const UNSUPPORTED_VERSION: i16 = 35;

/// Why a broker's answer cannot be passed on.
#[derive(Debug, Error)]
pub enum ResponseError {
    /// It does not follow its schema.
    #[error("the broker's answer cannot be read: {0}")]
    Decode(String),
    /// A broker that it names cannot be given a local port.
    #[error("no local port for a broker: {0}")]
    Listen(#[from] io::Error),
}

/// Rewrites what names brokers.
#[derive(Clone, Copy, Debug)]
pub struct Rewriter<'a> {
    /// The brokers and their local ports.
    pub brokers: &'a Brokers,
    /// The host by which this application reached the sidecar.
    pub host: &'a str,
    /// Where topic names are kept.
    pub topics: &'a Topics,
}

impl Rewriter<'_> {
    /// A Metadata response.
    pub fn metadata(&self, frame: &Frame, version: i16) -> Result<Bytes, ResponseError> {
        let (id, mut response) = decode::<MetadataResponse>(frame, version)?;
        self.topics.learn_all(&response);
        for broker in &mut response.brokers {
            self.point_here(broker.node_id.0, &mut broker.host, &mut broker.port)?;
        }
        Ok(encode(&response, version, id))
    }

    /// A FindCoordinator response.
    pub fn find_coordinator(&self, frame: &Frame, version: i16) -> Result<Bytes, ResponseError> {
        let (id, mut response) = decode::<FindCoordinatorResponse>(frame, version)?;
        self.point_here(response.node_id.0, &mut response.host, &mut response.port)?;
        for found in &mut response.coordinators {
            self.point_here(found.node_id.0, &mut found.host, &mut found.port)?;
        }
        Ok(encode(&response, version, id))
    }

    /// A DescribeCluster response.
    pub fn describe_cluster(&self, frame: &Frame, version: i16) -> Result<Bytes, ResponseError> {
        let (id, mut response) = decode::<DescribeClusterResponse>(frame, version)?;
        for broker in &mut response.brokers {
            self.point_here(broker.broker_id.0, &mut broker.host, &mut broker.port)?;
        }
        Ok(encode(&response, version, id))
    }

    /// A Fetch response that names new leaders.
    pub fn fetch(&self, mut whole: Bytes, version: i16) -> Result<Bytes, ResponseError> {
        whole.advance(cutline_wire::frame::PREFIX_BYTES);
        let (id, mut response) = decode_payload::<FetchResponse>(whole, version)?;
        for node in &mut response.node_endpoints {
            self.point_here(node.node_id.0, &mut node.host, &mut node.port)?;
        }
        Ok(encode(&response, version, id))
    }

    /// A Produce response; `None` when it can pass as it is. Answers what it said, too.
    pub fn produce(
        &self,
        frame: &Frame,
        version: i16,
    ) -> Result<(Option<Bytes>, ProduceResponse), ResponseError> {
        let (id, mut response) = decode::<ProduceResponse>(frame, version)?;
        if response.node_endpoints.is_empty() {
            return Ok((None, response));
        }
        for node in &mut response.node_endpoints {
            self.point_here(node.node_id.0, &mut node.host, &mut node.port)?;
        }
        Ok((Some(encode(&response, version, id)), response))
    }

    fn point_here(
        &self,
        node: i32,
        host: &mut StrBytes,
        port: &mut i32,
    ) -> Result<(), ResponseError> {
        // No broker: nobody is the coordinator at the moment.
        if node < 0 || *port <= 0 || host.is_empty() {
            return Ok(());
        }
        *port = i32::from(self.brokers.local(node, host, *port)?);
        *host = StrBytes::from_string(self.host.to_owned());
        Ok(())
    }
}

/// An ApiVersions response, with what the sidecar cannot read taken out.
pub fn api_versions(frame: &Frame, version: i16) -> Result<Bytes, ResponseError> {
    // A broker that does not know the version says so in version 0.
    let refused = frame.payload().get(4..6) == Some(&UNSUPPORTED_VERSION.to_be_bytes());
    let version = if refused { 0 } else { version };
    let (id, mut response) = decode::<ApiVersionsResponse>(frame, version)?;
    api::cap(&mut response.api_keys);
    Ok(encode(&response, version, id))
}

/// The answer to an ApiVersions request in a version that the sidecar cannot read: which it can.
pub fn api_versions_refused(correlation_id: i32) -> Bytes {
    let key = ApiKey::ApiVersions as i16;
    let readable = api::readable(key).expect("the sidecar reads ApiVersions");
    let offered = ApiVersion::default()
        .with_api_key(key)
        .with_min_version(readable.min)
        .with_max_version(readable.max);
    let response = ApiVersionsResponse::default()
        .with_error_code(UNSUPPORTED_VERSION)
        .with_api_keys(vec![offered]);
    encode(&response, 0, correlation_id)
}

/// Reads a broker's response: correlation id and body.
pub fn decode<R: Decodable + HeaderVersion>(
    frame: &Frame,
    version: i16,
) -> Result<(i32, R), ResponseError> {
    decode_payload(frame.payload(), version)
}

fn decode_payload<R: Decodable + HeaderVersion>(
    mut payload: Bytes,
    version: i16,
) -> Result<(i32, R), ResponseError> {
    let header = ResponseHeader::decode(&mut payload, R::header_version(version))
        .map_err(|error| ResponseError::Decode(error.to_string()))?;
    let body = R::decode(&mut payload, version)
        .map_err(|error| ResponseError::Decode(error.to_string()))?;
    Ok((header.correlation_id, body))
}
