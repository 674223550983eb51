//! A real Kubernetes of one machine: API server, controllers, kubelet with containerd, kube-proxy and DNS, as `deploy/kubernetes/node` starts them.
//!
//! It runs [`Apart`]. Pods find this machine at [`HOST`](crate::apart::HOST). It has the project's images, and no registry.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rcgen::KeyPair;

use crate::{
    apart::{Apart, GUEST, ip},
    binaries::{binary, prepared, project_root, python},
    process::{Process, ProcessSpec, text_of},
    run::Run,
};

/// The addresses of pods.
const PODS: &str = "10.88.0.0/24";
/// Whom all images run as.
const USER: u32 = 65532;

/// A running Kubernetes.
#[derive(Debug)]
pub struct Kubernetes {
    directory: PathBuf,
    program: PathBuf,
    helm: PathBuf,
    _node: Apart,
}

impl Kubernetes {
    /// Starts one and waits until pods can be made.
    ///
    /// # Panics
    /// When it cannot be prepared, or is not ready in time.
    pub async fn start() -> Self {
        let [program, coredns, helm, debian] = prepared("prepare-kubernetes");
        let directory = Run::this().part("kubernetes");
        fs::create_dir(directory.join("data")).expect("a directory can be made");
        make_images(&debian, &directory.join("images.tar"));
        write_keys(&directory);
        let mut node = Apart::start("kubernetes/node", &directory, &[&program, &coredns]).await;
        ip(&["route", "add", PODS, "via", GUEST]);
        node.wait_up().await;
        Self {
            directory,
            program,
            helm,
            _node: node,
        }
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
        format!(r#"{{"server": "https://{GUEST}:6443", "insecure-skip-tls-verify": true}}"#);
    let config = format!(
        r#"{{"apiVersion": "v1", "kind": "Config", "current-context": "node",
 "clusters": [{{"name": "node", "cluster": {cluster}}}],
 "users": [{{"name": "admin", "user": {{"token": "{token}"}}}}],
 "contexts": [{{"name": "node", "context": {{"cluster": "node", "user": "admin"}}}}]}}
"#
    );
    write("kubeconfig", &config);
}
