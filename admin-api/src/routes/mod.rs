//! The REST interface: every route, what it takes and answers, and the description of it.
//!
//! A handler reads a request, asks a part, and shapes an answer; it decides nothing. Whatever is wrong is answered as a
//! problem with a code.

pub mod body;
mod checkpoints;
mod cluster;
mod diagnosis;
mod docs;
mod events;
mod observed;
mod openapi;
mod probes;
mod restores;
mod schedule;
mod whoami;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{Method, Uri},
    middleware::from_fn_with_state,
    routing::{MethodRouter, delete, get, post, put},
};

use observed::observe;

use crate::{
    access::{Gate, Guard, Need, Pace, Role, pass},
    dashboard, link,
    problem::{METHOD_NOT_ALLOWED, NOT_FOUND, Problem},
    ready::Shell,
};

pub use cluster::{connected, knows_sidecars, owners, sidecar_views};

/// The largest request body, in bytes: requests are a few fields.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Looking at something.
const LOOK: Need = Need::AtLeast(Role::Viewer);
/// Doing what costs applications a pause at most.
const OPERATE: Need = Need::AtLeast(Role::Operator);
/// Doing what cannot be undone.
const RULE: Need = Need::AtLeast(Role::Admin);

/// One path: its methods with who may use them, and what answers.
type Row = (
    &'static str,
    &'static [(&'static str, Need)],
    MethodRouter<Shell>,
);

/// Every path. The description lists the same ones, which a test sees to.
fn table() -> Vec<Row> {
    let mut table = checkpoints_table();
    table.extend(restores_table());
    table.extend(cluster_table());
    table.extend(open_table());
    table
}

fn checkpoints_table() -> Vec<Row> {
    vec![
        (
            "/v1/checkpoints",
            &[("get", LOOK), ("post", OPERATE)],
            get(checkpoints::list).post(checkpoints::create),
        ),
        (
            "/v1/checkpoints/latest",
            &[("get", LOOK)],
            get(checkpoints::latest),
        ),
        (
            "/v1/checkpoints/prune",
            // What would be deleted everyone may see who may look; who may delete it, the handler says.
            &[("post", LOOK)],
            post(checkpoints::prune),
        ),
        (
            "/v1/checkpoints/{epoch}",
            &[("get", LOOK), ("delete", RULE)],
            get(checkpoints::detail).delete(checkpoints::remove),
        ),
        (
            "/v1/checkpoints/{epoch}/verify",
            &[("post", OPERATE)],
            post(checkpoints::verify),
        ),
        (
            "/v1/checkpoints/{epoch}/abort",
            &[("post", OPERATE)],
            post(checkpoints::abort),
        ),
        (
            "/v1/schedule",
            &[("get", LOOK), ("put", OPERATE)],
            get(schedule::show).merge(put(schedule::set)),
        ),
    ]
}

fn restores_table() -> Vec<Row> {
    vec![
        (
            "/v1/restores",
            &[("get", LOOK), ("post", RULE)],
            get(restores::list).post(restores::create),
        ),
        ("/v1/restores/{id}", &[("get", LOOK)], get(restores::detail)),
        (
            "/v1/restores/{id}/abort",
            &[("post", RULE)],
            post(restores::abort),
        ),
    ]
}

fn cluster_table() -> Vec<Row> {
    vec![
        ("/v1/topology", &[("get", LOOK)], get(cluster::topology)),
        ("/v1/services", &[("get", LOOK)], get(cluster::services)),
        (
            "/v1/services/{service}",
            &[("delete", RULE)],
            delete(cluster::forget),
        ),
        ("/v1/sidecars", &[("get", LOOK)], get(cluster::sidecars)),
        (
            "/v1/sidecars/connect",
            &[("get", Need::Sidecar)],
            get(link::connect),
        ),
        (
            "/v1/sidecars/{service}/{instance}",
            &[("delete", RULE)],
            delete(cluster::evict),
        ),
        ("/v1/diagnosis", &[("get", LOOK)], get(diagnosis::diagnosis)),
        ("/v1/events", &[("get", LOOK)], get(events::stream)),
        ("/v1/whoami", &[("get", LOOK)], get(whoami::whoami)),
        ("/metrics", &[("get", LOOK)], get(probes::metrics)),
    ]
}

fn open_table() -> Vec<Row> {
    vec![
        (
            "/openapi.json",
            &[("get", Need::Nothing)],
            get(docs::openapi),
        ),
        ("/docs", &[("get", Need::Nothing)], get(docs::page)),
        ("/", &[("get", Need::Nothing)], get(dashboard::from_root)),
        (
            "/dashboard",
            &[("get", Need::Nothing)],
            get(dashboard::from_bare),
        ),
        (
            "/dashboard/",
            &[("get", Need::Nothing)],
            get(dashboard::page),
        ),
        (
            "/dashboard/{file}",
            &[("get", Need::Nothing)],
            get(dashboard::file),
        ),
        ("/healthz", &[("get", Need::Nothing)], get(probes::healthz)),
        ("/readyz", &[("get", Need::Nothing)], get(probes::readyz)),
    ]
}

/// The whole interface, behind `guard`.
pub fn router(shell: Shell, guard: &Guard) -> Router {
    let (mut router, pace) = (Router::new(), Pace::default());
    for (path, needs, methods) in table() {
        let gate = Gate::new(guard.clone(), pace.clone(), needs);
        let metrics = shell.metrics().clone();
        let seen = observed::Route { path, metrics };
        let methods = methods.layer(from_fn_with_state(gate, pass));
        router = router.route(path, methods.layer(from_fn_with_state(seen, observe)));
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shell)
}

async fn not_found(uri: Uri) -> Problem {
    let detail = format!(
        "there is nothing under {}; GET /docs lists what there is",
        uri.path()
    );
    Problem::new(NOT_FOUND, detail)
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail = format!(
        "{} does not take {method}; GET /docs lists what it takes",
        uri.path()
    );
    Problem::new(METHOD_NOT_ALLOWED, detail)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    async fn serve() -> String {
        serve_behind(Guard::default()).await
    }

    async fn serve_behind(guard: Guard) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = router(Shell::default(), &guard);
        tokio::spawn(async move { axum::serve(listener, router).await });
        address.to_string()
    }

    /// One request over a socket of its own; the status, the headers and the body.
    async fn ask(address: &str, request: &str) -> (u16, String, String) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    fn get_of(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    }

    #[test]
    fn the_description_lists_every_route_and_no_other() {
        let description: Value = serde_json::from_str(&openapi::json()).unwrap();
        let listed: BTreeSet<(String, String)> = description["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().keys();
                methods.map(move |method| (path.clone(), method.clone()))
            })
            .collect();
        let routed: BTreeSet<(String, String)> = table()
            .iter()
            .flat_map(|(path, methods, _)| {
                methods
                    .iter()
                    .map(move |(method, _)| ((*path).to_owned(), (*method).to_owned()))
            })
            .collect();
        assert_eq!(listed, routed);
    }

    #[tokio::test]
    async fn before_its_parts_are_there_it_lives_and_is_not_ready() {
        let address = serve().await;
        assert_eq!(ask(&address, &get_of("/healthz")).await.0, 200);
        let (status, head, body) = ask(&address, &get_of("/readyz")).await;
        assert_eq!(status, 503);
        assert!(head.contains("retry-after: 1"), "{head}");
        assert!(
            head.contains("content-type: application/problem+json"),
            "{head}"
        );
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["code"], "CL0200");
        assert_eq!(ask(&address, &get_of("/v1/checkpoints")).await.0, 503);
    }

    #[tokio::test]
    async fn with_tokens_only_probes_the_description_and_the_dashboards_files_answer_everyone() {
        let list = tempfile::NamedTempFile::new().unwrap();
        let hash = "0".repeat(64);
        let entry = format!(r#"{{"name": "a", "role": "viewer", "sha256": "{hash}"}}"#);
        std::fs::write(list.path(), format!("{{\"tokens\": [{entry}]}}")).unwrap();
        let guard = Guard::over(Some(list.path().to_owned())).unwrap();
        let address = serve_behind(guard).await;
        let mut answered = BTreeSet::new();
        for (path, methods, _) in table() {
            for (method, _) in methods {
                let path = path.replace(['{', '}'], "");
                let request = get_of(&path).replacen("GET", &method.to_uppercase(), 1);
                let (status, head, body) = ask(&address, &request).await;
                if status == 401 {
                    assert!(head.contains("www-authenticate: bearer"), "{head}");
                    assert!(body.contains("CL0218"), "{body}");
                } else {
                    answered.insert(path);
                }
            }
        }
        let open = [
            "/",
            "/dashboard",
            "/dashboard/",
            "/dashboard/file",
            "/docs",
            "/healthz",
            "/openapi.json",
            "/readyz",
        ];
        assert_eq!(answered, open.map(str::to_owned).into());
    }

    #[tokio::test]
    async fn unknown_paths_and_methods_are_problems_too() {
        let address = serve().await;
        let (status, _, body) = ask(&address, &get_of("/v1/checkpoint")).await;
        assert_eq!((status, body.contains("CL0205")), (404, true));
        let delete = "DELETE /v1/schedule HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let (status, _, body) = ask(&address, delete).await;
        assert_eq!((status, body.contains("CL0206")), (405, true));
    }

    #[tokio::test]
    async fn people_find_every_route_on_one_page_that_asks_for_nothing_else() {
        let address = serve().await;
        let (status, _, page) = ask(&address, &get_of("/docs")).await;
        assert_eq!(status, 200);
        for (path, ..) in table() {
            assert!(page.contains(&format!("<code>{path}</code>")), "{path}");
        }
        assert!(
            !page.contains("http://") && !page.contains("https://") && !page.contains("<script")
        );
        assert_eq!(ask(&address, &get_of("/openapi.json")).await.0, 200);
        assert!(ask(&address, &get_of("/metrics")).await.2.contains("# EOF"));
    }
}
