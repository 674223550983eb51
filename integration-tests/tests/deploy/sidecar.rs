//! The sidecar's template in a chart that uses it.

use serde_yaml_ng::Value;

use crate::render::{of_kind, render, variable};

fn bank(values: Option<&str>, more: &[&str]) -> (Value, Value) {
    let rendered = render("bank", values, more).unwrap();
    let bank = of_kind(&rendered, "Deployment")
        .into_iter()
        .find(|deployment| deployment["metadata"]["name"] == "shop-bank-b")
        .unwrap();
    let pod = &bank["spec"]["template"]["spec"];
    let sidecar = pod["initContainers"][0].clone();
    assert_eq!(sidecar["name"], "cutline-sidecar");
    (pod.clone(), sidecar)
}

#[test]
fn the_sidecar_is_up_before_the_application_and_down_after_it() {
    let (pod, sidecar) = bank(None, &[]);
    // What makes an init container a native sidecar, and what the application's start waits for.
    assert_eq!(sidecar["restartPolicy"], "Always");
    assert_eq!(sidecar["startupProbe"]["httpGet"]["path"], "/readyz");
    assert_eq!(pod["containers"].as_sequence().unwrap().len(), 1);
    assert!(pod["containers"][0]["restartPolicy"].is_null());
}

#[test]
fn the_application_finds_kafka_on_loopback_alone() {
    let (pod, sidecar) = bank(None, &["cutline.sidecar.port=29092"]);
    let listen = variable(&sidecar, "CUTLINE_LISTEN").unwrap();
    assert_eq!(listen["value"], "127.0.0.1:29092");
    let bootstrap = variable(&pod["containers"][0], "BANK_BOOTSTRAP").unwrap();
    assert_eq!(bootstrap["value"], "127.0.0.1:29092");
}

#[test]
fn sidecar_and_application_share_the_state_and_its_owner() {
    let (pod, sidecar) = bank(None, &[]);
    let application = &pod["containers"][0];
    let mount = |container: &Value| {
        let mounts = container["volumeMounts"].as_sequence().unwrap();
        mounts
            .iter()
            .find(|mount| mount["name"] == "state")
            .cloned()
    };
    assert!(mount(&sidecar).is_some());
    assert_eq!(mount(&sidecar), mount(application));
    let user = &pod["securityContext"]["runAsUser"];
    assert_eq!(&sidecar["securityContext"]["runAsUser"], user);
    let state = variable(&sidecar, "CUTLINE_STATE").unwrap();
    assert_eq!(state["value"], "dir:/var/lib/bank/state?scope=service");
}

#[test]
fn a_sidecar_writes_to_the_store_that_the_admin_api_reads() {
    let rendered = render("bank", None, &[]).unwrap();
    let claims = |pod: &Value| -> Vec<Value> {
        let volumes = pod["spec"]["template"]["spec"]["volumes"].as_sequence();
        let claims = volumes.unwrap().iter();
        claims
            .filter(|volume| volume["name"] == "cutline-store")
            .map(|volume| volume["persistentVolumeClaim"]["claimName"].clone())
            .collect()
    };
    let deployments = of_kind(&rendered, "Deployment");
    let all: Vec<Value> = deployments.iter().flat_map(|pod| claims(pod)).collect();
    assert_eq!(all, vec![Value::from("shop-cutline-store"); 3]);

    let (_, sidecar) = bank(Some("s3"), &[]);
    let secret = variable(&sidecar, "AWS_SECRET_ACCESS_KEY").unwrap();
    assert_eq!(secret["valueFrom"]["secretKeyRef"]["name"], "cutline-s3");
    let admin = variable(&sidecar, "CUTLINE_ADMIN").unwrap();
    assert_eq!(admin["value"], "http://cutline.control.svc:7070");
}

#[test]
fn what_a_sidecar_lacks_is_named() {
    let without = "cutline.admin.enabled=false";
    let elsewhere = "cutline.sidecar.adminUrl=http://cutline.control.svc:7070";
    for (values, part) in [
        (&[without][..], "sidecar.adminUrl is needed"),
        (&[without, elsewhere], "store.file.existingClaim is needed"),
        (&["cutline.kafka.bootstrap="], "kafka.bootstrap is needed"),
    ] {
        let error = render("bank", None, values).unwrap_err();
        assert!(error.contains(part), "{values:?}: {error}");
    }
}
