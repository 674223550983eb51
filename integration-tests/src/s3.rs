//! A real S3 server over a directory of its own, on a port of its own: versitygw, or s3proxy as a second one.
//!
//! It promises to answer when `start` returns and to have one empty bucket. It can be stopped, killed, frozen and started again on the
//! same port with the same objects. Each object is a plain file, so that a test can damage what a server would not let it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::OnceCell;

use crate::{
    binaries::fetched_aside,
    disk::Disk,
    http,
    ports::free_port,
    process::{Process, ProcessSpec},
    run::Run,
    wait::wait_until,
};

/// The version of versitygw that tests run against.
pub const VERSION: &str = "1.8.0";
/// The version of s3proxy.
pub const S3PROXY_VERSION: &str = "4.1.0";
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
/// Without it s3proxy tells every byte.
const LOGBACK: &str = r#"<configuration><appender name="A" class="ch.qos.logback.core.ConsoleAppender"><encoder>
<pattern>%d %-5level %logger{0} %msg%n</pattern></encoder></appender><root level="INFO"><appender-ref ref="A"/></root></configuration>"#;
/// Where it tells that it is well.
const HEALTH: &str = "/healthz";

/// A running S3 server.
#[derive(Debug)]
pub struct S3 {
    port: u16,
    objects: PathBuf,
    process: Process,
    client: reqwest::Client,
    disk: Option<Disk>,
}

static SHARED: OnceCell<S3> = OnceCell::const_new();
static SHARED_S3PROXY: OnceCell<S3> = OnceCell::const_new();

impl S3 {
    /// Starts one with an empty bucket and waits until it answers.
    ///
    /// # Panics
    /// When it does not within [`START_DEADLINE`].
    pub async fn start() -> Self {
        Self::versitygw(None).await
    }

    /// The same on a disk of its own with `mib` MiB, which can be filled; on the common one where this process may not mount.
    ///
    /// # Panics
    /// When it does not within [`START_DEADLINE`].
    pub async fn start_on_small_disk(mib: u32) -> Self {
        Self::versitygw(Some(mib)).await
    }

    async fn versitygw(disk_mib: Option<u32>) -> Self {
        let program = fetched_aside(
            "fetch-versitygw",
            VERSION,
            format!("bin/versitygw-{VERSION}"),
        )
        .await;
        let (port, directory, root, disk) = place("s3", disk_mib);
        let spec = ProcessSpec::new("versitygw", program, directory.join("log"))
            .args(["--port", &format!("127.0.0.1:{port}")])
            .args(["--region", REGION, "--health", HEALTH, "--keep-alive"])
            .arg("posix")
            .arg(&root)
            .env("ROOT_ACCESS_KEY_ID", ACCESS_KEY)
            .env("ROOT_SECRET_ACCESS_KEY", SECRET_KEY);
        Self::of(port, &root, disk, spec).await
    }

    /// Starts the other server, s3proxy, with an empty bucket and waits until it answers.
    ///
    /// # Panics
    /// When it does not within [`START_DEADLINE`].
    pub async fn start_s3proxy() -> Self {
        let version = S3PROXY_VERSION;
        let jars = fetched_aside("fetch-s3proxy", version, format!("s3proxy-{version}")).await;
        let (port, directory, root, disk) = place("s3proxy", None);
        let settings = directory.join("s3proxy.conf");
        let text = format!(
            "s3proxy.endpoint=http://127.0.0.1:{port}\ns3proxy.authorization=aws-v2-or-v4\n\
             s3proxy.identity={ACCESS_KEY}\ns3proxy.credential={SECRET_KEY}\n\
             jclouds.provider=filesystem-nio2\njclouds.filesystem.basedir={}\n",
            root.display()
        );
        std::fs::write(&settings, text).expect("the server's settings can be written");
        let logging = directory.join("logback.xml");
        std::fs::write(&logging, LOGBACK).expect("the server's logging can be set");
        let spec = ProcessSpec::new("s3proxy", "java", directory.join("log"))
            .args([
                "-Xmx256m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                &format!("-Dlogback.configurationFile={}", logging.display()),
            ])
            .args(["-cp", &format!("{}/*", jars.display())])
            .args(["org.gaul.s3proxy.Main", "--properties"])
            .arg(settings);
        Self::of(port, &root, disk, spec).await
    }

    async fn of(port: u16, root: &Path, disk: Option<Disk>, spec: ProcessSpec) -> Self {
        let mut server = Self {
            port,
            objects: root.join(BUCKET),
            process: Process::start(spec),
            client: http::client(),
            disk,
        };
        server.wait_ready().await;
        server
    }

    /// The server that all tests of this process share: use a prefix of your own.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    /// The s3proxy that all tests of this process share: use a prefix of your own.
    pub async fn shared_s3proxy() -> &'static Self {
        SHARED_S3PROXY.get_or_init(Self::start_s3proxy).await
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
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

    /// Its disk, where it has one of its own.
    #[must_use]
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
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
                // One that knows no such path, or wants to know who asks, answers too.
                question
                    .await
                    .is_ok_and(|answer| !answer.status().is_server_error())
            }
        })
        .await;
    }
}

/// A port, a directory, and in it a root with one bucket, on a disk of its own if wanted: both servers take every directory below
/// their root for one.
fn place(name: &str, disk_mib: Option<u32>) -> (u16, PathBuf, PathBuf, Option<Disk>) {
    let directory = Run::this().part(name);
    let root = directory.join("data");
    std::fs::create_dir_all(&root).expect("a directory can be made");
    let disk = disk_mib.and_then(|mib| Disk::mount(&root, mib));
    std::fs::create_dir(root.join(BUCKET)).expect("a bucket can be made");
    (free_port(), directory, root, disk)
}
