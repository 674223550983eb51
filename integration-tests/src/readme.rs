//! The commands that the README tells people to type.

use std::fs;

use crate::binaries::project_root;

/// The commands of the first block after `begin`, each in one line, as they are said.
///
/// # Panics
/// When the README has none.
#[must_use]
pub fn commands(begin: &str) -> Vec<String> {
    let readme =
        fs::read_to_string(project_root().join("README.md")).expect("the project has a README");
    let (_, block) = readme
        .split_once(begin)
        .and_then(|(_, after)| after.split_once("```sh\n"))
        .unwrap_or_else(|| panic!("README.md has no commands after {begin:?}"));
    let block = block.split("```").next().unwrap_or_default();
    let block = block.replace("\\\n", " ");
    let lines = block.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}
