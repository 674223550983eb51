//! Everything that the admin API does for people can be asked for on the command line.

use std::collections::BTreeSet;

use integration_tests::{Admin, AdminOptions, Kafka, topics::unique_name};

/// Every route with the words that ask for it; no words where it is not meant for a person's command.
const ROUTES: &[(&str, &str, &str)] = &[
    ("get", "/v1/checkpoints", "checkpoint list"),
    ("post", "/v1/checkpoints", "checkpoint create"),
    ("post", "/v1/checkpoints/prune", "checkpoint prune"),
    ("get", "/v1/checkpoints/latest", "checkpoint latest"),
    ("get", "/v1/checkpoints/{epoch}", "checkpoint describe"),
    ("delete", "/v1/checkpoints/{epoch}", "checkpoint delete"),
    (
        "post",
        "/v1/checkpoints/{epoch}/verify",
        "checkpoint verify",
    ),
    ("post", "/v1/checkpoints/{epoch}/abort", "checkpoint abort"),
    ("get", "/v1/schedule", "schedule show"),
    ("put", "/v1/schedule", "schedule set"),
    ("get", "/v1/restores", "restore list"),
    ("post", "/v1/restores", "restore create"),
    ("get", "/v1/restores/{id}", "restore describe"),
    ("post", "/v1/restores/{id}/abort", "restore abort"),
    ("get", "/v1/topology", "topology"),
    ("get", "/v1/services", "services"),
    ("delete", "/v1/services/{service}", "services forget"),
    ("get", "/v1/sidecars", "sidecars"),
    (
        "delete",
        "/v1/sidecars/{service}/{instance}",
        "sidecars evict",
    ),
    ("get", "/v1/events", "events"),
    ("get", "/v1/diagnosis", "doctor"),
    ("get", "/v1/whoami", "whoami"),
    // Sidecars connect here.
    ("get", "/v1/sidecars/connect", ""),
    // Prometheus, probes, browsers and generators of clients.
    ("get", "/metrics", ""),
    ("get", "/healthz", ""),
    ("get", "/readyz", ""),
    ("get", "/openapi.json", ""),
    ("get", "/docs", ""),
    ("get", "/", ""),
    ("get", "/dashboard", ""),
    ("get", "/dashboard/", ""),
    ("get", "/dashboard/{file}", ""),
];

#[tokio::test]
async fn every_route_for_people_has_a_command() {
    let kafka = Kafka::shared().await;
    let deployment = unique_name("verbs");
    let options = AdminOptions {
        arguments: vec!["--deployment".to_owned(), deployment],
        ..AdminOptions::over(&kafka.bootstrap())
    };
    let admin = Admin::start(&options).await;
    let (_, description) = admin.get("/openapi.json").await;
    let paths = description["paths"].as_object().expect("paths");
    let described: BTreeSet<(&str, &str)> = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(move |method| (method.as_str(), path.as_str()))
        })
        .collect();
    let known: BTreeSet<(&str, &str)> = ROUTES
        .iter()
        .map(|(method, path, _)| (*method, *path))
        .collect();
    assert_eq!(
        described, known,
        "a route is new or gone: give it its words here"
    );
    for (_, path, words) in ROUTES.iter().filter(|(_, _, words)| !words.is_empty()) {
        let mut arguments: Vec<&str> = words.split(' ').collect();
        arguments.push("--help");
        let done = admin.cutline(&arguments).await;
        assert!(done.status.success(), "{path}: cutline {words}: {done:?}");
    }
}
