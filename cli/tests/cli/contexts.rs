//! What contexts promise: an installation has a name, its token goes to nobody else, and what is said explicitly wins.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Canned, Done, done, ok, program};

struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory can be made"))
    }

    /// Runs `cutline` with the words of `line` and these variables.
    async fn cutline(&self, line: &str, variables: &[(&str, &str)]) -> Done {
        let mut command = program();
        command
            .args(line.split_whitespace())
            .env("XDG_CONFIG_HOME", self.0.path())
            .envs(variables.iter().copied());
        done(command).await
    }
}

async fn installation(name: &str) -> Canned {
    let who = json!({"name": name, "role": "viewer", "version": "1", "leading": true});
    Canned::start([("GET /v1/whoami", vec![ok(who)])]).await
}

#[tokio::test]
async fn the_context_in_use_says_where_the_admin_api_is_and_what_is_explicit_wins() {
    let (prod, test) = (installation("of-prod").await, installation("of-test").await);
    let home = Home::new();
    let add = format!("context add prod --admin {} -o json", prod.url);
    home.cutline(&add, &[]).await.exits(0);
    let add = format!("context add test --admin {}", test.url);
    home.cutline(&add, &[]).await.exits(0);
    // The first one is used; it writes JSON.
    let told = home.cutline("whoami", &[]).await;
    assert_eq!(told.exits(0).json()["name"], "of-prod");
    let told = home.cutline("--context test whoami -o json", &[]).await;
    assert_eq!(told.exits(0).json()["name"], "of-test");
    let told = home.cutline("whoami", &[("CUTLINE_CONTEXT", "test")]).await;
    assert!(told.exits(0).stdout.contains("of-test"), "{told:?}");
    let told = home
        .cutline("whoami", &[("CUTLINE_ADMIN", &test.url)])
        .await;
    assert_eq!(told.exits(0).json()["name"], "of-test");
    home.cutline("context use test", &[]).await.exits(0);
    let told = home.cutline("whoami", &[]).await;
    assert!(told.exits(0).stdout.contains("test (http://"), "{told:?}");
    let list = home
        .cutline("context list -o json", &[])
        .await
        .exits(0)
        .json();
    assert_eq!(list["current"], "test");
    home.cutline("context remove test", &[]).await.exits(0);
    let wrong = home.cutline("--context test whoami", &[]).await;
    assert!(
        wrong.exits(2).stderr.contains("there are prod"),
        "{wrong:?}"
    );
}

#[tokio::test]
async fn a_context_keeps_no_token_and_its_token_goes_to_its_own_admin_api_only() {
    let (own, other) = (installation("own").await, installation("other").await);
    let home = Home::new();
    let token = home.0.path().join("token");
    std::fs::write(&token, "s3cret\n").expect("it can be written");
    let add = format!(
        "context add prod --admin {} --token-file {}",
        own.url,
        token.display()
    );
    home.cutline(&add, &[]).await.exits(0);
    let file = home.0.path().join("cutline/contexts.yaml");
    let kept = std::fs::read_to_string(&file).expect("it was written");
    assert!(
        kept.contains("token-file") && !kept.contains("s3cret"),
        "{kept}"
    );
    let mode = std::fs::metadata(&file)
        .expect("it was written")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    home.cutline("whoami", &[]).await.exits(0);
    home.cutline("whoami", &[("CUTLINE_ADMIN", &other.url)])
        .await
        .exits(0);
    assert_eq!(own.tokens(), [Some("Bearer s3cret".to_owned())]);
    assert_eq!(other.tokens(), [None]);
}

#[tokio::test]
async fn what_is_wrong_with_contexts_is_said_with_what_to_do() {
    let home = Home::new();
    let done = home.cutline("context add prod", &[]).await;
    assert!(done.exits(2).stderr.contains("--admin URL"), "{done:?}");
    let done = home.cutline("context show", &[]).await;
    assert!(
        done.exits(1).stderr.contains("context add NAME"),
        "{done:?}"
    );
    let add = "context add prod --admin http://h:1";
    home.cutline(add, &[]).await.exits(0);
    let done = home.cutline(add, &[]).await;
    assert!(done.exits(1).stderr.contains("--replace"), "{done:?}");
    let file = home.0.path().join("cutline/contexts.yaml");
    std::fs::write(&file, "contexts: {prod: {admin: x, tokenfile: y}}").expect("it can be written");
    let done = home.cutline("whoami", &[]).await;
    let stderr = &done.exits(2).stderr;
    assert!(
        stderr.contains("tokenfile") && stderr.contains("token-file"),
        "{stderr}"
    );
}
