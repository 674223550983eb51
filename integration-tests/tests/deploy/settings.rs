//! What the chart and the compose file tell the programs is what the programs understand.

use std::{process::Command, time::Duration};

use integration_tests::{
    Process, ProcessSpec, Run, binaries::binary, certificates::Authority, http, ports::free_port,
    wait_until,
};

use serde_json::json;
use serde_yaml_ng::Value;

use crate::render::{containers, of_kind, pods, render};

const START_DEADLINE: Duration = Duration::from_secs(20);

/// The variables that a program's help lists.
pub fn variables_of(program: &str) -> Vec<String> {
    let output = Command::new(binary(program))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<String> = help
        .split("[env: ")
        .skip(1)
        .filter_map(|rest| rest.split(['=', ']']).next())
        .map(str::to_owned)
        .collect();
    // The filter of the log is read before anything else, and is no flag.
    names.push("CUTLINE_LOG".to_owned());
    names
}

#[tokio::test]
async fn the_admin_api_takes_the_settings_of_the_chart() {
    let store = Run::this().part("settings-store").join("store");
    let tokens = Run::this().part("settings-tokens").join("tokens.json");
    let entry = json!({"name": "anna", "role": "viewer", "sha256": "0".repeat(64)});
    std::fs::write(&tokens, json!({"tokens": [entry]}).to_string()).unwrap();
    let certificates = Run::this().part("settings-certificates");
    let authority = Authority::new("ours");
    authority.write_to(&certificates.join("ca.crt"));
    let identity = authority.sign(&certificates, "admin");
    let rendered = render("cutline", Some("everything"), &[]).unwrap();
    let template = Run::this().part("settings-template").join("sidecar.yaml");
    std::fs::write(&template, written(&rendered, "sidecar.yaml")).unwrap();
    let keys = Run::this().part("settings-keys").join("signing.keys");
    std::fs::write(&keys, "0a".repeat(32)).unwrap();
    is_taken(
        "everything",
        &[
            "--store",
            &format!("file:{}", store.display()),
            "--tokens",
            &tokens.display().to_string(),
            "--tls-certificate",
            &identity.certificate.display().to_string(),
            "--tls-key",
            &identity.key.display().to_string(),
            "--tls-client-ca",
            &certificates.join("ca.crt").display().to_string(),
            "--inject-listen",
            "127.0.0.1:0",
            "--inject-template",
            &template.display().to_string(),
            "--signing-keys",
            &keys.display().to_string(),
        ],
        // Plain HTTP is told that this is TLS.
        400,
    )
    .await;
    // The bucket is not reached, which is no reason to end.
    is_taken("s3", &["--redis", "redis://127.0.0.1:1"], 200).await;
}

/// What a ConfigMap has under `name`.
pub fn written(rendered: &[Value], name: &str) -> String {
    let maps = of_kind(rendered, "ConfigMap").into_iter();
    let mut found = maps.filter_map(|map| map["data"][name].as_str());
    found.next().unwrap().to_owned()
}

/// Starts the admin API with the settings of a value set, but for what belongs to a machine, and waits until it answers so.
async fn is_taken(values: &str, of_this_machine: &[&str], status: u16) {
    let rendered = render("cutline", Some(values), &[]).unwrap();
    let settings = written(&rendered, "admin.yaml");
    let directory = Run::this().part(&format!("settings-{values}"));
    let file = directory.join("admin.yaml");
    std::fs::write(&file, settings).unwrap();
    let port = free_port();
    let spec = ProcessSpec::new("admin", binary("cutline-admin"), directory.join("log"))
        .args(["--config".as_ref(), file.as_os_str()])
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .args(["--kafka", &format!("127.0.0.1:{}", free_port())])
        .args(of_this_machine)
        .env("AWS_ACCESS_KEY_ID", "nobody")
        .env("AWS_SECRET_ACCESS_KEY", "nothing");
    let mut admin = Process::start(spec);
    wait_until(START_DEADLINE, "the admin API to live", || {
        let ended = admin.exit_status();
        assert!(ended.is_none(), "{ended:?}: {}", admin.log_tail(5));
        async move {
            let answer = http::get(format!("http://127.0.0.1:{port}/healthz"))
                .send()
                .await;
            answer.is_ok_and(|answer| answer.status() == status)
        }
    })
    .await;
}

#[test]
fn every_setting_of_the_chart_is_written_when_it_is_set() {
    let rendered = render("cutline", Some("everything"), &[]).unwrap();
    let settings = written(&rendered, "admin.yaml");
    for line in [
        "checkpoint.retries: \"0\"",
        "kafka.metadata.max.age.ms: \"1000000\"",
        "max-pause: \"9s\"",
        "tokens: \"/etc/cutline-tokens/tokens.json\"",
        "tls.client-ca: \"/etc/cutline-tls/ca.crt\"",
    ] {
        assert!(settings.contains(line), "{line} is not in\n{settings}");
    }
    let rendered = render("cutline", Some("s3"), &[]).unwrap();
    let settings = written(&rendered, "admin.yaml");
    let store = "store: \"s3://checkpoints/production?endpoint=http://s3.storage.svc:7070&region=eu-central-1&path_style=true&sse=aws:kms&kms_key=arn:aws:kms:eu-central-1:1:key/x\"";
    assert!(settings.contains(store), "{settings}");
}

#[test]
fn every_variable_of_the_charts_is_known_to_its_program() {
    let (admin, sidecar, cutline) = (
        variables_of("cutline-admin"),
        variables_of("cutline-sidecar"),
        variables_of("cutline"),
    );
    let mut seen = 0;
    for (chart, values) in [
        ("cutline", Some("s3")),
        ("cutline", Some("tls")),
        ("cutline", Some("everything")),
        ("bank", None),
        ("bank", Some("s3")),
    ] {
        let rendered = render(chart, values, &[]).unwrap();
        for container in pods(&rendered).into_iter().flat_map(containers) {
            let known = match container["name"].as_str().unwrap() {
                "admin" => &admin,
                "cutline-sidecar" => &sidecar,
                "cutline" => &cutline,
                _ => continue,
            };
            for variable in container["env"].as_sequence().unwrap() {
                let name = variable["name"].as_str().unwrap();
                if !name.starts_with("AWS_") {
                    assert!(known.iter().any(|known| known == name), "{name}: {known:?}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 20, "{seen}");
}
