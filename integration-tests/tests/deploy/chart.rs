//! The charts as a whole: what they render to is what Kubernetes takes, and asks for no more than it needs.

use serde_yaml_ng::Value;

use crate::render::{
    KUBERNETES, charts, conform, containers, helm, of_kind, pods, render, render_text, variable,
};

/// Every chart with every value set.
const SETS: [(&str, Option<&str>); 6] = [
    ("cutline", Some("minimal")),
    ("cutline", Some("s3")),
    ("cutline", Some("tls")),
    ("cutline", Some("everything")),
    ("bank", None),
    ("bank", Some("s3")),
];

#[test]
fn helm_finds_nothing_to_complain_about() {
    helm(&["lint", "--strict", "cutline", "bank"], charts()).unwrap();
}

#[test]
fn kubernetes_oldest_and_newest_take_every_value_set() {
    for (chart, values) in SETS {
        let text = render_text(chart, values, &[]).unwrap();
        for kubernetes in KUBERNETES {
            conform(&text, kubernetes)
                .unwrap_or_else(|why| panic!("{chart} {values:?} {kubernetes}: {why}"));
        }
    }
}

#[test]
fn a_field_that_kubernetes_does_not_know_would_be_noticed() {
    let text = render_text("cutline", Some("everything"), &[]).unwrap();
    let misspelt = [
        ("terminationGracePeriodSeconds", "terminationGraceSeconds"),
        ("readOnlyRootFilesystem", "readOnlyRootFileSystem"),
        ("maxUnavailable: 100%", "maxUnavailible: 100%"),
        ("pathType", "pathKind"),
        ("endpoints:", "endpoint:"),
        ("minAvailable: 1", "minAvailable: {}"),
        ("issuerRef:", "issuer:"),
    ];
    for (right, wrong) in misspelt {
        assert!(text.contains(right), "{right}");
        let text = text.replace(right, wrong);
        // Where it is the same schema maker, one Kubernetes tells as much as two.
        conform(&text, KUBERNETES[1]).expect_err(wrong);
    }
}

#[test]
fn no_container_is_root_or_can_become_more_than_it_is() {
    for (chart, values) in SETS {
        let rendered = render(chart, values, &[]).unwrap();
        let pods = pods(&rendered);
        assert!(!pods.is_empty());
        for pod in pods {
            assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
            for forbidden in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(pod["spec"][forbidden].is_null());
            }
            for container in containers(pod) {
                is_confined(pod, container);
            }
        }
    }
}

fn is_confined(pod: &Value, container: &Value) {
    let (own, of_pod) = (
        &container["securityContext"],
        &pod["spec"]["securityContext"],
    );
    assert_eq!(own["runAsNonRoot"], true, "{container:?}");
    assert_eq!(own["allowPrivilegeEscalation"], false);
    assert_eq!(own["readOnlyRootFilesystem"], true);
    assert_eq!(own["capabilities"]["drop"][0], "ALL");
    assert_eq!(own["seccompProfile"]["type"], "RuntimeDefault");
    assert!(own["privileged"].is_null());
    let user = own["runAsUser"].as_u64().or(of_pod["runAsUser"].as_u64());
    assert!(user.is_some_and(|user| user > 0), "{container:?}");
    assert!(!container["resources"]["requests"]["memory"].is_null());
    assert!(!container["resources"]["limits"]["memory"].is_null());
}

#[test]
fn credentials_are_references_to_secrets() {
    let rendered = render("cutline", Some("s3"), &[]).unwrap();
    let admin = of_kind(&rendered, "Deployment")[0];
    let admin = containers(&admin["spec"]["template"])[0];
    for (name, secret, key) in [
        ("CUTLINE_REDIS", "cutline-redis", "url"),
        ("AWS_ACCESS_KEY_ID", "cutline-s3", "AWS_ACCESS_KEY_ID"),
        (
            "AWS_SECRET_ACCESS_KEY",
            "cutline-s3",
            "AWS_SECRET_ACCESS_KEY",
        ),
    ] {
        let variable = variable(admin, name).unwrap();
        let reference = &variable["valueFrom"]["secretKeyRef"];
        assert!(variable["value"].is_null());
        assert_eq!(reference["name"], secret);
        assert_eq!(reference["key"], key);
    }
    // The chart makes no Secret: there is nothing secret in its values.
    assert!(of_kind(&rendered, "Secret").is_empty());
}

#[test]
fn the_admin_api_stands_alone_or_waits_to_lead() {
    let one = render("cutline", Some("minimal"), &[]).unwrap();
    let deployment = &of_kind(&one, "Deployment")[0]["spec"];
    // The new one is ready only when it leads, which it cannot while the old one does.
    assert_eq!(deployment["strategy"]["type"], "Recreate");
    let container = containers(&deployment["template"])[0];
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");

    let three = render("cutline", Some("everything"), &[]).unwrap();
    let deployment = &of_kind(&three, "Deployment")[0]["spec"];
    assert_eq!(deployment["replicas"], 3);
    assert_eq!(
        deployment["strategy"]["rollingUpdate"]["maxUnavailable"],
        "100%"
    );
    assert_eq!(of_kind(&three, "PodDisruptionBudget").len(), 1);
}

#[test]
fn only_named_pods_reach_the_admin_api() {
    let rendered = render("cutline", Some("everything"), &[]).unwrap();
    let policy = &of_kind(&rendered, "NetworkPolicy")[0]["spec"];
    let from = policy["ingress"][0]["from"].as_sequence().unwrap();
    assert_eq!(from.len(), 2);
    assert_eq!(
        from[0]["podSelector"]["matchLabels"]["cutline.dev/client"],
        "true"
    );
    let bank = render("bank", None, &[]).unwrap();
    let sidecars = of_kind(&bank, "Deployment")
        .into_iter()
        .map(|deployment| &deployment["spec"]["template"])
        .filter(|pod| !pod["spec"]["initContainers"].is_null());
    for pod in sidecars {
        assert_eq!(pod["metadata"]["labels"]["cutline.dev/client"], "true");
    }
}

#[test]
fn the_helm_test_asks_the_admin_api_as_a_client_may() {
    let rendered = render("cutline", Some("minimal"), &[]).unwrap();
    let job = of_kind(&rendered, "Job")[0];
    assert_eq!(job["metadata"]["annotations"]["helm.sh/hook"], "test");
    let pod = &job["spec"]["template"];
    assert_eq!(pod["metadata"]["labels"]["cutline.dev/client"], "true");
    let service = of_kind(&rendered, "Service")[0];
    let address = format!(
        "http://{}.money.svc:{}",
        service["metadata"]["name"].as_str().unwrap(),
        service["spec"]["ports"][0]["port"].as_u64().unwrap()
    );
    let given = variable(containers(pod)[0], "CUTLINE_ADMIN").unwrap();
    assert_eq!(given["value"], address.as_str());
    // The Service must not lead to the job's pod.
    let selector = service["spec"]["selector"].as_mapping().unwrap();
    let labels = &pod["metadata"]["labels"];
    assert!(
        selector
            .iter()
            .any(|(name, value)| labels[name.as_str().unwrap()] != *value)
    );
}

#[test]
fn the_notes_tell_the_next_command() {
    let directory = charts().join("cutline-notes");
    let copied = std::process::Command::new("cp")
        .arg("-R")
        .arg(charts().join("cutline"))
        .arg(&directory)
        .status()
        .unwrap();
    assert!(copied.success());
    // Helm shows notes of releases only; as a document they are rendered by the same engine.
    std::fs::rename(
        directory.join("templates/NOTES.txt"),
        directory.join("notes"),
    )
    .unwrap();
    let document = "kind: Notes\ntext: {{ tpl (.Files.Get \"notes\") . | quote }}\n";
    std::fs::write(directory.join("templates/notes.yaml"), document).unwrap();
    let open = [
        "auth.existingSecret=",
        "auth.unauthenticated=true",
        "tls.certManager.enabled=false",
        "tls.clientCertificates=false",
        "inject.enabled=false",
    ];
    let (guarded, open) = (&[][..], &open[..]);
    for (values, parts) in [
        (
            guarded,
            [
                "kubectl -n money rollout status deployment/shop-cutline",
                "helm -n money test shop",
                "port-forward service/shop-cutline 7070:7070",
                "cutline --token-file TOKEN --admin https://127.0.0.1:7070 --tls-ca CA --tls-certificate CERTIFICATE --tls-key KEY checkpoint create --wait",
            ],
        ),
        (
            open,
            [
                "exec deployment/shop-cutline -- cutline sidecars",
                "exec deployment/shop-cutline -- cutline checkpoint create --wait",
                "can roll your services back",
                "cutline.example.com",
            ],
        ),
    ] {
        let rendered = render("cutline-notes", Some("everything"), values).unwrap();
        let notes = of_kind(&rendered, "Notes")[0]["text"].as_str().unwrap();
        for part in parts {
            assert!(notes.contains(part), "{part} is not in\n{notes}");
        }
    }
}
