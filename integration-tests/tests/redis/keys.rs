//! Keys of every type and size go to the store and come back, and nothing else is touched.

use std::time::{Duration, Instant};

use integration_tests::RedisOptions;

use crate::world::{world, world_of};

/// A key of every type, in its small and its large encoding where there are two.
const EVERY_TYPE: &[&str] = &[
    "SET bank:string hello",
    "SET bank:number 42",
    "APPEND bank:string \u{e9}\u{fffd}",
    "RPUSH bank:list a b c a",
    "HSET bank:hash f 1 g 2",
    "SADD bank:numbers 1 2 3",
    "SADD bank:set x y z",
    "ZADD bank:zset 1.5 a -inf b 2 c",
    "SETBIT bank:bits 1000 1",
    "PFADD bank:hll a b c",
    "GEOADD bank:geo 13.4 52.5 berlin",
    "XADD bank:stream 1-1 k v",
    "XADD bank:stream 2-1 k v2 l w",
    "XADD bank:stream 3-1 k v3",
    "XDEL bank:stream 1-1",
    "XGROUP CREATE bank:stream readers 0",
    "XREADGROUP GROUP readers one COUNT 1 STREAMS bank:stream >",
    "XGROUP CREATECONSUMER bank:stream readers two",
];

/// Large enough for hash tables, skip lists and several nodes.
const LARGE: &str = "for i = 1, 3000 do
    redis.call('SADD', 'bank:large-set', 'member-' .. i)
    redis.call('HSET', 'bank:large-hash', 'field-' .. i, i * i)
    redis.call('ZADD', 'bank:large-zset', i / 7, 'member-' .. i)
    redis.call('RPUSH', 'bank:large-list', string.rep('x', i % 100) .. i)
    redis.call('XADD', 'bank:large-stream', i .. '-1', 'n', i)
end
return 'done'";

fn debugging() -> RedisOptions {
    RedisOptions {
        arguments: ["--enable-debug-command", "yes"].map(str::to_owned).into(),
        ..RedisOptions::default()
    }
}

#[tokio::test]
async fn keys_of_every_type_come_back_as_they_were() {
    let world = world_of(&debugging()).await;
    world.run(EVERY_TYPE).await;
    world.script(LARGE).await;
    let before = world.contents("bank:*").await;
    assert_eq!(before.len(), 16);
    let groups = world.ask("XINFO GROUPS bank:stream").await;
    let pending = world.ask("XPENDING bank:stream readers").await;
    let state = world.state("/0?prefix=bank:");
    let part = world.record(1, &*state).await.unwrap();

    // Emptied, and everything of another type under the same names.
    world
        .run(&[
            "FLUSHALL",
            "SET bank:hash no-hash",
            "SADD bank:string no-string",
            "SET bank:more 1",
        ])
        .await;
    world.restore(&*state, &part).await.unwrap();
    assert_eq!(world.contents("bank:*").await, before);
    assert_eq!(world.ask("XINFO GROUPS bank:stream").await, groups);
    assert_eq!(world.ask("XPENDING bank:stream readers").await, pending);
    // Again over itself, and altered a little in each.
    world.script("redis.call('SREM', 'bank:large-set', 'member-7'); redis.call('HSET', 'bank:large-hash', 'field-9', 'x'); return 1").await;
    assert_ne!(world.contents("bank:*").await, before);
    world.restore(&*state, &part).await.unwrap();
    assert_eq!(world.contents("bank:*").await, before);
}

#[tokio::test]
async fn a_prefix_stands_for_itself_and_nothing_else_is_touched() {
    let world = world().await;
    world
        .run(&[
            "SET b[a]n*k?\\:1 mine",
            "SET b[a]n*k?\\: mine-too",
            "SET bank1 other",
            "SET banAk?:1 other",
            "SET b[a]n*k?: other",
            "SET a 1",
        ])
        .await;
    let state = world.state("/0?prefix=b[a]n*k%3F%5C:");
    let part = world.record(1, &*state).await.unwrap();
    world
        .run(&[
            "SET b[a]n*k?\\:1 changed",
            "DEL b[a]n*k?\\:",
            "SET b[a]n*k?\\:2 extra",
            "SET bank1 later",
            "DEL a",
        ])
        .await;
    world.restore(&*state, &part).await.unwrap();
    assert_eq!(
        world
            .ask("MGET b[a]n*k?\\:1 b[a]n*k?\\: b[a]n*k?\\:2")
            .await,
        "mine\nmine-too"
    );
    assert_eq!(
        world.ask("MGET bank1 banAk?:1 b[a]n*k?: a").await,
        "later\nother\nother"
    );
    assert_eq!(world.ask("DBSIZE").await, "5");
}

#[tokio::test]
async fn the_whole_database_is_one_state_when_it_is_said_and_no_other_database_is() {
    let world = world().await;
    world
        .run(&["-n 3 SET a 1", "-n 3 SET b 2", "SET a zero"])
        .await;
    let state = world.state("/3?prefix=*");
    let part = world.record(1, &*state).await.unwrap();
    world
        .run(&["-n 3 FLUSHDB", "-n 3 SET c 3", "SET z zero"])
        .await;
    world.restore(&*state, &part).await.unwrap();
    assert_eq!(world.ask("-n 3 MGET a b c").await, "1\n2");
    assert_eq!(world.ask("MGET a z").await, "zero\nzero");
}

#[tokio::test]
async fn an_empty_state_is_a_state_and_comes_back_empty() {
    let world = world().await;
    let state = world.state("/0?prefix=bank:");
    let part = world.record(1, &*state).await.unwrap();
    world.run(&["SET bank:late 1", "SET other 1"]).await;
    world.restore(&*state, &part).await.unwrap();
    assert_eq!(world.ask("KEYS *").await, "other");
}

#[tokio::test]
async fn what_did_not_change_is_not_uploaded_again() {
    let world = world().await;
    world.script("for i = 1, 20000 do local v = '' for j = 1, 10 do v = v .. redis.sha1hex(i * 10 + j) end redis.call('SET', 'bank:' .. i, v, 'PX', 1000000 + i) end return 1").await;
    let state = world.state("/0?prefix=bank:");
    let first = world.record(1, &*state).await.unwrap();
    world.commit(1, &first).await;
    world.run(&["SET bank:77 changed"]).await;
    let second = world.record(2, &*state).await.unwrap();
    let (whole, change) = (first.uploaded_bytes, second.uploaded_bytes);
    assert!(change * 4 < whole, "{change} of {whole} bytes");
}

#[tokio::test]
async fn large_values_and_many_keys_pass_and_tell_what_they_cost() {
    let world = world().await;
    world
        .script(
            "redis.call('SET', 'bank:string', string.rep('0123456789abcdef', 1048576)) return 1",
        )
        .await;
    world.script("for i = 1, 100000 do redis.call('SET', 'bank:k' .. i, i) redis.call('ZADD', 'bank:zset', i, 'm' .. i) end return 1").await;
    let state = world.state("/0?prefix=bank:");
    let began = Instant::now();
    let fixed = state.fix().await.unwrap();
    let pause = began.elapsed();
    fixed.discard().await.unwrap();
    let part = world.record(1, &*state).await.unwrap();
    world.run(&["FLUSHALL"]).await;
    let began = Instant::now();
    world.restore(&*state, &part).await.unwrap();
    println!(
        "100,002 keys, 16 MiB and 100,000 members: copied in {pause:?}, restored and verified in {:?}",
        began.elapsed()
    );
    assert_eq!(world.ask("DBSIZE").await, "100002");
    assert_eq!(world.ask("STRLEN bank:string").await, "16777216");
    assert_eq!(world.ask("ZCARD bank:zset").await, "100000");
}

#[tokio::test]
async fn a_restore_broken_off_anywhere_is_repaired_by_doing_it_again() {
    let mut world = world_of(&debugging()).await;
    world
        .script("for i = 1, 30000 do redis.call('SET', 'bank:' .. i, i) end return 1")
        .await;
    world.run(EVERY_TYPE).await;
    let state = world.state("/0?prefix=bank:");
    let part = world.record(1, &*state).await.unwrap();
    let digest = world.ask("DEBUG DIGEST").await;
    world.script("for i = 1, 30000 do redis.call('SET', 'bank:' .. i, 'spoiled') redis.call('SET', 'bank:x' .. i, i) end return 1").await;
    for millis in [1, 20, 60, 120, 200] {
        // Dropping it is what a sidecar that dies does.
        let _ = tokio::time::timeout(Duration::from_millis(millis), world.restore(&*state, &part))
            .await;
    }
    world.restore(&*state, &part).await.unwrap();
    assert_eq!(world.ask("DEBUG DIGEST").await, digest);

    let broken = {
        let restoring = world.restore(&*state, &part);
        let mut restoring = std::pin::pin!(restoring);
        let early = tokio::time::timeout(Duration::from_millis(40), &mut restoring).await;
        assert!(early.is_err(), "30,000 keys take longer");
        std::process::Command::new("kill")
            .args(["-9", &pid(&world).to_string()])
            .status()
            .unwrap();
        restoring.await
    };
    let error = broken.expect_err("its Redis was killed");
    assert!(error.is_retryable() && error.code() == "CL0190", "{error}");
    world.redis.kill();
    world.redis.start_again().await;
    world.restore(&*state, &part).await.unwrap();
    assert_eq!(world.ask("DEBUG DIGEST").await, digest);
}

fn pid(world: &crate::world::World) -> u32 {
    world.redis.pid()
}
