//! What a checkpoint and a restore cost, next to PostgreSQL's own tools on the same database in the same run; and what is
//! uploaded for a byte that changed, of a table and of an SQLite database, when one row in a hundred changes at random.
//!
//! `CUTLINE_POSTGRES_MIB` enlarges both, which are small otherwise. Rates are printed; what must hold is asserted. The table
//! is kept in a directory, as `pg_dump` keeps its archive; the SQLite database in a real S3.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what it is for, when a person runs it"
)]

use std::{path::Path, process::Command, sync::Arc, time::Instant};

use cutline_model::PartRef;
use cutline_state::{Provider, parse_state_spec};
use cutline_store::{Repository, S3 as Store, StoreSpec};
use integration_tests::{
    S3,
    postgres::{PASSWORD, program},
    s3::{ACCESS_KEY, SECRET_KEY},
    topics::unique_name,
};
use rusqlite::Connection;

use crate::world::{World, checkpoint_in};

const MIB_DEFAULT: u64 = 24;
/// Bytes of a row that do not compress.
const ROW_BYTES: u64 = 1024;
/// What may be uploaded for a byte that changed.
const RATIO_MAX: f64 = 3.0;
/// Further checkpoints of the table, each after another hundredth of its rows has changed. What they upload is printed.
const MORE_CHECKPOINTS: u64 = 6;

fn mib() -> u64 {
    let set = std::env::var("CUTLINE_POSTGRES_MIB").ok();
    set.map_or(MIB_DEFAULT, |mib| {
        mib.parse().expect("CUTLINE_POSTGRES_MIB is a number")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_is_uploaded_and_figures_stand_next_to_pg_dump() {
    table().await;
    sqlite().await;
}

async fn table() {
    let rows = mib() * 1024 * 1024 / ROW_BYTES;
    let world = World::new("figures", "").await;
    let filled = format!(
        "CREATE TABLE big (id int PRIMARY KEY, version int NOT NULL DEFAULT 0, v bytea NOT NULL);
         ALTER TABLE big ALTER v SET STORAGE EXTERNAL;
         INSERT INTO big SELECT id, 0, {} FROM generate_series(1, {rows}) id; VACUUM ANALYZE big",
        noise("0")
    );
    world.sql(&filled).await;
    let provider = world.provider("tables=big");
    provider.probe().await.unwrap();
    let start = Instant::now();
    let fixed = provider.fix().await.unwrap();
    let pause_ms = start.elapsed().as_secs_f64() * 1e3;
    fixed.discard().await.unwrap();

    let start = Instant::now();
    let first = world.checkpoint(1, &*provider).await;
    let checkpoint = rate(first.state_bytes, start);
    let unchanged = world.checkpoint(2, &*provider).await.uploaded_bytes;
    assert!(
        unchanged < first.uploaded_bytes / 100,
        "an unchanged table is uploaded once"
    );
    let start = Instant::now();
    let (second, ratio) = after_update(&world, &provider, 3).await;
    let incremental_s = start.elapsed().as_secs_f64();
    let start = Instant::now();
    world.restore(&*provider, &second).await.unwrap();
    let restore = rate(second.state_bytes, start);
    let (dump, put_back) = tools(&world, second.state_bytes);
    println!(
        "postgres: state_mb={} pause_ms={pause_ms:.1} checkpoint_mb_s={checkpoint:.0} restore_mb_s={restore:.0} \
         pg_dump_mb_s={dump:.0} pg_restore_mb_s={put_back:.0} unchanged_bytes={unchanged} incremental_s={incremental_s:.1} \
         upload_ratio={ratio:.2}",
        first.state_bytes / 1_000_000,
    );
    assert!(ratio <= RATIO_MAX, "{ratio}");

    let mut more = Vec::new();
    for epoch in 4..4 + MORE_CHECKPOINTS {
        let (_, ratio) = after_update(&world, &provider, epoch).await;
        more.push(format!("{ratio:.2}"));
    }
    println!("postgres: upload_ratio_later={}", more.join(","));
}

/// An SQL expression: bytes of a row that are the same for the same `id` and `version`.
fn noise(version: &str) -> String {
    let hash = format!("sha512(convert_to({version} || ' ' || id || ' ' || i, 'UTF8'))");
    let hashes = ROW_BYTES / 64;
    format!("(SELECT string_agg({hash}, '') FROM generate_series(1, {hashes}) i)")
}

/// Changes one row in a hundred at random; the checkpoint after it, and the bytes uploaded for a byte changed.
async fn after_update(world: &World, provider: &Arc<dyn Provider>, epoch: u64) -> (PartRef, f64) {
    let update = format!(
        "UPDATE big SET version = {epoch}, v = {} WHERE random() < 0.01",
        noise(&epoch.to_string())
    );
    let client = world.client().await;
    let rows = client.execute(&update, &[]).await.unwrap();
    let part = world.checkpoint(epoch, &**provider).await;
    let ratio = part.uploaded_bytes as f64 / (rows * ROW_BYTES) as f64;
    (part, ratio)
}

/// MB a second.
fn rate(bytes: u64, start: Instant) -> f64 {
    bytes as f64 / 1e6 / start.elapsed().as_secs_f64()
}

fn tools(world: &World, bytes: u64) -> (f64, f64) {
    let root = tempfile::tempdir().unwrap();
    let archive = root.path().join("archive");
    let url = world.url.replace(&format!(":{PASSWORD}@"), "@");
    let run = |command: &mut Command| {
        let start = Instant::now();
        let done = command.env("PGPASSWORD", PASSWORD).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{said}");
        rate(bytes, start)
    };
    let dump = run(Command::new(program("pg_dump"))
        .args(["-Fc", "-f"])
        .arg(&archive)
        .arg(&url));
    let restore = run(Command::new(program("pg_restore"))
        .args(["--clean", "-d", &url])
        .arg(&archive));
    (dump, restore)
}

async fn sqlite() {
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let rows = mib() * 1024 * 1024 / ROW_BYTES;
    let database = open(&state);
    let filled = "CREATE TABLE big (id INTEGER PRIMARY KEY, v BLOB NOT NULL);
        WITH RECURSIVE ids(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM ids WHERE id < ?1)
        INSERT INTO big SELECT id, randomblob(?2) FROM ids";
    let (create, insert) = filled.split_once(';').unwrap();
    database.execute(create, []).unwrap();
    database
        .execute(insert, (rows.cast_signed(), ROW_BYTES.cast_signed()))
        .unwrap();
    drop(database);

    let store = S3::shared().await.store(&unique_name("figures"));
    let StoreSpec::S3(address) = store.parse().unwrap() else {
        panic!("it is an S3 address: {store}");
    };
    let objects = Store::open_as(&address, ACCESS_KEY, SECRET_KEY).await;
    let repository = Repository::open(Arc::new(objects.unwrap())).await.unwrap();
    let spec = format!("dir:{}", state.display());
    let provider = parse_state_spec(&spec).unwrap().provider;
    let start = Instant::now();
    let first = checkpoint_in(&repository, 1, &*provider).await;
    let checkpoint = rate(first.state_bytes, start);

    let changed = open(&state)
        .execute(
            "UPDATE big SET v = randomblob(?1) WHERE abs(random() % 100) = 0",
            [ROW_BYTES.cast_signed()],
        )
        .unwrap();
    let expected = std::fs::read(state.join("db")).unwrap();
    let start = Instant::now();
    let second = checkpoint_in(&repository, 2, &*provider).await;
    let incremental_s = start.elapsed().as_secs_f64();
    let ratio = second.uploaded_bytes as f64 / (changed as u64 * ROW_BYTES) as f64;
    std::fs::remove_file(state.join("db")).unwrap();
    let start = Instant::now();
    let mut part = repository.part_reader(&second).await.unwrap();
    provider.restore(&mut part).await.unwrap();
    let restore = rate(second.state_bytes, start);
    let restored = std::fs::read(state.join("db")).unwrap();
    assert!(restored == expected, "every byte of the database is back");
    println!(
        "sqlite on S3: state_mb={} checkpoint_mb_s={checkpoint:.0} restore_mb_s={restore:.0} incremental_s={incremental_s:.1} \
         sqlite_upload_ratio={ratio:.2}",
        first.state_bytes / 1_000_000,
    );
    assert!(ratio <= RATIO_MAX, "{ratio}");
}

fn open(state: &Path) -> Connection {
    let database = Connection::open(state.join("db")).unwrap();
    database.pragma_update(None, "synchronous", "OFF").unwrap();
    database
}
