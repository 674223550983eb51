//! Tokens as a person has the command line make them: the admin API's list, and each token in a file of its own.
//!
//! It knows what `cutline token new` prints, and nothing of what a role may do.

use std::{fs, path::PathBuf, process::Command};

use serde_json::{Value, json};

use crate::{binaries::binary, process::text_of, run::Run};

/// The tokens of one admin API.
#[derive(Debug)]
pub struct Tokens {
    directory: PathBuf,
    entries: Vec<Value>,
    words: Vec<String>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            directory: Run::this().part("tokens"),
            entries: Vec::new(),
            words: Vec::new(),
        }
    }
}

impl Tokens {
    /// Makes one for `name`; the file it is in.
    ///
    /// # Panics
    /// When the command line does not, or the file cannot be written.
    pub fn make(&mut self, name: &str, role: &str, more: &[&str]) -> String {
        let made = Command::new(binary("cutline"))
            .args(["token", "new", "-o", "json", "--name", name, "--role", role])
            .args(more)
            .output();
        let made = text_of(&made.expect("the command line can be run")).expect("a token is made");
        let made: Value = serde_json::from_str(&made).expect("JSON");
        let word = made["token"].as_str().expect("a token").to_owned();
        let file = self.directory.join(name);
        fs::write(&file, &word).expect("a file can be written");
        self.entries.push(made["entry"].clone());
        self.words.push(word);
        file.display().to_string()
    }

    /// Writes the admin API's list, over what was there; where it is.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn list(&self) -> PathBuf {
        let path = self.directory.join("list.json");
        let list = json!({ "tokens": self.entries }).to_string();
        fs::write(&path, list).expect("a file can be written");
        path
    }

    /// Takes a name off the list, which is written again.
    pub fn withdraw(&mut self, name: &str) {
        self.entries.retain(|entry| entry["name"] != name);
        let _path = self.list();
    }

    /// Every token there was: what must be found nowhere.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.words
    }
}
