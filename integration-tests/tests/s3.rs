//! Checkpoints in a real S3.

use integration_tests::S3;

#[tokio::test]
async fn a_killed_server_starts_again_on_its_port_with_its_objects() {
    let mut server = S3::start().await;
    let endpoint = server.endpoint();
    std::fs::write(server.objects().join("kept"), "x").unwrap();
    server.process().kill();
    assert!(reqwest::get(&endpoint).await.is_err());
    server.start_again().await;
    // Nobody gets in without credentials.
    let answer = reqwest::get(format!("{endpoint}/cutline/kept")).await;
    assert_eq!(answer.unwrap().status(), 403);
}
