//! A real Kubernetes of one machine: API server, controllers, kubelet with containerd, kube-proxy and DNS, as `deploy/kubernetes/node` starts them.
//!
//! It runs in PID, mount and network namespaces of its own, so that nothing of it outlives this process but empty cgroups, and is joined to
//! this machine by one pair of interfaces: one at a time, and only as root. Pods find this machine at [`HOST`]. It has the project's images, and no registry.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rcgen::KeyPair;

use crate::{
    binaries::{binary, prepared, project_root, python},
    process::{Process, ProcessSpec, text_of},
    run::Run,
    wait::wait_until,
};

/// This machine, as pods see it.
pub const HOST: &str = "10.86.0.1";
/// The node, as this machine sees it.
const NODE: &str = "10.86.0.2";
/// The addresses of pods.
const PODS: &str = "10.88.0.0/24";
/// Whom all images run as.
const USER: u32 = 65532;
/// How long it may take until the node is ready; images of 300 MB are unpacked meanwhile.
const START_DEADLINE: Duration = Duration::from_secs(180);

/// A running Kubernetes.
#[derive(Debug)]
pub struct Kubernetes {
    directory: PathBuf,
    program: PathBuf,
    helm: PathBuf,
    node: Process,
}

impl Kubernetes {
    /// Starts one and waits until pods can be made.
    ///
    /// # Panics
    /// When it cannot be prepared, or is not ready within [`START_DEADLINE`].
    pub async fn start() -> Self {
        let [program, coredns, helm, debian] = prepared("prepare-kubernetes");
        let directory = Run::this().part("kubernetes");
        fs::create_dir(directory.join("data")).expect("a directory can be made");
        make_images(&debian, &directory.join("images.tar"));
        write_keys(&directory);
        let node = project_root().join("integration-tests/deploy/kubernetes/node");
        let alone = [
            "--net",
            "--pid",
            "--mount",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ];
        let spec = ProcessSpec::new("kubernetes", "unshare", directory.join("log"))
            .args(alone)
            .arg(node)
            .args([&directory, &program, &coredns]);
        let mut kubernetes = Self {
            directory,
            program,
            helm,
            node: Process::start(spec),
        };
        kubernetes.join_networks().await;
        kubernetes.wait_up().await;
        kubernetes
    }

    /// What kubectl prints, or its complaint.
    ///
    /// # Errors
    /// When it does not succeed.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command
            .arg("kubectl")
            .arg("--kubeconfig")
            .arg(self.kubeconfig());
        text_of(
            &command
                .args(arguments)
                .output()
                .expect("kubectl can be run"),
        )
    }

    /// A kubectl that goes on beside this process, such as one that watches or forwards a port.
    #[must_use]
    pub fn kubectl_beside(&self, name: &str, arguments: &[&str]) -> Process {
        let spec = ProcessSpec::new(
            name,
            &self.program,
            self.directory.join(format!("{name}.log")),
        )
        .args(["kubectl", "--kubeconfig"])
        .arg(self.kubeconfig())
        .args(arguments);
        Process::start(spec)
    }

    /// What helm prints, or its complaint.
    ///
    /// # Errors
    /// When it does not succeed.
    pub fn helm(&self, arguments: &[&str]) -> Result<String, String> {
        let own = self.directory.join("helm");
        let mut command = Command::new(&self.helm);
        command
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(arguments);
        for kind in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{kind}_HOME"), own.join(kind.to_lowercase()));
        }
        text_of(&command.output().expect("helm can be run"))
    }

    /// Makes what a manifest says.
    ///
    /// # Panics
    /// When the API server does not take it.
    pub fn apply(&self, name: &str, manifest: &str) {
        let path = self.directory.join(name);
        fs::write(&path, manifest).expect("a manifest can be written");
        let applied = self.kubectl(&["apply", "--filename", &path.display().to_string()]);
        applied.unwrap_or_else(|complaint| panic!("{name}: {complaint}"));
    }

    /// A directory of the machine, made now, that the images' user may write to: for volumes.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn volume(&self, name: &str) -> PathBuf {
        let path = self.directory.join("data/volumes").join(name);
        fs::create_dir_all(&path).expect("a directory can be made");
        std::os::unix::fs::chown(&path, Some(USER), Some(USER)).expect("root may give files away");
        path
    }

    /// Where files of this cluster may be put.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// Makes the pair of interfaces, once the node has a network of its own.
    async fn join_networks(&self) {
        let pid = self.node.pid().expect("the node was started").to_string();
        let own = fs::read_link("/proc/self/ns/net").ok();
        wait_until(START_DEADLINE, "the node's own network", || {
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
        ip(&["route", "add", PODS, "via", NODE]);
    }

    async fn wait_up(&mut self) {
        wait_until(START_DEADLINE, "Kubernetes to be ready", || {
            let said = self.node.log_tail(3);
            let ended = self.node.exit_status();
            assert!(
                ended.is_none(),
                "Kubernetes ended ({ended:?}), logs in {}:\n{said}",
                self.directory.display()
            );
            async move { said.lines().any(|line| line == "node: up") }
        })
        .await;
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.node.kill();
        // The kernel takes the interfaces away with the network, but up to a minute later.
        let _ = Command::new("ip")
            .args(["link", "delete", "cutline0"])
            .output();
    }
}

fn make_images(debian: &Path, target: &Path) {
    let deploy = project_root().join("integration-tests/deploy/kubernetes");
    let programs = binary("cutline-admin");
    let programs = programs.parent().expect("a program lies in a directory");
    let site = site_packages();
    let made = Command::new("python3")
        .arg(deploy.join("images.py"))
        .args([
            debian,
            programs,
            &site,
            &project_root().join("examples/bank/python"),
            target,
        ])
        .output()
        .expect("python3 can be run");
    text_of(&made).unwrap_or_else(|complaint| panic!("images: {complaint}"));
}

/// Where the environment of bank B keeps its packages.
fn site_packages() -> PathBuf {
    let script = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let asked = Command::new(python())
        .args(["-c", script])
        .output()
        .expect("python can be run");
    PathBuf::from(text_of(&asked).expect("python knows its packages").trim())
}

/// One administrator's token, and what signs the tokens of pods.
fn write_keys(directory: &Path) {
    let write = |name: &str, text: &str| {
        fs::write(directory.join(name), text).expect("a file can be written");
    };
    let token = format!("{:032x}", rand::random::<u128>());
    write(
        "tokens.csv",
        &format!("{token},admin,admin,system:masters\n"),
    );
    let key = KeyPair::generate().expect("a key can be made");
    write("sa.key", &key.serialize_pem());
    write("sa.pub", &key.public_key_pem());
    let cluster =
        format!(r#"{{"server": "https://{NODE}:6443", "insecure-skip-tls-verify": true}}"#);
    let config = format!(
        r#"{{"apiVersion": "v1", "kind": "Config", "current-context": "node",
 "clusters": [{{"name": "node", "cluster": {cluster}}}],
 "users": [{{"name": "admin", "user": {{"token": "{token}"}}}}],
 "contexts": [{{"name": "node", "context": {{"cluster": "node", "user": "admin"}}}}]}}
"#
    );
    write("kubeconfig", &config);
}

fn ip(arguments: &[&str]) {
    let done = Command::new("ip")
        .args(arguments)
        .output()
        .expect("ip can be run");
    text_of(&done).unwrap_or_else(|complaint| panic!("ip {}: {complaint}", arguments.join(" ")));
}
