//! Values that mean nothing are refused when the chart is rendered, not when a pod does not start.

use crate::render::render;

#[test]
fn what_means_nothing_is_refused_and_named() {
    for (value, part) in [
        ("replicas=2", "replicas"),
        ("admin.replica=2", "replica"),
        ("admin.replicas=0", "replicas"),
        ("admin.port=80", "port"),
        ("checkpoint.mode=fast", "mode"),
        ("checkpoint.interval=30", "interval"),
        ("checkpoint.retries=-1", "retries"),
        ("retention.keepLast=0", "keepLast"),
        ("kafka.bootstrap=kafka", "bootstrap"),
        ("kafka.settings.sasl\\.password=x", "sasl.password"),
        ("store.type=gcs", "type"),
        ("store.type=s3", "bucket"),
        ("store.s3.endpoint=minio:9000", "endpoint"),
        ("store.s3.secretAccessKey=x", "secretAccessKey"),
        ("store.s3.kmsKey=x", "sse"),
        ("redis.url=redis://me:word@redis:6379", "url"),
        ("redis.password=word", "password"),
        ("auth.existingSecret=tokens", "auth"),
        ("auth.token=word", "token"),
        ("tls.enabled=true", "enabled"),
        ("tls.certManager.duration=90d", "duration"),
        ("tls.certManager.issuer.name=My Issuer", "name"),
        ("ingress.enabled=true", "host"),
        ("sidecar.runAsUser=0", "runAsUser"),
        ("sidecar.adminUrl=cutline:7070", "adminUrl"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("deployment=a b", "deployment"),
        ("bogus=1", "bogus"),
    ] {
        let error = render("cutline", Some("minimal"), &[value]).expect_err(value);
        assert!(
            error.contains(part) && error.contains("schema"),
            "{value}: {error}"
        );
    }
}

#[test]
fn redis_is_given_one_way_only() {
    let both = ["redis.url=redis://redis:6379", "redis.existingSecret=r"];
    render("cutline", Some("minimal"), &both).unwrap_err();
    for one in both {
        render("cutline", Some("minimal"), &[one]).unwrap();
    }
}

#[test]
fn who_may_do_what_has_to_be_said() {
    let silent = ["kafka.bootstrap=kafka:9092"];
    let error = render("cutline", None, &silent).unwrap_err();
    assert!(error.contains("auth.existingSecret is needed"), "{error}");
    for said in ["auth.existingSecret=tokens", "auth.unauthenticated=true"] {
        render("cutline", None, &[silent[0], said]).unwrap();
    }
}

#[test]
fn what_tls_lacks_is_named() {
    for (values, part) in [
        (&["tls.clientCertificates=true"][..], "needs TLS"),
        (&["tls.certManager.enabled=true"], "issuer.name is needed"),
        (
            &["tls.existingSecret=a", "tls.certManager.enabled=true"],
            "schema",
        ),
    ] {
        let error = render("cutline", Some("minimal"), values).unwrap_err();
        assert!(error.contains(part), "{values:?}: {error}");
    }
}

#[test]
fn values_are_refused_inside_another_chart_too() {
    let error = render("bank", None, &["cutline.admin.replica=2"]).unwrap_err();
    assert!(error.contains("replica"), "{error}");
}

#[test]
fn a_chart_without_brokers_says_what_it_lacks() {
    let error = render("cutline", None, &[]).unwrap_err();
    assert!(error.contains("kafka.bootstrap is needed"), "{error}");
}
