//! Runs helm and kubeconform, as scripts/fetch-helm-tools made them.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use integration_tests::{Run, binaries::project_root, process::text_of};
use serde::Deserialize;
use serde_yaml_ng::Value;

/// The oldest and the newest Kubernetes that is supported, as their schemas are linked.
pub const KUBERNETES: [&str; 2] = ["kubernetes-oldest", "kubernetes-newest"];

/// A program of .cache/bin.
pub fn tool(name: &str) -> PathBuf {
    let path = project_root().join(".cache/bin").join(name);
    assert!(
        path.is_file(),
        "{} is missing: run scripts/fetch-helm-tools first",
        path.display()
    );
    path
}

/// A copy of the charts with their dependencies in place.
pub fn charts() -> &'static Path {
    static CHARTS: OnceLock<PathBuf> = OnceLock::new();
    CHARTS.get_or_init(|| {
        let directory = Run::this().part("charts");
        let copied = Command::new("cp")
            .arg("-R")
            .arg(project_root().join("charts/."))
            .arg(&directory)
            .status()
            .unwrap();
        assert!(copied.success());
        helm(&["dependency", "build", "bank"], &directory).expect("the bank finds the chart");
        directory
    })
}

/// What helm prints in the directory of the charts, or its complaint.
pub fn helm(arguments: &[&str], charts: &Path) -> Result<String, String> {
    let output = Command::new(tool("helm"))
        .args(arguments)
        .current_dir(charts)
        // Nothing of the user's, and nothing that tests share.
        .env("HELM_CACHE_HOME", charts.join(".helm/cache"))
        .env("HELM_CONFIG_HOME", charts.join(".helm/config"))
        .env("HELM_DATA_HOME", charts.join(".helm/data"))
        .output()
        .unwrap();
    text_of(&output)
}

/// What a chart renders to, with one of its value sets and further values.
pub fn render(chart: &str, values: Option<&str>, more: &[&str]) -> Result<Vec<Value>, String> {
    let text = render_text(chart, values, more)?;
    Ok(documents(&text))
}

/// As [`render`], as text.
pub fn render_text(chart: &str, values: Option<&str>, more: &[&str]) -> Result<String, String> {
    let mut arguments = vec!["template", "shop", chart, "--namespace", "money"];
    let file = values.map(|name| format!("{chart}/ci/{name}-values.yaml"));
    if let Some(file) = &file {
        arguments.extend(["--values", file]);
    }
    for value in more {
        arguments.extend(["--set", value]);
    }
    helm(&arguments, charts())
}

/// Every document of `text`.
pub fn documents(text: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}

/// The documents of a kind.
pub fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let of_kind = |document: &&Value| document["kind"] == kind;
    documents.iter().filter(of_kind).collect()
}

/// The templates of pods in whatever has one.
pub fn pods(documents: &[Value]) -> Vec<&Value> {
    documents
        .iter()
        .map(|document| &document["spec"]["template"])
        .filter(|template| !template.is_null())
        .collect()
}

/// Every container of a pod.
pub fn containers(pod: &Value) -> Vec<&Value> {
    ["initContainers", "containers"]
        .iter()
        .filter_map(|which| pod["spec"][which].as_sequence())
        .flatten()
        .collect()
}

/// The variable `name` of a container.
pub fn variable<'a>(container: &'a Value, name: &str) -> Option<&'a Value> {
    let all = container["env"].as_sequence()?;
    all.iter().find(|variable| variable["name"] == name)
}

/// What kubeconform says of documents by the strict schemas of a Kubernetes.
pub fn conform(text: &str, kubernetes: &str) -> Result<String, String> {
    let schemas = project_root().join(".cache").join(kubernetes);
    assert!(schemas.is_dir(), "run scripts/fetch-helm-tools first");
    let location = format!(
        "{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
        schemas.display()
    );
    let mut child = Command::new(tool("kubeconform"))
        .args(["-strict", "-summary", "-schema-location", &location, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    text_of(&child.wait_with_output().unwrap())
}
