//! The README's walk by REST, word for word, against a real installation.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use integration_tests::{
    Admin, AdminOptions, Bank, BankOptions, Kafka, Process, ProcessSpec, Run,
    bank::{BANKS, Behind},
    binaries::project_root,
    checkpoints::wait_connected,
    topics::unique_name,
    wait_until,
};

const BEGIN: &str = "<!-- rest-walkthrough";
const END: &str = "<!-- end of rest-walkthrough -->";
const CHECKPOINT_DEADLINE: Duration = Duration::from_secs(60);
const RESTORE_DEADLINE: Duration = Duration::from_secs(120);
const LOAD_TIME_MAX: Duration = Duration::from_secs(240);
const WORK_DEADLINE: Duration = Duration::from_secs(60);
const SETTLE: Duration = Duration::from_secs(90);
/// About three records each.
const ORDERS_PER_SECOND: u64 = 300;

/// The blocks of shell in the README's walk.
fn blocks() -> Vec<String> {
    let readme = fs::read_to_string(project_root().join("README.md")).unwrap();
    let begin = readme.find(BEGIN).expect("the README has the walk");
    let end = readme.find(END).expect("the walk has an end");
    let blocks: Vec<String> = readme[begin..end]
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect();
    assert_eq!(blocks.len(), 2, "one before things go wrong, one after");
    blocks
}

/// The walk as a script that waits between its blocks until `spoilt` is there.
fn script(directory: &Path, taken: &Path, spoilt: &Path) -> PathBuf {
    let [before, after] = <[String; 2]>::try_from(blocks()).unwrap();
    let meanwhile = format!(
        "touch {}\nuntil [ -e {} ]; do sleep 0.1; done\n",
        taken.display(),
        spoilt.display()
    );
    let path = directory.join("walk.sh");
    fs::write(&path, format!("set -eu\n{before}{meanwhile}{after}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

struct Installation {
    admin: Admin,
    bank: Bank,
}

impl Installation {
    async fn start() -> Self {
        let kafka = Kafka::shared().await.bootstrap();
        let deployment = unique_name("readme");
        let mut over = AdminOptions::over(&kafka);
        over.arguments
            .extend(["--deployment".to_owned(), deployment.clone()]);
        let admin = Admin::start(&over).await;
        let behind = Behind {
            admin: Some(admin.url()),
            deployment: deployment.clone(),
            arguments: Vec::new(),
            environment: Vec::new(),
        };
        let options = BankOptions {
            prefix: deployment + "-",
            behind: Some(behind),
            ..BankOptions::default()
        };
        let mut bank = Bank::start(&kafka, options).await;
        wait_connected(&admin, BANKS.len()).await;
        bank.start_load(ORDERS_PER_SECOND, LOAD_TIME_MAX);
        wait_until(WORK_DEADLINE, "both banks to work", || async {
            bank.home().has_state("a").await && bank.home().has_state("b").await
        })
        .await;
        Self { admin, bank }
    }
}

async fn exists_in_time(path: &Path, limit: Duration, walk: &mut Process) {
    wait_until(limit, "the walk to get on", || {
        let ended = walk.exit_status();
        assert!(ended.is_none(), "{ended:?}: {}", walk.log_tail(30));
        let there = path.exists();
        async move { there }
    })
    .await;
}

#[tokio::test]
async fn the_walk_by_rest_takes_a_checkpoint_and_rolls_back_to_it() {
    let mut world = Installation::start().await;
    let directory = Run::this().part("walk");
    let (taken, spoilt) = (directory.join("taken"), directory.join("spoilt"));
    let spec = ProcessSpec::new("walk", "sh", directory.join("log"))
        .arg(script(&directory, &taken, &spoilt))
        .env("CUTLINE_ADMIN", world.admin.url());
    let mut walk = Process::start(spec);
    exists_in_time(&taken, CHECKPOINT_DEADLINE, &mut walk).await;

    world.bank.home().spoil().await;
    let count = world.bank.count(Duration::ZERO).await;
    assert!(count.total_after < count.total_expected, "{count:?}");
    fs::write(&spoilt, "").unwrap();

    wait_until(RESTORE_DEADLINE, "the walk to end", || {
        let ended = walk.exit_status().is_some();
        async move { ended }
    })
    .await;
    let told = walk.log_tail(30);
    let success = walk.exit_status().is_some_and(|status| status.success());
    assert!(success, "{told}");
    assert!(
        told.contains("everything is as it was at checkpoint"),
        "{told}"
    );

    world.bank.stop_load().await;
    let count = world.bank.count(SETTLE).await;
    assert!(count.is_right(), "{count:?}");
}
