//! What the documentation tells people to type: every command line of ours is understood by the program it is for, every chart is rendered
//! with the values it is told to be installed with, and every link between pages leads somewhere.
//!
//! It looks whether a command is one. What commands do is for the tests of what they do.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use integration_tests::binaries::{binary, project_root};

use super::render;

const PROGRAMS: [&str; 3] = ["cutline", "cutline-admin", "cutline-sidecar"];
/// Fewer than this, and the pages are not read as they should be.
const COMMANDS_MIN: usize = 30;
const LINKS_MIN: usize = 40;

/// Every page for people.
fn pages() -> Vec<PathBuf> {
    let root = project_root();
    let mut pages: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .chain(fs::read_dir(root.join("docs")).unwrap())
        .chain(fs::read_dir(root.join("examples/hooks")).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    pages.sort();
    pages
}

/// The command lines in a page's blocks of shell, each with its continuations.
fn commands(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let blocks = text
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let lines = blocks.flat_map(|block| {
        let joined = block.replace("\\\n", " ");
        joined.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    lines.collect()
}

/// The words of a command: up to a comment, a pipe or another end, without quotes and without what stands for more.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for character in line.chars() {
        match (quote, character) {
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, '#' | '|' | '>' | ';' | '&' | ')') => break,
            (None, ' ') => words.push(std::mem::take(&mut word)),
            _ => word.push(character),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty() && word != "…");
    words
}

/// Our own part of a line, be it behind an assignment, a substitution or `docker compose exec`.
fn ours(line: &str) -> Option<Vec<String>> {
    let line = line.replace("<(", " ").replace("$(", " ");
    let words = words(&line);
    let at = words
        .iter()
        .position(|word| PROGRAMS.contains(&word.as_str()))?;
    let before = &words[..at];
    let runs_it = before.is_empty()
        || before.starts_with(&["docker".into(), "compose".into(), "exec".into()])
        || before == ["source"]
        || before.iter().all(|word| word.contains('='));
    runs_it.then(|| words[at..].to_vec())
}

#[test]
fn every_command_of_ours_in_the_documentation_is_understood() {
    let mut seen = BTreeSet::new();
    for page in pages() {
        for command in commands(&page).iter().filter_map(|line| ours(line)) {
            let asked = Command::new(binary(&command[0]))
                .args(&command[1..])
                .arg("--help")
                .env_clear()
                .output()
                .unwrap();
            assert!(
                asked.status.success(),
                "{}: {command:?}: {}",
                page.display(),
                String::from_utf8_lossy(&asked.stderr)
            );
            seen.insert(command);
        }
    }
    assert!(seen.len() >= COMMANDS_MIN, "{}: {seen:#?}", seen.len());
}

#[test]
fn the_charts_render_as_the_documentation_installs_them() {
    let mut installed = 0;
    for page in pages() {
        for line in commands(&page) {
            let words = words(&line);
            let [helm, verb, release, chart, values @ ..] = &words[..] else {
                continue;
            };
            let Some(chart) = chart.strip_prefix("charts/") else {
                continue;
            };
            if helm != "helm" || verb != "install" {
                continue;
            }
            let mut arguments = vec!["template", release, chart];
            arguments.extend(values.iter().map(String::as_str));
            let rendered = render::helm(&arguments, render::charts());
            assert!(rendered.is_ok(), "{}: {line}: {rendered:?}", page.display());
            installed += 1;
        }
    }
    assert!(installed >= 2, "the README and its page on operations");
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let mut followed = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for rest in text.split("](").skip(1) {
            let target = rest.split([')', '#']).next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = page.parent().unwrap().join(target);
            assert!(path.exists(), "{}: no {target}", page.display());
            followed += 1;
        }
    }
    assert!(followed >= LINKS_MIN, "{followed}");
}
