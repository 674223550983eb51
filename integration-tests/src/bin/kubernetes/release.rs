//! Cutline as somebody installs it into a cluster: Secrets, the chart with the webhook, and their own way to the admin API.
//!
//! It does what docs/operations.md says and NOTES.txt tells, with the programs those name.

use std::{path::PathBuf, time::Duration};

use integration_tests::{
    Kubernetes, Process, Tokens,
    binaries::{binary, project_root},
    certificates::Authority,
    ports::free_port,
    process::text_of,
    wait_for, wait_until,
};
use serde_json::{Value, json};

use crate::admin_pod::admins;

/// The Services that the admin API's certificate is for.
const HOSTS: [&str; 2] = ["cutline.default.svc", "cutline-inject.default.svc"];
/// How long a forwarded port may take to be one.
const FORWARD_DEADLINE: Duration = Duration::from_secs(30);
/// How long it may take until one of the admin APIs leads.
const LEADER_DEADLINE: Duration = Duration::from_secs(120);
/// Where checkpoints are kept: a volume of the machine, for the chart's claim.
const STORE: &str = r#"
apiVersion: v1
kind: PersistentVolume
metadata: {name: store}
spec:
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteMany]
  hostPath: {path: "@STORE@"}
"#;

/// An installed Cutline, and a way to the admin API that leads.
pub struct Release {
    admin: String,
    ca: PathBuf,
    token: PathBuf,
    forward: Option<Process>,
}

impl Release {
    /// Installs the chart with two admin APIs and waits until one of them leads; has its own test run.
    pub async fn install(kubernetes: &Kubernetes, kafka: &str, redis: &str) -> Self {
        let ca = make_certificates(kubernetes);
        let token = make_tokens(kubernetes);
        make_address(kubernetes, redis);
        let store = kubernetes.volume("store").display().to_string();
        kubernetes.apply("store.yaml", &STORE.replace("@STORE@", &store));
        let bundle = std::fs::read(&ca).expect("the authority was written");
        install_chart(kubernetes, kafka, &bundle);
        let mut release = Self {
            admin: String::new(),
            ca,
            token,
            forward: None,
        };
        release.find_leader(kubernetes).await;
        let tested = kubernetes.helm(&["test", "cutline", "--timeout", "120s"]);
        tested
            .unwrap_or_else(|complaint| panic!("helm test: {complaint}\n{}", troubles(kubernetes)));
        release
    }

    /// Waits until an admin API leads, and makes a way to that one: a forwarded port stays with the pod that it was made for.
    pub async fn find_leader(&mut self, kubernetes: &Kubernetes) {
        wait_until(LEADER_DEADLINE, "an admin API that leads", || async {
            admins(kubernetes).iter().any(|admin| admin.leads)
        })
        .await;
        let port = free_port();
        let forwarded = ["port-forward", "service/cutline", &format!("{port}:7070")];
        self.admin = format!("https://127.0.0.1:{port}");
        self.forward = Some(kubernetes.kubectl_beside("port-forward", &forwarded));
        wait_until(FORWARD_DEADLINE, "the forwarded port", || async {
            self.cutline(&["sidecars"]).await.is_ok()
        })
        .await;
    }

    /// Kills the admin API that leads; whether the one that leads next had stood by.
    pub async fn kill_leader(&mut self, kubernetes: &Kubernetes) -> bool {
        let before = admins(kubernetes);
        let leads = before.iter().find(|admin| admin.leads).expect("one leads");
        self.forward = None;
        let kill = [
            "delete",
            "pod",
            &leads.name,
            "--grace-period",
            "0",
            "--force",
        ];
        kubernetes.kubectl(&kill).expect("a pod can be deleted");
        self.find_leader(kubernetes).await;
        let after = admins(kubernetes);
        let leads = after.iter().find(|admin| admin.leads);
        let stood_by = |name: &str| {
            before
                .iter()
                .any(|admin| admin.name == name && !admin.leads)
        };
        leads.is_some_and(|admin| stood_by(&admin.name))
    }

    /// What the command line prints, or its complaint.
    pub async fn cutline(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = tokio::process::Command::new(binary("cutline"));
        command
            .args(["--admin", &self.admin, "--tls-ca"])
            .arg(&self.ca)
            .arg("--token-file")
            .arg(&self.token)
            .args(arguments)
            .kill_on_drop(true);
        text_of(&command.output().await.expect("the command line can be run"))
    }

    /// The same as JSON.
    pub async fn asked(&self, arguments: &[&str]) -> Result<Value, String> {
        let text = self.cutline(&[&["-o", "json"], arguments].concat()).await?;
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// Waits until `sidecars` are at work.
    pub async fn wait_at_work(&self, sidecars: usize, limit: Duration) {
        wait_for(limit, "sidecars at work", || async {
            let seen = self.asked(&["sidecars"]).await.ok()?;
            (integration_tests::checkpoints::at_work(&seen) == sidecars).then_some(())
        })
        .await;
    }
}

fn install_chart(kubernetes: &Kubernetes, kafka: &str, authority: &[u8]) {
    let chart = project_root().join("charts/cutline");
    let values = json!({
        "kafka": {"bootstrap": kafka},
        "redis": {"existingSecret": "cutline-redis"},
        "admin": {"replicas": 2},
        "auth": {"existingSecret": "cutline-tokens", "clientSecret": "cutline-token"},
        "tls": {"existingSecret": "cutline-tls", "clientSecret": "cutline-ca"},
        "inject": {"enabled": true, "caBundle": base64(authority)},
    });
    let file = kubernetes.directory().join("values.json");
    std::fs::write(&file, values.to_string()).expect("values can be written");
    let (chart, file) = (chart.display().to_string(), file.display().to_string());
    let installed = kubernetes.helm(&[
        "install",
        "cutline",
        &chart,
        "--values",
        &file,
        "--wait",
        "--timeout",
        "120s",
    ]);
    installed
        .unwrap_or_else(|complaint| panic!("helm install: {complaint}\n{}", troubles(kubernetes)));
}

/// What a person would look at when something does not come up.
pub fn troubles(kubernetes: &Kubernetes) -> String {
    let asked = [
        &["get", "pods", "--output", "wide"][..],
        &["get", "events", "--sort-by", ".lastTimestamp"],
        &["logs", "deployment/cutline", "--tail", "20"],
    ];
    let answers = asked.map(|arguments| {
        kubernetes
            .kubectl(arguments)
            .unwrap_or_else(|complaint| complaint)
    });
    answers.join("\n")
}

fn make_certificates(kubernetes: &Kubernetes) -> PathBuf {
    let directory = kubernetes.directory();
    let (authority, ca) = (Authority::new("ours"), directory.join("ca.crt"));
    authority.write_to(&ca);
    let identity = authority.sign_for(&HOSTS, directory, "admin");
    let certificate = [
        ("ca.crt", ca.clone()),
        ("tls.crt", identity.certificate),
        ("tls.key", identity.key),
    ];
    make_secret(kubernetes, "cutline-tls", &certificate);
    make_secret(kubernetes, "cutline-ca", &[("ca.crt", ca.clone())]);
    ca
}

/// Where Redis is, with its password.
fn make_address(kubernetes: &Kubernetes, redis: &str) {
    let file = kubernetes.directory().join("redis");
    std::fs::write(&file, redis).expect("an address can be written");
    make_secret(kubernetes, "cutline-redis", &[("url", file)]);
}

/// The list for the admin API, the tokens for sidecars and those that look; the file with an administrator's.
fn make_tokens(kubernetes: &Kubernetes) -> PathBuf {
    let mut tokens = Tokens::default();
    let files = ["admin", "sidecar", "viewer"];
    let files = files.map(|role| PathBuf::from(tokens.make(role, role, &[])));
    make_secret(
        kubernetes,
        "cutline-tokens",
        &[("tokens.json", tokens.list())],
    );
    let [admin, sidecar, viewer] = files;
    let shown = [("sidecar", sidecar), ("viewer", viewer)];
    make_secret(kubernetes, "cutline-token", &shown);
    admin
}

fn make_secret(kubernetes: &Kubernetes, name: &str, files: &[(&str, PathBuf)]) {
    let mut arguments = vec![
        "create".to_owned(),
        "secret".into(),
        "generic".into(),
        name.into(),
    ];
    let files = files.iter();
    arguments.extend(files.map(|(key, path)| format!("--from-file={key}={}", path.display())));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    kubernetes
        .kubectl(&arguments)
        .expect("a Secret can be made");
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}
