//! TLS by the chart: everybody who speaks to the admin API is told of it, and has what it takes.

use serde_yaml_ng::Value;

use crate::render::{containers, of_kind, render, variable};

/// The Secret that a volume of a pod is, and where a container has it.
fn secret_of(pod: &Value, container: &Value, mounted_at: &str) -> Value {
    let mounts = container["volumeMounts"].as_sequence().unwrap();
    let mount = mounts
        .iter()
        .find(|mount| mount["mountPath"] == mounted_at)
        .unwrap();
    let volumes = pod["spec"]["volumes"].as_sequence().unwrap();
    let volume = volumes
        .iter()
        .find(|volume| volume["name"] == mount["name"])
        .unwrap();
    volume["secret"]["secretName"].clone()
}

#[test]
fn the_admin_api_is_asked_over_tls_by_kubelet_prometheus_and_the_helm_test() {
    let rendered = render("cutline", Some("everything"), &[]).unwrap();
    let pod = &of_kind(&rendered, "Deployment")[0]["spec"]["template"];
    let admin = containers(pod)[0];
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(admin[probe]["httpGet"]["scheme"], "HTTPS");
    }
    assert_eq!(
        secret_of(pod, admin, "/etc/cutline-tls"),
        "shop-cutline-tls"
    );

    let endpoint = &of_kind(&rendered, "ServiceMonitor")[0]["spec"]["endpoints"][0];
    assert_eq!(endpoint["scheme"], "https");
    let tls = &endpoint["tlsConfig"];
    assert_eq!(tls["serverName"], "shop-cutline.money.svc");
    assert_eq!(tls["keySecret"]["name"], "shop-cutline-client-tls");

    let pod = &of_kind(&rendered, "Job")[0]["spec"]["template"];
    let asking = containers(pod)[0];
    let address = variable(asking, "CUTLINE_ADMIN").unwrap();
    assert_eq!(address["value"], "https://shop-cutline.money.svc:7070");
    let secret = secret_of(pod, asking, "/etc/cutline-tls");
    assert_eq!(secret, "shop-cutline-client-tls");
}

#[test]
fn cert_manager_makes_what_the_pods_mount_for_the_names_that_are_dialled() {
    let rendered = render("cutline", Some("everything"), &[]).unwrap();
    let certificates = of_kind(&rendered, "Certificate");
    let [server, client] = certificates[..] else {
        panic!("{certificates:?}");
    };
    assert_eq!(server["spec"]["secretName"], "shop-cutline-tls");
    assert_eq!(client["spec"]["secretName"], "shop-cutline-client-tls");
    let names = server["spec"]["dnsNames"].as_sequence().unwrap();
    for name in ["shop-cutline.money.svc", "localhost", "cutline.example.com"] {
        assert!(names.contains(&Value::from(name)), "{name}: {names:?}");
    }
    let issuer = &client["spec"]["issuerRef"];
    assert_eq!(
        (&issuer["name"], &issuer["kind"]),
        (&"money".into(), &"ClusterIssuer".into())
    );
}

#[test]
fn a_sidecar_shows_a_certificate_only_where_one_is_asked_for() {
    let secrets = ["cutline.tls.existingSecret=a", "cutline.tls.clientSecret=b"];
    let asked = [&secrets[..], &["cutline.tls.clientCertificates=true"]].concat();
    for (values, shows) in [(&secrets[..], false), (&asked, true)] {
        let rendered = render("bank", None, values).unwrap();
        let pod = of_kind(&rendered, "Deployment")
            .into_iter()
            .map(|deployment| &deployment["spec"]["template"])
            .find(|pod| !pod["spec"]["initContainers"].is_null())
            .unwrap();
        let sidecar = &pod["spec"]["initContainers"][0];
        let admin = variable(sidecar, "CUTLINE_ADMIN").unwrap();
        assert_eq!(admin["value"], "https://shop-cutline.money.svc:7070");
        assert!(variable(sidecar, "CUTLINE_TLS_CA").is_some());
        assert_eq!(variable(sidecar, "CUTLINE_TLS_KEY").is_some(), shows);
        assert_eq!(secret_of(pod, sidecar, "/etc/cutline-tls"), "b");
    }
}

#[test]
fn without_tls_nothing_speaks_of_it() {
    let rendered = render("bank", None, &[]).unwrap();
    let text = serde_yaml_ng::to_string(&rendered).unwrap();
    assert!(
        !text.contains("cutline-tls") && !text.contains("CUTLINE_TLS") && !text.contains("https")
    );
}
