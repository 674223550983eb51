//! A real PostgreSQL, on a port and in a directory of its own.
//!
//! It promises to answer when `start` returns, and can be stopped, killed and started again with the same data. It refuses root, so
//! under root it runs as the system user its package made. Nothing is forced to the disk: what is tested is no power cut.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

use crate::{
    ports::free_port,
    process::{Process, ProcessSpec},
    run::Run,
    wait::{wait_for, wait_until},
};

/// How long it may take to answer; it takes half a second alone.
pub const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long a stop may take.
pub const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// The superuser of every server here.
pub const USER: &str = "bank";
/// Its password: a word that must be found in no log and no error.
pub const PASSWORD: &str = "open-sesame-7";
/// The user whom the package makes for the server.
const SYSTEM_USER: &str = "postgres";

/// A running PostgreSQL.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    process: Process,
}

static SHARED: OnceCell<Postgres> = OnceCell::const_new();

impl Postgres {
    /// Starts one, with these lines added to its configuration.
    ///
    /// # Panics
    /// When it does not answer within [`START_DEADLINE`], or is not installed.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let directory = Run::this().part("postgres");
        let data = directory.join("data");
        let port = free_port();
        initialise(&directory, &data);
        configure(&data, port, settings);
        let spec = as_system_user(&program("postgres"))
            .arg("-D")
            .arg(&data)
            .log(&directory);
        let postgres = Self {
            port,
            process: Process::start(spec),
        };
        postgres.wait_ready().await;
        postgres
    }

    /// The PostgreSQL that all tests of this process share: make a database of your own in it.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::start(&[])).await
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where `database` is, for the superuser, with the password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_of(USER, PASSWORD, database)
    }

    /// Where `database` is, for another role.
    #[must_use]
    pub fn url_of(&self, user: &str, password: &str, database: &str) -> String {
        format!(
            "postgres://{user}:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// Makes a database and tells where it is.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn create_database(&self, name: &str) -> String {
        let client = self.client("postgres").await;
        let made = client
            .batch_execute(&format!("CREATE DATABASE \"{name}\""))
            .await;
        made.unwrap_or_else(|error| panic!("database {name} cannot be made: {error}"));
        self.url(name)
    }

    /// A session of the superuser in `database`.
    ///
    /// # Panics
    /// When there is no such database.
    pub async fn client(&self, database: &str) -> Client {
        connect(&self.url(database))
            .await
            .unwrap_or_else(|error| panic!("no session in {database}: {error}"))
    }

    /// The server's process, to freeze it or read its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Stops it as an operator would who cannot wait for sessions to end ("fast").
    ///
    /// # Panics
    /// When it does not end within [`STOP_DEADLINE`].
    pub async fn stop(&mut self) {
        self.process.signal("INT");
        wait_until(STOP_DEADLINE, "PostgreSQL to stop", || {
            let running = self.process.is_running();
            async move { !running }
        })
        .await;
    }

    /// Kills the server and every session at once.
    pub fn kill(&mut self) {
        let sessions = self.sessions();
        self.process.kill();
        signal(&sessions, "KILL");
    }

    /// Freezes the server and every session: connections stay and nobody answers.
    pub fn freeze(&self) {
        self.process.freeze();
        signal(&self.sessions(), "STOP");
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        signal(&self.sessions(), "CONT");
        self.process.thaw();
    }

    /// Each session is a process in a group of its own, and may go on with its work when only the server is gone.
    fn sessions(&self) -> Vec<u32> {
        self.process.pid().map(children_of).unwrap_or_default()
    }

    /// Starts it again on the same data, after a stop or a kill.
    ///
    /// # Panics
    /// When it does not answer within [`START_DEADLINE`].
    pub async fn start_again(&mut self) {
        self.process.start_again();
        self.wait_ready().await;
    }

    async fn wait_ready(&self) {
        let url = self.url("postgres");
        wait_for(START_DEADLINE, "PostgreSQL to answer", || {
            let url = url.clone();
            async move { connect(&url).await.ok() }
        })
        .await;
    }
}

/// A session; it ends when the client is dropped.
///
/// # Errors
/// When the server does not let it in.
pub async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // How it ended shows in the client's next call.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// A command that is put together before it is known where it logs.
struct Spec(ProcessSpec);

impl Spec {
    fn arg(self, argument: impl Into<std::ffi::OsString>) -> Self {
        Self(self.0.arg(argument))
    }

    fn log(mut self, directory: &Path) -> ProcessSpec {
        self.0.log = directory.join("log");
        self.0
    }
}

fn as_system_user(program: &Path) -> Spec {
    let spec = |program: &Path| ProcessSpec::new("PostgreSQL", program, "");
    if !is_root() {
        return Spec(spec(program));
    }
    let user = spec(Path::new("setpriv"));
    Spec(
        user.args([
            &format!("--reuid={SYSTEM_USER}"),
            &format!("--regid={SYSTEM_USER}"),
            "--clear-groups",
            "--",
        ])
        .arg(program),
    )
}

fn initialise(directory: &Path, data: &Path) {
    std::fs::create_dir(data).expect("the part's directory can be written");
    if is_root() {
        // The system user must reach its data; it need not see what else is there.
        for above in [Run::this().directory(), directory] {
            let mode = std::fs::Permissions::from_mode(0o711);
            std::fs::set_permissions(above, mode).expect("the run's directory is ours");
        }
        run(Command::new("chown")
            .arg(format!("{SYSTEM_USER}:"))
            .arg(data));
    }
    let password = directory.join("password");
    std::fs::write(&password, PASSWORD).expect("the part's directory can be written");
    let spec = as_system_user(&program("initdb")).0.args([
        "--no-sync",
        "--encoding=UTF8",
        "--locale=C",
        "--auth=scram-sha-256",
        &format!("--username={USER}"),
        &format!("--pwfile={}", password.display()),
        "-D",
    ]);
    run(Command::new(spec.program).args(spec.arguments).arg(data));
}

fn configure(data: &Path, port: u16, settings: &[(&str, &str)]) {
    let port = port.to_string();
    let own = [
        ("listen_addresses", "127.0.0.1"),
        ("port", port.as_str()),
        ("unix_socket_directories", ""),
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("max_wal_size", "4GB"),
    ];
    let lines: String = own
        .iter()
        .chain(settings)
        .map(|(name, value)| format!("{name} = '{value}'\n"))
        .collect();
    let path = data.join("postgresql.auto.conf");
    std::fs::write(&path, lines).expect("the configuration can be written");
}

fn run(command: &mut Command) {
    let done = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "{command:?} ended with {}: {said}",
        done.status
    );
}

/// A program of the newest PostgreSQL that is installed; Debian keeps them out of `PATH`.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let found = versions
        .flatten()
        .map(|version| version.path().join("bin").join(name))
        .filter(|path| path.exists())
        .max();
    found.unwrap_or_else(|| PathBuf::from(name))
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn signal(pids: &[u32], signal: &str) {
    for pid in pids {
        // One that is gone is no error.
        let _ = Command::new("kill")
            .args(["-s", signal, &pid.to_string()])
            .stderr(Stdio::null())
            .status();
    }
}

fn children_of(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}
