//! Making a client: who we are by the standard chain, where the server is, how to talk to it.
//!
//! The chain is environment, shared profile, web identity, container and machine metadata. The SDK's own retries are off:
//! there is one policy, in `retry`. TLS is rustls on ring with the system's roots.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::{
    Client,
    config::{
        Credentials, ProvideCredentials, ResponseChecksumValidation, StalledStreamProtectionConfig,
        retry::RetryConfig, timeout::TimeoutConfig,
    },
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};

use crate::{
    StoreError,
    s3::{address::S3Address, failure::chain},
};

/// How long a connection may take to be made.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// A transfer that stands still for this long is broken off and tried again.
const STALL_TIME_MAX: Duration = Duration::from_secs(10);
/// How long looking for credentials may take: the machine's metadata service is asked last, and may not be there.
const CREDENTIALS_TIME_MAX: Duration = Duration::from_secs(20);
/// What servers of one's own take for their region when nobody says one.
const REGION_DEFAULT: &str = "us-east-1";

pub(crate) async fn client(
    address: &S3Address,
    store: &str,
    credentials: Option<Credentials>,
) -> Result<Client, StoreError> {
    let http = Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    if let Some(region) = &address.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(credentials) = credentials {
        loader = loader.credentials_provider(credentials);
    }
    let shared = loader.load().await;
    check_credentials(&shared, store).await?;
    let stall = StalledStreamProtectionConfig::enabled().grace_period(STALL_TIME_MAX);
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIME_MAX);
    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts.build())
        .stalled_stream_protection(stall.build())
        // Everything read is verified by hashes of our own; a server's sum of what it lost would only look like a bad line.
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(address.path_style);
    if let Some(endpoint) = &address.endpoint {
        config = config.endpoint_url(endpoint);
    }
    if shared.region().is_none() {
        if address.endpoint.is_none() {
            return Err(StoreError::BadSpec {
                spec: address.to_string(),
                reason: "no region is known; add ?region=REGION or set AWS_REGION".to_owned(),
            });
        }
        config = config.region(Region::from_static(REGION_DEFAULT));
    }
    Ok(Client::from_conf(config.build()))
}

/// Found missing now, they are named; found missing by a request, they look like a broken connection.
async fn check_credentials(shared: &SdkConfig, store: &str) -> Result<(), StoreError> {
    let missing = |detail: String| StoreError::NoCredentials {
        store: store.to_owned(),
        detail,
    };
    let Some(provider) = shared.credentials_provider() else {
        return Err(missing("there is no provider".to_owned()));
    };
    match tokio::time::timeout(CREDENTIALS_TIME_MAX, provider.provide_credentials()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(missing(chain(&error))),
        Err(_) => Err(missing(format!(
            "no provider answered within {} s",
            CREDENTIALS_TIME_MAX.as_secs()
        ))),
    }
}
