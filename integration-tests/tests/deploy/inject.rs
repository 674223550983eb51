//! Sidecars by annotation: the admin API as the chart sets it up, asked what Kubernetes' API server asks.

use std::{fs, path::PathBuf, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use integration_tests::{
    Process, ProcessSpec, Run, binaries::binary, certificates::Authority, https, ports::free_port,
    wait_until,
};
use serde_json::{Value, json};

use crate::{
    render::{KUBERNETES, conform, of_kind, render},
    settings::written,
};

const START_DEADLINE: Duration = Duration::from_secs(20);

/// An admin API that answers the API server, and waits for a Kafka that never comes.
struct Webhook {
    _admin: Process,
    port: u16,
    ca: PathBuf,
}

impl Webhook {
    /// One with the template that the chart renders with these values.
    async fn start(values: &[&str]) -> Self {
        let directory = Run::this().part("inject");
        let authority = Authority::new("ours");
        let ca = directory.join("ca.crt");
        authority.write_to(&ca);
        let identity = authority.sign(&directory, "admin");
        let enabled = [
            "cutline.inject.enabled=true",
            "cutline.inject.caBundle=eA==",
            "cutline.tls.existingSecret=t",
        ];
        let rendered = render("bank", None, &[&enabled, values].concat()).unwrap();
        let file = directory.join("sidecar.yaml");
        fs::write(&file, written(&rendered, "sidecar.yaml")).unwrap();
        let port = free_port();
        let spec = ProcessSpec::new("admin", binary("cutline-admin"), directory.join("log"))
            .args(["--listen", &format!("127.0.0.1:{}", free_port())])
            .args(["--kafka", &format!("127.0.0.1:{}", free_port())])
            .args([
                "--store",
                &format!("file:{}", directory.join("data").display()),
            ])
            .args(identity.flags())
            // The API server shows no certificate, whatever others have to.
            .args(["--tls-client-ca", &ca.display().to_string()])
            .args(["--inject-listen", &format!("127.0.0.1:{port}")])
            .args(["--inject-template", &file.display().to_string()]);
        let webhook = Self {
            _admin: Process::start(spec),
            port,
            ca,
        };
        wait_until(START_DEADLINE, "the webhook to listen", || async {
            let answer = https::ask(&webhook.ca, port, "GET /healthz", None).await;
            answer.is_ok_and(|(status, _)| status == 200)
        })
        .await;
        webhook
    }

    /// The response to a review of `pod` as the API server sends it.
    async fn review(&self, operation: &str, pod: &Value) -> Value {
        let request = json!({
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "money",
            "operation": operation,
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller", "groups": ["system:authenticated"]},
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        });
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
        let asked = https::ask(
            &self.ca,
            self.port,
            "POST /v1/inject?timeout=5s",
            Some(&review),
        );
        let (status, answer) = asked.await.unwrap();
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(answer["kind"], "AdmissionReview");
        assert_eq!(answer["response"]["uid"], request["uid"]);
        answer["response"].clone()
    }

    /// The pod that the API server makes of `pod`.
    async fn injected(&self, pod: &Value) -> Value {
        let response = self.review("CREATE", pod).await;
        assert_eq!(response["allowed"], true, "{response}");
        patched(pod, &response)
    }
}

/// `pod` with the patch of `response`, which only adds members to objects.
fn patched(pod: &Value, response: &Value) -> Value {
    let mut pod = pod.clone();
    let Some(patch) = response["patch"].as_str() else {
        return pod;
    };
    assert_eq!(response["patchType"], "JSONPatch");
    let patch: Value = serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap();
    for change in patch.as_array().unwrap() {
        assert_eq!(change["op"], "add");
        let (parent, member) = change["path"].as_str().unwrap().rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[member] = change["value"].clone();
    }
    pod
}

fn annotated(annotations: &[(&str, &str)], spec: Value) -> Value {
    let annotations: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|(name, value)| (format!("cutline.dev/{name}"), json!(value)))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "orders-5d9c-", "annotations": annotations},
        "spec": spec,
    })
}

/// A container, with what order does not matter for in order.
fn in_order(container: &Value) -> Value {
    let mut container = container.clone();
    for list in ["env", "volumeMounts"] {
        let items = container[list].as_array_mut().unwrap();
        items.sort_by_key(ToString::to_string);
    }
    container
}

fn value_of<'a>(container: &'a Value, variable: &str) -> &'a Value {
    let all = container["env"].as_array().unwrap();
    let mut found = all.iter().filter(|known| known["name"] == variable);
    let first = found.next().unwrap();
    assert!(found.next().is_none(), "{variable} is there twice");
    &first["value"]
}

#[tokio::test]
async fn an_injected_sidecar_is_the_one_that_the_charts_template_makes() {
    for values in [
        &[][..],
        &[
            "cutline.tls.clientSecret=c",
            "cutline.tls.clientCertificates=true",
        ],
    ] {
        let webhook = Webhook::start(values).await;
        let secret = ["cutline.tls.existingSecret=t"];
        let rendered = render("bank", None, &[&secret, values].concat()).unwrap();
        let deployment = of_kind(&rendered, "Deployment")
            .into_iter()
            .find(|deployment| deployment["metadata"]["name"] == "shop-bank-b")
            .unwrap();
        let by_chart = serde_json::to_value(&deployment["spec"]["template"]).unwrap();

        // The same application without its sidecar.
        let mut spec = by_chart["spec"].clone();
        spec.as_object_mut().unwrap().remove("initContainers");
        let volumes = spec["volumes"].as_array_mut().unwrap();
        volumes.retain(|volume| volume["name"] == "state");
        spec["containers"][0]["env"][0]["value"] = json!("kafka:9092");
        let pod = annotated(
            &[
                ("inject", "true"),
                ("service", "bank-b"),
                ("instance", "0"),
                ("state", "dir:/var/lib/bank/state?scope=service"),
                ("volumes", "state"),
                ("bootstrap-variable", "BANK_BOOTSTRAP"),
            ],
            spec,
        );
        let made = webhook.injected(&pod).await;
        let (made_sidecar, sidecar) = (
            &made["spec"]["initContainers"][0],
            &by_chart["spec"]["initContainers"][0],
        );
        assert_eq!(in_order(made_sidecar), in_order(sidecar));
        assert_eq!(made["spec"]["volumes"], by_chart["spec"]["volumes"]);
        assert_eq!(made["spec"]["containers"], by_chart["spec"]["containers"]);
        assert_eq!(made["metadata"]["labels"]["cutline.dev/client"], "true");
        for kubernetes in KUBERNETES {
            conform(&made.to_string(), kubernetes).unwrap();
        }
    }
}

#[tokio::test]
async fn reviews_are_answered_for_every_kind_of_pod() {
    let webhook = Webhook::start(&[]).await;
    let image = |name: &str| json!({"name": name, "image": "orders:1"});
    let annotations = [
        ("inject", "true"),
        ("service", "orders"),
        ("bootstrap-variable", "KAFKA"),
        ("hook", "http://127.0.0.1:8080"),
        ("state-secret", "orders-db/address"),
        ("volumes", "data"),
    ];
    let mut migrate = image("migrate");
    migrate["env"] = json!([{"name": "KAFKA", "valueFrom": {"configMapKeyRef": {"name": "kafka", "key": "servers"}}}]);
    let mut app = image("app");
    app["env"] = json!([{"name": "A", "value": "1"}, {"name": "KAFKA", "value": "kafka:9092"}]);
    app["volumeMounts"] = json!([{"name": "data", "mountPath": "/data", "readOnly": true}]);
    // It has the variable from a ConfigMap, if at all.
    let mut helper = image("helper");
    helper["envFrom"] = json!([{"configMapRef": {"name": "kafka"}}]);
    let spec = json!({
        "initContainers": [migrate, image("chown")],
        "containers": [app, helper],
        "volumes": [{"name": "data", "emptyDir": {}}],
    });
    let pod = annotated(&annotations, spec);
    let made = webhook.injected(&pod).await;

    let before = made["spec"]["initContainers"].as_array().unwrap();
    let names: Vec<&str> = before
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(names, ["cutline-sidecar", "migrate", "chown"]);
    assert_eq!(before[0]["restartPolicy"], "Always");
    assert_eq!(value_of(&before[0], "CUTLINE_SERVICE"), "orders");
    assert_eq!(
        value_of(&before[0], "CUTLINE_CAPTURE"),
        "hook=http://127.0.0.1:8080"
    );
    let mounts = before[0]["volumeMounts"].as_array().unwrap();
    assert!(
        mounts.contains(&json!({"name": "data", "mountPath": "/data"})),
        "{mounts:?}"
    );
    let kafka = json!("127.0.0.1:19092");
    assert_eq!(value_of(&before[1], "KAFKA"), &kafka);
    assert!(before[2]["env"].is_null());
    for container in made["spec"]["containers"].as_array().unwrap() {
        assert_eq!(value_of(container, "KAFKA"), &kafka);
    }
    assert_eq!(value_of(&made["spec"]["containers"][0], "A"), "1");
    conform(&made.to_string(), KUBERNETES[0]).unwrap();

    // Asked again, as after another webhook's change, nothing changes; a container that came meanwhile finds Kafka too.
    let again = webhook.review("CREATE", &made).await;
    assert_eq!(
        (&again["allowed"], &again["patch"]),
        (&json!(true), &Value::Null)
    );
    let mut more = made.clone();
    more["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(image("late"));
    let more = webhook.injected(&more).await;
    assert_eq!(value_of(&more["spec"]["containers"][2], "KAFKA"), &kafka);
    assert_eq!(
        more["spec"]["initContainers"],
        made["spec"]["initContainers"]
    );

    // Pods that are there already, and pods that do not ask, stay as they are.
    let update = webhook.review("UPDATE", &pod).await;
    assert_eq!(
        (&update["allowed"], &update["patch"]),
        (&json!(true), &Value::Null)
    );
    let silent = annotated(
        &[("inject", "false")],
        json!({"containers": [image("app")]}),
    );
    assert_eq!(webhook.injected(&silent).await, silent);

    // Whoever names no variable is warned: the application may already know.
    let wordless = annotated(
        &[("inject", "true"), ("service", "a")],
        json!({"containers": [image("app")]}),
    );
    let response = webhook.review("CREATE", &wordless).await;
    assert!(
        response["warnings"][0]
            .as_str()
            .unwrap()
            .contains("127.0.0.1:19092"),
        "{response}"
    );
    let made = patched(&wordless, &response);
    assert!(made["spec"]["containers"][0]["env"].is_null());
}

#[tokio::test]
async fn a_pod_that_cannot_have_what_it_asks_for_is_refused_in_words() {
    let webhook = Webhook::start(&[]).await;
    let spec = json!({"containers": [{"name": "app", "image": "a:1"}]});
    let in_the_nodes_network =
        json!({"hostNetwork": true, "containers": [{"name": "app", "image": "a:1"}]});
    for (annotation, spec, words) in [
        (("volumes", "data"), &spec, "CL0411"),
        (("service", "a"), &in_the_nodes_network, "CL0411"),
        (
            ("sate", "dir:/x"),
            &spec,
            "CL0410 the annotation cutline.dev/sate",
        ),
    ] {
        let pod = annotated(
            &[("inject", "true"), ("service", "orders"), annotation],
            spec.clone(),
        );
        let response = webhook.review("CREATE", &pod).await;
        assert_eq!(response["allowed"], false, "{response}");
        let said = response["status"]["message"].as_str().unwrap();
        assert!(said.contains(words), "{said}");
        assert!(response["patch"].is_null());
    }
    // What is no review is told so, and the API server takes that for a failure.
    let (status, _) = https::ask(
        &webhook.ca,
        webhook.port,
        "POST /v1/inject",
        Some(&json!({})),
    )
    .await
    .unwrap();
    assert!((400..500).contains(&status), "{status}");
}

#[test]
fn the_api_server_is_told_whom_to_ask_and_asks_about_nobody_else() {
    let rendered = render("cutline", Some("everything"), &[]).unwrap();
    let configuration = of_kind(&rendered, "MutatingWebhookConfiguration")[0];
    let webhook = &configuration["webhooks"][0];
    let services = of_kind(&rendered, "Service");
    let service = services
        .into_iter()
        .find(|service| service["metadata"]["name"] == webhook["clientConfig"]["service"]["name"])
        .unwrap();
    // The pods of the admin API itself are made whether it answers or not.
    assert_eq!(service["spec"]["publishNotReadyAddresses"], true);
    let condition = webhook["matchConditions"][0]["expression"]
        .as_str()
        .unwrap();
    assert!(condition.contains("cutline.dev/inject"), "{condition}");
    assert_eq!(webhook["failurePolicy"], "Ignore");
    assert_eq!(webhook["rules"][0]["operations"][0], "CREATE");
    assert_eq!(
        webhook["namespaceSelector"]["matchLabels"]["example.com/money"],
        "true"
    );
    let names = &of_kind(&rendered, "Certificate")[0]["spec"]["dnsNames"];
    assert!(
        names
            .as_sequence()
            .unwrap()
            .contains(&"shop-cutline-inject.money.svc".into())
    );

    let on = [
        "tls.existingSecret=t",
        "inject.enabled=true",
        "inject.caBundle=eA==",
    ];
    let rendered = render("cutline", Some("minimal"), &on).unwrap();
    let webhook = &of_kind(&rendered, "MutatingWebhookConfiguration")[0]["webhooks"][0];
    assert_eq!(webhook["clientConfig"]["caBundle"], "eA==");
    assert_eq!(webhook["failurePolicy"], "Fail");
    let namespace = &webhook["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"];
    assert_eq!(namespace, "money");
    for (values, words) in [
        (&on[1..], "needs TLS"),
        (&on[..2], "inject.caBundle is needed"),
    ] {
        let error = render("cutline", Some("minimal"), values).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}
