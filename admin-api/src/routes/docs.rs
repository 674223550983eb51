//! The description of the interface, for programs and for people.

use std::sync::LazyLock;

use axum::{
    http::header,
    response::{Html, IntoResponse, Response},
};
use serde_json::Value;

use super::openapi;

static DESCRIPTION: LazyLock<String> = LazyLock::new(openapi::json);
static PAGE: LazyLock<String> = LazyLock::new(|| render(&DESCRIPTION));

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1c2430}\
h1{font-size:1.6rem}h2{font-size:1.1rem;margin-top:2rem;text-transform:capitalize}\
table{border-collapse:collapse;width:100%}td{border-top:1px solid #d6dbe1;padding:.4rem .6rem;vertical-align:top}\
td:first-child{width:4.5rem;font-weight:600;text-transform:uppercase}td:nth-child(2){width:22rem}\
small{color:#55606e}@media(prefers-color-scheme:dark){body{background:#14181d;color:#e3e7ec}td{border-color:#333b45}small{color:#9aa5b1}}";

/// This description
#[utoipa::path(get, path = "/openapi.json", tag = "description", responses((status = 200, description = "OpenAPI 3.1")))]
pub async fn openapi() -> Response {
    let kind = "application/json";
    ([(header::CONTENT_TYPE, kind)], DESCRIPTION.as_str()).into_response()
}

/// This description, for people
#[utoipa::path(get, path = "/docs", tag = "description", responses((status = 200, description = "HTML")))]
pub async fn page() -> Html<&'static str> {
    Html(PAGE.as_str())
}

/// One page, made of nothing but the description.
fn render(description: &str) -> String {
    let description: Value =
        serde_json::from_str(description).expect("the description was written as JSON");
    let mut by_tag: std::collections::BTreeMap<String, Vec<String>> = Default::default();
    let paths = description["paths"].as_object().into_iter().flatten();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let text = |field: &str| escape(operation[field].as_str().unwrap_or_default());
            let row = format!(
                "<tr><td>{method}</td><td><code>{}</code></td><td>{}<br><small>{}</small></td></tr>",
                escape(path),
                text("summary"),
                text("description"),
            );
            let tag = operation["tags"][0].as_str().unwrap_or("other");
            by_tag.entry(tag.to_owned()).or_default().push(row);
        }
    }
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Cutline admin API</title><style>{STYLE}</style>\
         <h1>Cutline admin API {}</h1><p>JSON in and out; errors are problem documents with a stable code. \
         Every field is described in <a href=\"/openapi.json\">/openapi.json</a>.</p>",
        escape(description["info"]["version"].as_str().unwrap_or_default()),
    );
    for (tag, rows) in by_tag {
        page.push_str(&format!(
            "<h2>{}</h2><table>{}</table>",
            escape(&tag),
            rows.concat()
        ));
    }
    page.push_str("</html>\n");
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
