//! PostgreSQL as it really is: the harness's server, and the provider's work on it.

use integration_tests::Postgres;

#[tokio::test]
async fn a_killed_server_starts_again_with_what_was_committed() {
    let mut postgres = Postgres::start(&[]).await;
    postgres.create_database("kept").await;
    let client = postgres.client("kept").await;
    client
        .batch_execute("CREATE TABLE t (id int); INSERT INTO t VALUES (7)")
        .await
        .unwrap();
    postgres.kill();
    assert!(client.simple_query("SELECT 1").await.is_err());
    postgres.start_again().await;
    let client = postgres.client("kept").await;
    let row = client.query_one("SELECT id FROM t", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 7);
    postgres.stop().await;
    postgres.start_again().await;
}
