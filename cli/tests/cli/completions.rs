//! What completions and the manual promise: every command is in them, and epochs are those of the admin API.

use serde_json::json;

use crate::support::{Canned, checkpoint, done, ok, program};

fn checkpoints() -> serde_json::Value {
    let spread = json!({"min": 0, "avg": 0, "p50": 0, "p99": 0, "max": 0});
    json!({
        "counts": {"total": 2, "in_progress": 0, "completed": 1, "failed": 1, "restored": 0},
        "latest": {"completed": null, "failed": null, "savepoint": null, "restored": null},
        "summary": {"duration_ms": spread, "pause_ms": spread, "state_size": spread, "bytes_uploaded": spread},
        "history": [checkpoint(41, "COMPLETED", json!({})), checkpoint(40, "FAILED", json!({}))],
    })
}

/// Has a real bash load the script and complete the words of `line`.
async fn completed_by_bash(url: &str, line: &str) -> String {
    let words: Vec<String> = line.split(' ').map(|word| format!("'{word}'")).collect();
    let script = format!(
        "source <(cutline completions bash)
         complete -p cutline >/dev/null || exit 9
         COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9
         _clap_complete_cutline cutline \"${{COMP_WORDS[COMP_CWORD]}}\" ''
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words.len() - 1,
    );
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_cutline"));
    let directory = binary.parent().expect("a program is in a directory");
    let path = format!(
        "{}:{}",
        directory.display(),
        std::env::var("PATH").expect("there is a PATH")
    );
    let mut command = tokio::process::Command::new("bash");
    command
        .args(["-c", &script])
        .env("PATH", path)
        .env("CUTLINE_ADMIN", url)
        .env("XDG_CONFIG_HOME", "/nowhere")
        .kill_on_drop(true);
    done(command).await.exits(0).stdout.clone()
}

#[tokio::test]
async fn a_shell_completes_commands_and_the_epochs_there_are() {
    let route = "GET /v1/checkpoints?limit=50";
    let admin = Canned::start([(route, vec![ok(checkpoints())])]).await;
    let told = completed_by_bash(&admin.url, "cutline check").await;
    assert!(told.contains("checkpoint"), "{told}");
    let told = completed_by_bash(&admin.url, "cutline checkpoint describe 4").await;
    assert!(told.contains("41") && told.contains("40"), "{told}");
    // Nobody answers here: no candidates, no error, no waiting.
    let told = completed_by_bash("http://127.0.0.1:1", "cutline checkpoint describe 4").await;
    assert!(!told.contains("41"), "{told}");
}

#[tokio::test]
async fn every_shell_has_a_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let mut command = program();
        command.args(["completions", shell]);
        let done = done(command).await;
        assert!(
            done.exits(0).stdout.contains("COMPLETE"),
            "{shell}: {done:?}"
        );
    }
}

#[tokio::test]
async fn the_manual_has_a_page_for_each_command() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let mut command = program();
    command.arg("man").arg(directory.path());
    done(command).await.exits(0);
    for page in ["cutline.1", "cutline-restore-create.1", "cutline-doctor.1"] {
        let text = std::fs::read_to_string(directory.path().join(page)).expect(page);
        assert!(text.contains(".SH NAME"), "{page}: {text}");
    }
}
