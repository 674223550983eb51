//! Expiry continues from the cut, and what happens while a copy is made is noticed unless it is expiry.

use std::time::Duration;

use integration_tests::{RedisOptions, wait_until};
use tokio::process::Child;

use crate::world::{world, world_of};

/// How long another client may take to be at work.
const SOON: Duration = Duration::from_secs(30);

/// Ends a client that must have been at work until now.
async fn ended(mut client: Child) {
    let status = client.try_wait().expect("a child can be asked for");
    assert_eq!(status, None, "it ended too early");
    client.kill().await.expect("a child can be killed");
}

#[tokio::test]
async fn a_key_has_after_a_restore_what_it_had_left_at_the_cut() {
    let world = world().await;
    world
        .run(&[
            "SET bank:short 1 PX 1500",
            "SET bank:long 1 PX 600000",
            "SET bank:ever 1",
            "SADD bank:set a",
            "PEXPIRE bank:set 300000",
        ])
        .await;
    let state = world.state("/0?prefix=bank:");
    let left: i64 = world.ask("PTTL bank:short").await.parse().unwrap();
    let part = world.record(1, &*state).await.unwrap();
    wait_until(
        Duration::from_secs(10),
        "the short-lived key to expire",
        || async { world.ask("EXISTS bank:short").await == "0" },
    )
    .await;
    world.restore(&*state, &part).await.unwrap();
    let again: i64 = world.ask("PTTL bank:short").await.parse().unwrap();
    assert!((1..=left).contains(&again), "{again} ms of {left}");
    let long: i64 = world.ask("PTTL bank:long").await.parse().unwrap();
    // Its time went on neither while it lay in the store nor while nobody used it; a second's tolerance for a slow machine.
    assert!((598_500..=600_000).contains(&long), "{long} ms");
    assert!(world.ask("PTTL bank:set").await.parse::<i64>().unwrap() > 298_500);
    assert_eq!(world.ask("PTTL bank:ever").await, "-1");
}

#[tokio::test]
async fn a_writer_outside_the_pause_is_noticed_and_one_beside_the_prefix_is_not() {
    let world = world().await;
    world
        .script("for i = 1, 50000 do redis.call('SET', 'bank:' .. i, i) end return 1")
        .await;
    let state = world.state("/0?prefix=bank:");
    for (database, key, noticed) in [
        ("0", "bank:7", true),
        ("0", "bank:new", true),
        ("0", "other:7", false),
        ("1", "bank:7", false),
    ] {
        let writer = world.redis.repeat(&["-n", database, "INCR", key]);
        wait_until(SOON, "the writer to write", || async {
            let count = world.redis.command(&["-n", database, "GET", key]).await;
            count.parse::<u64>().is_ok_and(|n| n > 50)
        })
        .await;
        let copied = state.fix().await;
        ended(writer).await;
        match copied {
            Ok(fixed) => {
                assert!(!noticed, "{key} of database {database}");
                fixed.discard().await.unwrap();
            }
            Err(error) => {
                assert!(
                    noticed && error.is_retryable(),
                    "{key} of {database}: {error}"
                );
                assert_eq!(error.code(), "CL0192", "{error}");
            }
        }
        world.run(&["DEL bank:new"]).await;
    }
}

#[tokio::test]
async fn a_list_that_is_only_turned_is_noticed_too() {
    let world = world().await;
    // The list is the first key to be read, and longer than it can be turned round while all the others are.
    world
        .script(
            "for i = 1, 50000 do redis.call('SET', 'bank:' .. i, i) end \
             for i = 1, 100000 do redis.call('RPUSH', 'bank:!list', i) end return 1",
        )
        .await;
    let state = world.state("/0?prefix=bank:");
    let turner = world
        .redis
        .repeat(&["LMOVE", "bank:!list", "bank:!list", "LEFT", "RIGHT"]);
    wait_until(SOON, "the list to turn", || async {
        world.ask("LINDEX bank:!list 0").await != "1"
    })
    .await;
    let copied = state.fix().await;
    ended(turner).await;
    let error = copied.err().expect("a list has an order");
    assert_eq!(error.code(), "CL0192", "{error}");
}

#[tokio::test]
async fn keys_that_expire_while_they_are_copied_are_no_reason_to_fail() {
    let world = world().await;
    world.script("for i = 1, 50000 do redis.call('SET', 'bank:' .. i, i, 'PX', 100 + i % 400) end return 1").await;
    let state = world.state("/0?prefix=bank:");
    let part = world.record(1, &*state).await.unwrap();
    // Whatever was alive at the cut has some time left, and a restore of it is verified.
    world.restore(&*state, &part).await.unwrap();
}

#[tokio::test]
async fn eviction_while_keys_are_copied_is_noticed_or_has_not_happened() {
    let options = RedisOptions {
        arguments: [
            "--maxmemory",
            "12mb",
            "--maxmemory-policy",
            "allkeys-random",
        ]
        .map(str::to_owned)
        .into(),
        ..RedisOptions::default()
    };
    let world = world_of(&options).await;
    world
        .script(
            "for i = 1, 40000 do redis.call('SET', 'bank:' .. i, string.rep('x', 50)) end return 1",
        )
        .await;
    let state = world.state("/0?prefix=bank:");
    state.probe().await.unwrap();
    let fill =
        "return redis.call('SET', 'fill:' .. redis.call('INCR', 'n'), string.rep('y', 5000))";
    let filler = world.redis.repeat(&["EVAL", fill, "0"]);
    wait_until(SOON, "keys to be evicted", || async {
        let stats = world.ask("INFO stats").await;
        let evicted = |line: &str| line.starts_with("evicted_keys:") && !line.contains(":0");
        stats.lines().any(evicted)
    })
    .await;
    let copied = state.fix().await;
    ended(filler).await;
    match copied {
        Err(error) => assert_eq!(error.code(), "CL0192", "{error}"),
        Ok(fixed) => fixed.discard().await.unwrap(),
    }
}
