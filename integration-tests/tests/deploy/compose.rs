//! The compose file, loaded by Docker Compose's own library, and the Dockerfile it builds from.

use std::{fs, path::Path, process::Command};

use integration_tests::{Run, binaries::project_root, docker, s3};
use serde_json::Value;

use crate::{render::tool, settings::variables_of};

/// What this project builds; the others are somebody else's images.
const OWN: [&str; 9] = [
    "admin",
    "app-sidecar",
    "bank-a",
    "bank-a-sidecar",
    "bank-b",
    "bank-b-sidecar",
    "cutline",
    "load",
    "standby",
];
/// Run once and end.
const ONCE: [&str; 1] = ["topics"];

fn load(file: &Path) -> Result<Value, String> {
    let output = Command::new(tool("compose-config"))
        .arg(file)
        .args(["tools", "app"])
        .output()
        .unwrap();
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn services() -> serde_json::Map<String, Value> {
    let project = load(&project_root().join("docker-compose.yml")).unwrap();
    project["services"].as_object().unwrap().clone()
}

fn texts(list: &Value) -> Vec<&str> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).collect()
}

#[test]
fn compose_takes_the_file_and_would_notice_mistakes() {
    let text = fs::read_to_string(project_root().join("docker-compose.yml")).unwrap();
    assert!(services().len() > OWN.len());
    let file = Run::this().part("compose").join("docker-compose.yml");
    for (right, wrong) in [
        ("healthcheck:", "healthchek:"),
        (
            "kafka: {condition: service_healthy}",
            "kafca: {condition: service_healthy}",
        ),
        ("condition: service_started", "condition: service_begun"),
        ("store:/var/lib/cutline", "stora:/var/lib/cutline"),
    ] {
        assert!(text.contains(right), "{right}");
        fs::write(&file, text.replace(right, wrong)).unwrap();
        load(&file).expect_err(wrong);
    }
}

#[test]
fn whoever_is_waited_for_tells_when_it_is_well() {
    let services = services();
    for (name, service) in &services {
        let waited_for = service["depends_on"].as_object().into_iter().flatten();
        for (other, how) in waited_for {
            let condition = how["condition"].as_str().unwrap();
            let has_check = !services[other]["healthcheck"].is_null();
            let expected = match () {
                () if ONCE.contains(&other.as_str()) => "service_completed_successfully",
                () if has_check => "service_healthy",
                () => "service_started",
            };
            assert_eq!(condition, expected, "{name} waits for {other}");
        }
    }
    for server in [
        "kafka",
        "s3",
        "redis",
        "postgres",
        "admin",
        "standby",
        "bank-a-sidecar",
        "app-sidecar",
        "prometheus",
        "grafana",
    ] {
        assert!(!services[server]["healthcheck"].is_null(), "{server}");
    }
}

#[test]
fn nothing_is_privileged_and_nothing_is_published_beyond_this_machine() {
    let head = fs::read_to_string(project_root().join("docker-compose.yml")).unwrap();
    let head = head.split("\nname:").next().unwrap();
    for (name, service) in services() {
        assert!(service["privileged"].is_null(), "{name}");
        assert!(texts(&service["cap_add"]).is_empty(), "{name}");
        assert!(
            service["pid"].is_null() && service["ipc"].is_null(),
            "{name}"
        );
        assert_ne!(service["network_mode"], "host", "{name}");
        let options = texts(&service["security_opt"]);
        assert!(options.contains(&"no-new-privileges:true"), "{name}");
        for port in service["ports"].as_array().into_iter().flatten() {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name}");
            let published = port["published"].as_str().unwrap();
            assert!(head.contains(published), "{published} is not documented");
        }
        if OWN.contains(&name.as_str()) {
            assert_eq!(service["read_only"], true, "{name}");
            assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        }
    }
}

#[test]
fn a_bank_finds_kafka_only_through_its_sidecar() {
    let services = services();
    for bank in ["bank-a", "bank-b"] {
        let (bank, sidecar) = (&services[bank], format!("{bank}-sidecar"));
        assert_eq!(bank["network_mode"], format!("service:{sidecar}"));
        let sidecar = &services[&sidecar];
        let listens = &sidecar["environment"]["CUTLINE_LISTEN"];
        assert_eq!(&bank["environment"]["BANK_BOOTSTRAP"], listens);
        assert!(listens.as_str().unwrap().starts_with("127.0.0.1:"));
        assert_eq!(bank["volumes"][0], sidecar["volumes"][0]);
    }
}

#[test]
fn sidecars_know_both_admin_apis_and_one_waits_for_the_other() {
    let services = services();
    let admin = &services["admin"];
    let standby = &services["standby"];
    assert_eq!(admin["environment"], standby["environment"]);
    assert!(!standby["depends_on"]["admin"].is_null());
    for sidecar in ["bank-a-sidecar", "bank-b-sidecar", "app-sidecar"] {
        let admins = services[sidecar]["environment"]["CUTLINE_ADMIN"].as_str();
        let admins: Vec<&str> = admins.unwrap().split(',').collect();
        assert_eq!(admins, ["http://admin:7070", "http://standby:7070"]);
    }
    // Only one is ever ready.
    for admin in [admin, standby] {
        assert!(texts(&admin["healthcheck"]["test"]).contains(&"/healthz"));
    }
}

#[test]
fn whoever_listens_beyond_loopback_says_so() {
    for (name, service) in services() {
        let environment = &service["environment"];
        let sidecar = [
            ("CUTLINE_LISTEN", "CUTLINE_LISTEN_UNAUTHENTICATED"),
            ("CUTLINE_METRICS", "CUTLINE_METRICS_UNAUTHENTICATED"),
        ];
        let admin = [("CUTLINE_LISTEN", "CUTLINE_UNAUTHENTICATED")];
        let is_admin = ["admin", "standby"].contains(&name.as_str());
        let pairs = if is_admin { &admin[..] } else { &sidecar };
        for (listens, said) in pairs {
            let at = environment[listens].as_str().unwrap_or_default();
            let beyond = at.starts_with("0.0.0.0:");
            assert_eq!(environment[said] == "yes", beyond, "{name}: {said}");
        }
    }
}

/// A file that a service mounts, as YAML.
fn mounted(service: &Value, target: &str) -> serde_yaml_ng::Value {
    let volumes = service["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["target"] == target);
    let source = volume.expect(target)["source"].as_str().unwrap();
    serde_yaml_ng::from_str(&fs::read_to_string(source).expect(source)).unwrap()
}

#[test]
fn prometheus_looks_at_every_program_and_grafana_at_prometheus() {
    let services = services();
    let seen = mounted(&services["prometheus"], "/etc/prometheus/prometheus.yml");
    let jobs = seen["scrape_configs"].as_sequence().unwrap();
    let mut targets = Vec::new();
    for job in jobs {
        for list in job["static_configs"].as_sequence().into_iter().flatten() {
            let these = list["targets"].as_sequence().unwrap().iter();
            targets.extend(these.map(|target| target.as_str().unwrap().to_owned()));
        }
        for found in job["dns_sd_configs"].as_sequence().into_iter().flatten() {
            let name = found["names"][0].as_str().unwrap();
            targets.push(format!("{name}:{}", found["port"].as_u64().unwrap()));
        }
    }
    for (name, service) in &services {
        let environment = &service["environment"];
        let port = match name.as_str() {
            "admin" | "standby" => environment["CUTLINE_LISTEN"].as_str(),
            _ => environment["CUTLINE_METRICS"].as_str(),
        };
        let Some(port) = port.and_then(|at| at.rsplit(':').next()) else {
            continue;
        };
        let target = format!("{name}:{port}");
        assert!(targets.contains(&target), "{target} is not in {targets:?}");
    }
    assert_eq!(targets.len(), 5);
    let provisioning = "/etc/grafana/provisioning";
    let grafana = &services["grafana"];
    let source = mounted(grafana, &format!("{provisioning}/datasources/cutline.yml"));
    assert_eq!(source["datasources"][0]["url"], "http://prometheus:9090");
    let shown = mounted(grafana, &format!("{provisioning}/dashboards/cutline.yml"));
    let path = shown["providers"][0]["options"]["path"].as_str().unwrap();
    let volumes = grafana["volumes"].as_array().unwrap();
    let dashboards = volumes.iter().find(|volume| volume["target"] == path);
    let directory = Path::new(dashboards.unwrap()["source"].as_str().unwrap());
    let home = &grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"];
    let home = home.as_str().unwrap().strip_prefix(path).unwrap();
    assert!(directory.join(home.trim_start_matches('/')).is_file());
}

#[test]
fn every_variable_of_the_compose_file_is_known_to_its_program() {
    let services = services();
    for (service, program) in [
        ("admin", "cutline-admin"),
        ("standby", "cutline-admin"),
        ("app-sidecar", "cutline-sidecar"),
        ("bank-a-sidecar", "cutline-sidecar"),
        ("bank-b-sidecar", "cutline-sidecar"),
        ("cutline", "cutline"),
    ] {
        let known = variables_of(program);
        let given = services[service]["environment"].as_object().unwrap();
        let own = given.keys().filter(|name| !name.starts_with("AWS_"));
        for name in own {
            assert!(
                known.contains(name),
                "{service}: {name} is none of {known:?}"
            );
        }
    }
}

#[test]
fn versions_are_those_that_tests_run_against() {
    let services = services();
    let fetch = fs::read_to_string(project_root().join("scripts/fetch-kafka")).unwrap();
    let kafka = services["kafka"]["image"].as_str().unwrap();
    let version = kafka.strip_prefix("apache/kafka:").unwrap();
    assert!(fetch.contains(&format!("version=\"${{1:-{version}}}\"")));
    assert_eq!(services["topics"]["image"], kafka);
    let s3_image = format!("versity/versitygw:v{}", s3::VERSION);
    assert_eq!(services["s3"]["image"], s3_image);
    let toolchain = fs::read_to_string(project_root().join("rust-toolchain.toml")).unwrap();
    let channel = toolchain.split('"').nth(1).unwrap();
    let image = argument("RUST_IMAGE");
    assert!(image.starts_with(&format!("rust:{channel}")), "{image}");
}

fn dockerfile() -> String {
    fs::read_to_string(project_root().join("docker/Dockerfile")).unwrap()
}

/// The default of a build argument.
fn argument(name: &str) -> String {
    let line = format!("ARG {name}=");
    let text = dockerfile();
    let value = text.lines().find_map(|text| text.strip_prefix(&line));
    value.expect(name).to_owned()
}

#[test]
fn images_are_built_from_pinned_ones_and_run_as_nobody() {
    for base in ["RUST_IMAGE", "RUNTIME_IMAGE", "PYTHON_IMAGE"] {
        let image = argument(base);
        let (_, tag) = image.split_once(':').expect("a tag");
        let dots = tag.split('-').next().unwrap().matches('.').count();
        assert!(dots >= 1, "{image} names no patch release");
    }
    let text = dockerfile();
    let mut stages = std::collections::BTreeMap::new();
    let parts: Vec<&str> = text.split("\nFROM ").skip(1).collect();
    for part in parts {
        let mut words = part.lines().next().unwrap().split_whitespace();
        let (from, name) = (words.next().unwrap(), words.nth(1).expect("a stage's name"));
        let own = part.contains("\nUSER 65532:65532");
        let inherited = stages.get(from).copied().unwrap_or(false);
        stages.insert(name, own || inherited);
    }
    for service in OWN {
        let target = services()[service]["build"]["target"].clone();
        let target = target.as_str().unwrap();
        assert_eq!(stages.get(target), Some(&true), "{target} runs as root");
    }
}

#[test]
fn every_image_that_is_not_ours_has_a_stand_in_but_grafanas() {
    let deploy = project_root().join("integration-tests/deploy/compose");
    let bases = fs::read_to_string(deploy.join("bases.yml")).unwrap();
    let bases: serde_yaml_ng::Value = serde_yaml_ng::from_str(&bases).unwrap();
    let bases = bases["services"].as_mapping().unwrap().values();
    let mut made: Vec<String> = bases.map(|base| text(&base["image"])).collect();
    made.extend([docker::DEBIAN.into(), text(&services()["grafana"]["image"])]);
    let mut named: Vec<String> = ["RUST_IMAGE", "RUNTIME_IMAGE", "PYTHON_IMAGE"]
        .map(argument)
        .into();
    let services = services();
    let others = services
        .iter()
        .filter(|(name, _)| !OWN.contains(&name.as_str()));
    named.extend(others.map(|(_, service)| text(&service["image"])));
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names.dedup();
        names
    };
    assert_eq!(sorted(made), sorted(named));
}

/// What a value in either notation says.
fn text(value: &(impl serde::Serialize + ?Sized)) -> String {
    let value = serde_json::to_value(value).unwrap();
    value.as_str().expect("a text").to_owned()
}
