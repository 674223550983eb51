//! Encryption by the server: asked for with every object, however it is written.

use cutline_store::{Created, Key, Objects, S3 as Store, StoreSpec};
use integration_tests::{
    S3,
    front::{Front, Seen},
    s3::{ACCESS_KEY, SECRET_KEY},
    topics::unique_name,
};

/// More than goes in one request.
const LARGE_BYTES: usize = 17 * 1024 * 1024;
const SSE: &str = "x-amz-server-side-encryption";
const SSE_KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";

#[tokio::test]
async fn every_object_is_written_with_the_encryption_that_the_address_asks_for() {
    let server = S3::shared().await;
    for (words, sse, key) in [
        ("", None, None),
        ("&sse=AES256", Some("AES256"), None),
        (
            "&sse=aws:kms&kms_key=alias/bank",
            Some("aws:kms"),
            Some("alias/bank"),
        ),
    ] {
        let front = Front::start(server).await;
        let address = front.instead(&server.store(&unique_name("sse"))) + words;
        let StoreSpec::S3(address) = address.parse().unwrap() else {
            panic!("it is an S3 address: {address}");
        };
        let store = Store::open_as(&address, ACCESS_KEY, SECRET_KEY)
            .await
            .unwrap();
        for (name, bytes) in [("small", 1), ("large", LARGE_BYTES)] {
            let key = Key::new(name).unwrap();
            let written = store.put_new(&key, vec![7; bytes].into()).await;
            assert_eq!(written.unwrap(), Created::Created, "{name} with {words:?}");
        }
        // A part belongs to its upload, which has said it.
        let begins = |seen: &&Seen| {
            seen.uri
                .query()
                .is_none_or(|query| !query.contains("uploadId"))
        };
        let seen = front.seen();
        let writes = seen
            .iter()
            .filter(begins)
            .filter(|seen| seen.method != "HEAD");
        let told: Vec<_> = writes
            .map(|seen| {
                [SSE, SSE_KEY]
                    .map(|name| seen.headers.get(name).and_then(|value| value.to_str().ok()))
            })
            .collect();
        assert_eq!(told, [[sse, key], [sse, key]], "{words:?}: {seen:?}");
    }
}
