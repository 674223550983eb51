//! A real S3 server over a directory of its own, on a port of its own: versitygw.
//!
//! It promises to answer when `start` returns and to have one empty bucket. It can be stopped, killed, frozen and started again on the
//! same port with the same objects. Each object is a plain file, so that a test can damage what a server would not let it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tokio::sync::OnceCell;

use crate::{
    binaries::project_root,
    ports::free_port,
    process::{Process, ProcessSpec},
    run::Run,
    wait::wait_until,
};

/// The version tests run against.
pub const VERSION: &str = "1.8.0";
/// How long it may take to answer; it takes a tenth of a second alone.
pub const START_DEADLINE: Duration = Duration::from_secs(30);
/// The one bucket.
pub const BUCKET: &str = "cutline";
/// The access key of every server here.
pub const ACCESS_KEY: &str = "test-access-key";
/// Its secret: a word that must be found in no log and no error.
pub const SECRET_KEY: &str = "open-sesame-8-secret";
/// The region it says it is in.
pub const REGION: &str = "us-east-1";
/// Where it tells that it is well.
const HEALTH: &str = "/healthz";

/// A running S3 server.
#[derive(Debug)]
pub struct S3 {
    port: u16,
    objects: PathBuf,
    process: Process,
    client: reqwest::Client,
}

static SHARED: OnceCell<S3> = OnceCell::const_new();

impl S3 {
    /// Starts one with an empty bucket and waits until it answers.
    ///
    /// # Panics
    /// When it does not within [`START_DEADLINE`].
    pub async fn start() -> Self {
        let program = tokio::task::spawn_blocking(program)
            .await
            .expect("a path is found or a panic told why not");
        let (port, directory) = (free_port(), Run::this().part("s3"));
        let root = directory.join("data");
        let objects = root.join(BUCKET);
        // The server takes every directory below its root for a bucket.
        std::fs::create_dir_all(&objects).expect("a bucket can be made");
        let spec = ProcessSpec::new("versitygw", program, directory.join("log"))
            .args(["--port", &format!("127.0.0.1:{port}")])
            .args(["--region", REGION, "--health", HEALTH, "--keep-alive"])
            .arg("posix")
            .arg(&root)
            .env("ROOT_ACCESS_KEY_ID", ACCESS_KEY)
            .env("ROOT_SECRET_ACCESS_KEY", SECRET_KEY);
        let mut server = Self {
            port,
            objects,
            process: Process::start(spec),
            client: reqwest::Client::new(),
        };
        server.wait_ready().await;
        server
    }

    /// The server that all tests of this process share: use a prefix of your own.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The store under `prefix` as `--store` takes it; it holds no secret.
    #[must_use]
    pub fn store(&self, prefix: &str) -> String {
        format!(
            "s3://{BUCKET}/{prefix}?endpoint={}&region={REGION}&path_style=true",
            self.endpoint()
        )
    }

    /// What a program needs in its environment to be let in.
    #[must_use]
    pub fn credentials() -> Vec<(String, String)> {
        [
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// The directory in which each object of the bucket is a file under its key.
    #[must_use]
    pub fn objects(&self) -> &Path {
        &self.objects
    }

    /// Its process: to kill, freeze, or look at the log of.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts it again on the same port after it was ended, and waits until it answers.
    pub async fn start_again(&mut self) {
        self.process.start_again();
        self.wait_ready().await;
    }

    /// Waits until it answers.
    ///
    /// # Panics
    /// When it ends, or does not within [`START_DEADLINE`].
    pub async fn wait_ready(&mut self) {
        let url = format!("{}{HEALTH}", self.endpoint());
        wait_until(START_DEADLINE, "the S3 server to answer", || {
            let ended = self.process.exit_status();
            assert!(
                ended.is_none(),
                "the S3 server ended ({ended:?}):\n{}",
                self.process.log_tail(20)
            );
            let question = self.client.get(&url).send();
            async move {
                question
                    .await
                    .is_ok_and(|answer| answer.status().is_success())
            }
        })
        .await;
    }
}

/// The server's program, built when it is not there.
fn program() -> PathBuf {
    let path = project_root().join(format!(".cache/bin/versitygw-{VERSION}"));
    if !path.is_file() {
        let fetched = Command::new(project_root().join("scripts/fetch-versitygw"))
            .arg(VERSION)
            .status();
        assert!(
            fetched.is_ok_and(|status| status.success()),
            "scripts/fetch-versitygw {VERSION} did not succeed"
        );
    }
    path
}
