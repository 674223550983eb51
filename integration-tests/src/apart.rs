//! A machine of its own in this one: a script of `deploy/` in PID, mount and network namespaces, joined to this machine by one pair of interfaces.
//!
//! It promises that nothing that runs there outlives this process, however that ends; what is left is empty cgroups and, of one that was let out
//! and whose process was killed, the table `cutline` of nftables. It refuses to know what runs there. One at a time, and only as root.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    binaries::project_root,
    process::{Process, ProcessSpec, text_of},
    wait::wait_until,
};

/// This machine, as it is seen from there.
pub const HOST: &str = "10.86.0.1";
/// That one, as this machine sees it.
pub const GUEST: &str = "10.86.0.2";
/// How long it may take until it is up.
const START_DEADLINE: Duration = Duration::from_secs(180);
/// What lets packets of that machine through to wherever this one gets.
const TO_THE_OUTSIDE: &str = "table ip cutline {
    chain out { type nat hook postrouting priority srcnat; ip saddr 10.86.0.0/30 masquerade; }
}";
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// A running one.
#[derive(Debug)]
pub struct Apart {
    directory: PathBuf,
    process: Process,
    let_out: bool,
    forwarding: String,
}

impl Apart {
    /// Starts `script` of `deploy/`, which keeps its files in `directory`, and gives it its interface.
    ///
    /// # Panics
    /// When it cannot be started or joined.
    pub async fn start<A: AsRef<OsStr>>(script: &str, directory: &Path, arguments: &[A]) -> Self {
        let namespaces = [
            "--net",
            "--pid",
            "--mount",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ];
        let script = project_root().join("integration-tests/deploy").join(script);
        let spec = ProcessSpec::new("apart", "unshare", directory.join("log"))
            .args(namespaces)
            .arg(script)
            .arg(directory)
            .args(arguments.iter().map(AsRef::as_ref));
        let apart = Self {
            directory: directory.to_owned(),
            process: Process::start(spec),
            let_out: false,
            forwarding: fs::read_to_string(FORWARDING).expect("this machine has a network"),
        };
        apart.join_networks().await;
        apart
    }

    /// Lets it reach what this machine reaches, until it is dropped.
    ///
    /// # Panics
    /// When the kernel has no network address translation.
    pub fn let_out(&mut self) {
        self.let_out = true;
        fs::write(FORWARDING, "1").expect("root may set it");
        run("nft", &["delete", "table", "ip", "cutline"]).ok();
        run("nft", &[TO_THE_OUTSIDE]).unwrap_or_else(|complaint| panic!("nft: {complaint}"));
    }

    /// Waits until it says that it is up.
    ///
    /// # Panics
    /// When it ends, or is not up in time.
    pub async fn wait_up(&mut self) {
        wait_until(START_DEADLINE, "the machine apart to be up", || {
            let said = self.process.log_tail(3);
            let ended = self.process.exit_status();
            assert!(
                ended.is_none(),
                "the machine apart ended ({ended:?}), logs in {}:\n{said}",
                self.directory.display()
            );
            async move { said.lines().any(|line| line == "apart: up") }
        })
        .await;
    }

    /// A command that will run in its network.
    ///
    /// # Panics
    /// When it was never started.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let network = format!("--net=/proc/{}/ns/net", self.pid());
        command.args([&network, program]);
        command
    }

    fn pid(&self) -> u32 {
        self.process.pid().expect("it was started")
    }

    /// Makes the pair of interfaces, once it has a network of its own.
    async fn join_networks(&self) {
        let pid = self.pid().to_string();
        let own = fs::read_link("/proc/self/ns/net").ok();
        wait_until(START_DEADLINE, "a network of its own", || {
            let network = fs::read_link(format!("/proc/{pid}/ns/net")).ok();
            let apart = network.is_some() && network != own;
            async move { apart }
        })
        .await;
        let here = format!("{HOST}/30");
        ip(&[
            "link", "add", "cutline0", "type", "veth", "peer", "name", "cutline1", "netns", &pid,
        ]);
        ip(&["address", "add", &here, "dev", "cutline0"]);
        ip(&["link", "set", "cutline0", "up"]);
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.process.kill();
        // The kernel takes the interfaces away with the network, but up to a minute later.
        let _ = run("ip", &["link", "delete", "cutline0"]);
        if self.let_out {
            let _ = run("nft", &["delete", "table", "ip", "cutline"]);
            let _ = fs::write(FORWARDING, &self.forwarding);
        }
    }
}

/// Has `ip` change this machine's network.
///
/// # Panics
/// When it does not.
pub fn ip(arguments: &[&str]) {
    let done = run("ip", arguments);
    done.unwrap_or_else(|complaint| panic!("ip {}: {complaint}", arguments.join(" ")));
}

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let done = Command::new(program).args(arguments).output();
    text_of(&done.unwrap_or_else(|error| panic!("{program} cannot be run: {error}")))
}
