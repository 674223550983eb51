//! The dashboard's files, served from within the program: a page, its styles, its modules, and what error codes mean.
//!
//! It promises that a browser takes them for nothing but what they are, runs no script that is not one of them, asks nobody else
//! for anything, and shows them in no frame. They need no token: what they show is asked of the REST interface by the
//! browser, with the token of the person before it. It knows nothing of checkpoints.

mod codes;
mod files;

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cutline_client::ProblemDetails;
use sha2::{Digest, Sha256};

use crate::problem::{NOT_FOUND, Problem};
use codes::CODES;
use files::{FILES, PAGE};

/// The file that is made of the documentation.
const CODES_FILE: &str = "codes.json";

/// What a browser may do with these files: run and load them, speak to where they came from, and nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers of every answer. A browser asks each time whether a file has changed: an upgrade is never half seen.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
];

/// One file.
#[derive(Clone, Copy, Debug)]
struct File {
    name: &'static str,
    kind: &'static str,
    body: &'static str,
}

/// One file with the tag that changes with it.
#[derive(Debug)]
struct Tagged {
    file: File,
    tag: HeaderValue,
}

static TAGGED: LazyLock<Vec<Tagged>> = LazyLock::new(|| {
    let codes = File {
        name: CODES_FILE,
        kind: "application/json",
        body: CODES.as_str(),
    };
    let all = FILES.iter().copied().chain([codes]);
    all.map(|file| Tagged {
        tag: tag(file.body),
        file,
    })
    .collect()
});

/// To the dashboard
#[utoipa::path(get, path = "/", tag = "dashboard", responses((status = 307, description = "to /dashboard/")))]
pub async fn from_root() -> Response {
    to_page()
}

/// To the dashboard
#[utoipa::path(get, path = "/dashboard", tag = "dashboard", responses((status = 307, description = "to /dashboard/")))]
pub async fn from_bare() -> Response {
    to_page()
}

/// The dashboard
///
/// A page for people: what runs, checkpoints, rolling back.
#[utoipa::path(get, path = "/dashboard/", tag = "dashboard", responses((status = 200, description = "HTML")))]
pub async fn page(headers: HeaderMap) -> Result<Response, Problem> {
    answer(PAGE, &headers)
}

/// A file of the dashboard
#[utoipa::path(
    get, path = "/dashboard/{file}", tag = "dashboard",
    params(("file" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "the file"),
        (status = 304, description = "it has not changed"),
        (status = 404, description = "there is none", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn file(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    answer(&name, &headers)
}

/// Relative, as everything the page asks for, so that a proxy may serve it below a path of its own.
fn to_page() -> Response {
    let to = [(header::LOCATION, "dashboard/")];
    (StatusCode::TEMPORARY_REDIRECT, to).into_response()
}

fn answer(name: &str, asked: &HeaderMap) -> Result<Response, Problem> {
    let found = TAGGED.iter().find(|tagged| tagged.file.name == name);
    let found = found.ok_or_else(|| {
        Problem::new(
            NOT_FOUND,
            format!("the dashboard has no file {name:?}; it begins at /dashboard/"),
        )
    })?;
    let mut response = if asked.get(header::IF_NONE_MATCH) == Some(&found.tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let kind = [(header::CONTENT_TYPE, found.file.kind)];
        (kind, found.file.body).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, found.tag.clone());
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

fn tag(body: &str) -> HeaderValue {
    let digest = Sha256::digest(body.as_bytes());
    let digits: String = digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    HeaderValue::from_str(&format!("\"{digits}\"")).expect("hexadecimal digits are visible ASCII")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    async fn body_of(response: Response) -> String {
        let body = axum::body::to_bytes(response.into_body(), 1 << 20);
        String::from_utf8(body.await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_file_comes_with_its_kind_and_a_policy_and_is_not_sent_again_unchanged() {
        let first = answer("main.js", &HeaderMap::new()).unwrap();
        let headers = first.headers().clone();
        assert_eq!(
            headers[header::CONTENT_TYPE],
            "text/javascript; charset=utf-8"
        );
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        assert!(body_of(first).await.contains("import"));
        let tag = headers[header::ETAG].clone();
        let again = answer(
            "main.js",
            &HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]),
        );
        let again = again.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert!(body_of(again).await.is_empty());
        let missing = answer("../main.js", &HeaderMap::new()).unwrap_err();
        assert_eq!(missing.code, NOT_FOUND);
    }

    /// What a page or module asks for is served, and nothing is asked for elsewhere.
    #[test]
    fn files_ask_for_each_other_only_and_none_is_left_over() {
        let served: BTreeSet<&str> = FILES.iter().map(|file| file.name).collect();
        let mut asked = BTreeSet::from([PAGE]);
        for file in FILES {
            // The one address that is a name, and is asked by nobody.
            let body = file.body.replace("http://www.w3.org/2000/svg", "");
            assert!(!body.contains("://"), "{} names another place", file.name);
            assert!(
                !file.body.contains("innerHTML"),
                "{} writes HTML",
                file.name
            );
            for quoted in file.body.split('"') {
                let name = quoted.strip_prefix("./").unwrap_or(quoted);
                if let Some(name) = served.get(name) {
                    asked.insert(name);
                }
                assert!(
                    !quoted.starts_with("./") || served.contains(name),
                    "{} asks for {quoted}",
                    file.name
                );
            }
        }
        assert_eq!(asked, served);
    }

    #[test]
    fn files_open_with_what_they_are_and_stay_short() {
        for file in FILES {
            let lines = file.body.lines().count();
            assert!(lines <= 400, "{} has {lines} lines", file.name);
            let opening = ["// ", "/* ", "<!doctype html>", "<svg "];
            assert!(
                opening.iter().any(|opening| file.body.starts_with(opening)),
                "{} opens with nothing about itself",
                file.name
            );
        }
    }
}
