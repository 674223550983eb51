//! What cannot be captured or put back says so, names the way out and shows no password.

use std::time::{Duration, Instant};

use cutline_model::Epoch;
use cutline_state::parse_state_spec;
use cutline_store::Entry;
use integration_tests::{Redis, RedisOptions, ports::free_port, wait_until};

use crate::world::{bank, world, world_of};

/// What a sidecar's user must be allowed; docs/operations.md has the same.
const NEEDED: [&str; 10] = [
    "+info",
    "+client|tracking",
    "+ping",
    "+time",
    "+scan",
    "+dump",
    "+pexpiretime",
    "+restore",
    "+unlink",
    "+select",
];

#[tokio::test]
async fn a_cluster_and_a_replica_are_refused_by_name() {
    let bus = free_port().to_string();
    let options = RedisOptions {
        // Left to itself it takes a second port, 10,000 above the first, which may be somebody's.
        arguments: ["--cluster-enabled", "yes", "--cluster-port", &bus]
            .map(str::to_owned)
            .into(),
        ..RedisOptions::default()
    };
    let world = world_of(&options).await;
    let error = world.state("/0?prefix=bank:").probe().await.unwrap_err();
    assert!(
        error.code() == "CL0191"
            && error.to_string().contains("cluster")
            && error.to_string().contains("hook"),
        "{error}"
    );

    let replica = RedisOptions {
        arguments: ["--replicaof", "127.0.0.1", &world.redis.port().to_string()]
            .map(str::to_owned)
            .into(),
        ..RedisOptions::default()
    };
    let replica = Redis::start(&replica).await;
    let state = parse_state_spec(&format!("{}?prefix=a", replica.url()))
        .unwrap()
        .provider;
    let error = state.fix().await.err().expect("a replica is refused");
    assert!(error.to_string().contains("name its primary"), "{error}");
}

#[tokio::test]
async fn a_user_with_what_is_documented_can_do_all_and_with_less_is_told_what_is_missing() {
    let world = world().await;
    world
        .run(&[
            "SET bank:a 1",
            "SET bank:b 2 PX 100000",
            "-n 2 SET bank:a 1",
        ])
        .await;
    let rules = NEEDED.join(" ");
    world
        .run(&[&format!(
            "ACL SETUSER cutline on >pass-w0rd ~bank:* resetchannels -@all {rules}"
        )])
        .await;
    let spec = format!(
        "redis://cutline:pass-w0rd@127.0.0.1:{}/2?prefix=bank:",
        world.redis.port()
    );
    let state = parse_state_spec(&spec).unwrap().provider;
    state.probe().await.unwrap();
    let part = world.record(1, &*state).await.unwrap();
    world.run(&["-n 2 SET bank:a 7", "-n 2 SET bank:c 7"]).await;
    world.restore(&*state, &part).await.unwrap();
    assert_eq!(world.ask("-n 2 MGET bank:a bank:c").await, "1");
    for without in NEEDED {
        let less = without.replace('+', "-");
        world
            .run(&[
                &format!("ACL SETUSER cutline {less}"),
                "-n 2 SET bank:a 7",
                "-n 2 SET bank:c 7",
            ])
            .await;
        let error = match state.probe().await {
            Err(error) => error,
            Ok(()) => world.restore(&*state, &part).await.expect_err(without),
        };
        let command = &without[1..];
        assert!(error.to_string().contains(command), "{without}: {error}");
        assert!(
            !error.is_retryable() && !error.to_string().contains("pass-w0rd"),
            "{error}"
        );
        world
            .run(&[&format!("ACL SETUSER cutline {without}")])
            .await;
    }
}

#[tokio::test]
async fn no_password_is_shown_whether_it_is_right_or_wrong() {
    let options = RedisOptions {
        password: Some("s3cret-one".to_owned()),
        ..RedisOptions::default()
    };
    let world = world_of(&options).await;
    let right = world.state("/0?prefix=bank:");
    right.probe().await.unwrap();
    assert!(!format!("{right:?}").contains("s3cret"));
    let port = world.redis.port();
    for spec in [
        format!("redis://:s3cret-two@127.0.0.1:{port}/0?prefix=bank:"),
        format!("redis://127.0.0.1:{port}/0?prefix=bank:"),
    ] {
        let error = parse_state_spec(&spec)
            .unwrap()
            .provider
            .fix()
            .await
            .err()
            .expect("refused");
        assert!(
            error.code() == "CL0190"
                && !error.is_retryable()
                && !error.to_string().contains("s3cret"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_redis_that_is_gone_or_stopped_costs_its_time_limit_and_no_more() {
    let mut world = world().await;
    let state = world.state("/0?prefix=bank:");
    world.redis.freeze();
    let began = Instant::now();
    let error = state
        .fix()
        .await
        .err()
        .expect("a stopped redis does not answer");
    assert!(
        error.is_retryable() && began.elapsed() < Duration::from_secs(15),
        "{error}"
    );
    world.redis.thaw();
    world.redis.kill();
    let error = state
        .fix()
        .await
        .err()
        .expect("a redis that is gone does not answer");
    assert!(error.is_retryable(), "{error}");
    // It may start later than the sidecar.
    state.probe().await.unwrap();
}

#[tokio::test]
async fn a_part_of_another_prefix_or_of_a_newer_redis_is_refused_before_anything_is_changed() {
    let world = world().await;
    world.run(&["SET bank:a 1", "SET bank:b 2"]).await;
    let state = world.state("/0?prefix=bank:");
    let part = world.record(1, &*state).await.unwrap();
    let other = world.state("/0?prefix=shop:");
    let error = world.restore(&*other, &part).await.unwrap_err();
    assert!(
        error.code() == "CL0194" && error.to_string().contains("bank:"),
        "{error}"
    );

    let mut part = world
        .repository
        .part_writer(Epoch(2), &bank(), "redis")
        .await
        .unwrap();
    part.begin(Entry::file("about.json")).unwrap();
    part.push(br#"{"format":1,"cut_ms":1,"redis_version":"99.0.0","prefix":"bank:","count":1}"#)
        .await
        .unwrap();
    part.end_file().await.unwrap();
    part.begin(Entry::file("keys")).unwrap();
    let value = b"\x00\x01a\xff\x7f\x00\x00\x00\x00\x00\x00\x00\x00";
    for bytes in [
        &6_u32.to_le_bytes()[..],
        &13_u32.to_le_bytes(),
        &(-1_i64).to_le_bytes(),
        b"bank:a",
        value,
    ] {
        part.push(bytes).await.unwrap();
    }
    part.end_file().await.unwrap();
    let part = part.finish().await.unwrap();
    let error = world.restore(&*state, &part).await.unwrap_err();
    assert!(
        error.code() == "CL0195" && error.to_string().contains("99.0.0"),
        "{error}"
    );
    assert_eq!(world.ask("MGET bank:a bank:b").await, "1\n2");
    wait_until(
        Duration::from_secs(5),
        "nothing of ours to stay",
        || async { world.ask("DBSIZE").await == "2" },
    )
    .await;
}
