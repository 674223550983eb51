//! Expiry continues from the cut, and what happens while a copy is made is noticed unless it is expiry.

use std::time::Duration;

use integration_tests::{RedisOptions, wait_until};

use crate::world::{world, world_of};

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
    for (command, noticed) in [
        (&["-r", "1000000", "INCR", "bank:7"][..], true),
        (&["-r", "1000000", "INCR", "bank:new"], true),
        (&["-r", "1000000", "INCR", "other:7"], false),
        (&["-n", "1", "-r", "1000000", "INCR", "bank:7"], false),
    ] {
        let copied = tokio::select! {
            _ = world.redis.try_command(command) => unreachable!("a million commands take longer"),
            copied = async {
                let watched = command[command.len() - 1];
                let database = if command[0] == "-n" { "1" } else { "0" };
                wait_until(Duration::from_secs(10), "the writer to write", || async {
                    world.redis.command(&["-n", database, "GET", watched]).await.parse::<u64>().is_ok_and(|n| n > 50)
                }).await;
                state.fix().await
            } => copied,
        };
        match copied {
            Ok(fixed) => {
                assert!(!noticed, "{command:?}");
                fixed.discard().await.unwrap();
            }
            Err(error) => {
                assert!(noticed && error.is_retryable(), "{command:?}: {error}");
                assert_eq!(error.code(), "CL0192", "{error}");
            }
        }
        world.run(&["DEL bank:new"]).await;
    }
}

#[tokio::test]
async fn a_list_that_is_only_turned_is_noticed_too() {
    let world = world().await;
    world.script("for i = 1, 50000 do redis.call('SET', 'bank:' .. i, i) end redis.call('RPUSH', 'bank:list', 'a', 'b', 'c', 'd', 'e') return 1").await;
    let state = world.state("/0?prefix=bank:");
    let turn = [
        "-r",
        "1000000",
        "LMOVE",
        "bank:list",
        "bank:list",
        "LEFT",
        "RIGHT",
    ];
    let copied = tokio::select! {
        _ = world.redis.try_command(&turn) => unreachable!("a million commands take longer"),
        copied = async {
            wait_until(Duration::from_secs(10), "the list to turn", || async {
                world.ask("LINDEX bank:list 0").await != "a"
            }).await;
            state.fix().await
        } => copied,
    };
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
    let copied = tokio::select! {
        _ = world.redis.try_command(&["--no-raw", "-r", "1000000", "EVAL", "return redis.call('SET', 'fill:' .. redis.call('INCR', 'n'), string.rep('y', 5000))", "0"]) => unreachable!("it takes longer"),
        copied = async {
            wait_until(Duration::from_secs(10), "keys to be evicted", || async {
                world.ask("INFO stats").await.lines().any(|line| line.starts_with("evicted_keys:") && !line.contains(":0"))
            }).await;
            state.fix().await
        } => copied,
    };
    match copied {
        Err(error) => assert_eq!(error.code(), "CL0192", "{error}"),
        Ok(fixed) => fixed.discard().await.unwrap(),
    }
}
