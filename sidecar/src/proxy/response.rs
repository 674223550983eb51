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

#[cfg(test)]
mod tests {
    use cutline_wire::frame::FrameReader;
    use kafka_protocol::messages::{fetch_response, produce_response};
    use tokio::sync::mpsc;

    use super::*;

    const REAL_PORT: i32 = 9092;

    async fn frame(bytes: Bytes) -> Frame {
        let read = FrameReader::responses(&bytes[..]).next().await;
        read.expect("a whole frame").expect("a frame")
    }

    // A client that follows such a hint would go past the sidecar.
    #[tokio::test]
    async fn hints_at_a_new_leader_point_to_the_sidecar() {
        let (opened, _listeners) = mpsc::unbounded_channel();
        let listen = "127.0.0.1:0".parse().expect("an address");
        let (brokers, topics) = (Brokers::new(Vec::new(), listen, opened), Topics::default());
        let rewriter = Rewriter {
            brokers: &brokers,
            host: "127.0.0.1",
            topics: &topics,
        };
        let host = StrBytes::from_static_str("broker");
        let node = produce_response::NodeEndpoint::default()
            .with_node_id(3.into())
            .with_host(host.clone())
            .with_port(REAL_PORT);
        let produced = ProduceResponse::default().with_node_endpoints(vec![node]);
        let node = fetch_response::NodeEndpoint::default()
            .with_node_id(3.into())
            .with_host(host)
            .with_port(REAL_PORT);
        let fetched = FetchResponse::default().with_node_endpoints(vec![node]);

        let (rewritten, _) = rewriter
            .produce(&frame(encode(&produced, 12, 7)).await, 12)
            .expect("it can be read");
        let rewritten = frame(rewritten.expect("it names a broker")).await;
        let (id, produced) = decode::<ProduceResponse>(&rewritten, 12).expect("it can be read");
        let rewritten = rewriter
            .fetch(encode(&fetched, 17, 8), 17)
            .expect("it can be read");
        let (_, fetched) =
            decode::<FetchResponse>(&frame(rewritten).await, 17).expect("it can be read");

        let local = i32::from(brokers.local(3, "broker", REAL_PORT).expect("it is known"));
        assert_ne!(local, REAL_PORT);
        let (produced, fetched) = (&produced.node_endpoints[0], &fetched.node_endpoints[0]);
        assert_eq!(
            (id, &*produced.host, produced.port),
            (7, "127.0.0.1", local)
        );
        assert_eq!((&*fetched.host, fetched.port), ("127.0.0.1", local));
    }
}
