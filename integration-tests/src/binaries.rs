//! Where the project's own programs and files are.
//!
//! A program is taken from the profile directory the test itself runs from, so that a release test runs release programs.
//! It refuses to build anything: a program that is missing is named together with the command that makes it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The root of the project.
///
/// # Panics
/// Never: the harness lies one level below.
#[must_use]
pub fn project_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the harness lies one level below the root")
}

/// The program `name` of this workspace.
///
/// # Panics
/// When it has not been built in the profile this process was built in.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let path = profile_directory().join(name);
    let flag = if cfg!(debug_assertions) {
        ""
    } else {
        " --release"
    };
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build{flag} --workspace --bins` first",
        path.display()
    );
    path
}

fn profile_directory() -> PathBuf {
    let this = std::env::current_exe().expect("a running program has a path");
    let directory = this.parent().expect("a program lies in a directory");
    // Tests lie in deps/, programs beside it.
    if directory.ends_with("deps") {
        directory
            .parent()
            .expect("deps lies in a profile directory")
            .to_owned()
    } else {
        directory.to_owned()
    }
}

/// The interpreter bank B runs by, from the environment made for it.
///
/// # Panics
/// When the environment cannot be made.
#[must_use]
pub fn python() -> PathBuf {
    interpreter("prepare-bank-b")
}

/// The interpreter that drives a browser, from the environment made for it.
///
/// # Panics
/// When the environment or the browser cannot be had.
#[must_use]
pub fn browser_python() -> PathBuf {
    interpreter("prepare-browser")
}

/// The interpreter of the environment that `scripts/SCRIPT` makes or finds.
fn interpreter(script: &str) -> PathBuf {
    let [python] = prepared(script);
    python
}

/// The paths that `scripts/SCRIPT` prints of what it makes or finds, one in each line.
///
/// # Panics
/// When it does not succeed, or names another number of them.
#[must_use]
pub fn prepared<const COUNT: usize>(script: &str) -> [PathBuf; COUNT] {
    let made = Command::new(project_root().join("scripts").join(script))
        .output()
        .expect("a script of the project can be run");
    assert!(
        made.status.success(),
        "scripts/{script}: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    let printed = String::from_utf8_lossy(&made.stdout);
    let paths: Vec<PathBuf> = printed.lines().map(PathBuf::from).collect();
    paths
        .try_into()
        .unwrap_or_else(|paths| panic!("scripts/{script} names {paths:?}, not {COUNT} paths"))
}

/// What `scripts/SCRIPT VERSION` fetches or builds to `path` of the project's cache, done now when it is not there.
///
/// # Panics
/// When the script does not succeed.
#[must_use]
pub fn fetched(script: &str, version: &str, path: &str) -> PathBuf {
    let path = project_root().join(".cache").join(path);
    if !path.exists() {
        let fetched = Command::new(project_root().join("scripts").join(script))
            .arg(version)
            .status();
        assert!(
            fetched.is_ok_and(|status| status.success()),
            "scripts/{script} {version} did not succeed"
        );
    }
    path
}

/// The same, beside whatever else goes on: building takes minutes.
///
/// # Panics
/// When the script does not succeed.
pub async fn fetched_aside(script: &'static str, version: &'static str, path: String) -> PathBuf {
    tokio::task::spawn_blocking(move || fetched(script, version, &path))
        .await
        .expect("a path is found or a panic told why not")
}
