//! The file with the contexts: `cutline/contexts.yaml` where the user's configuration is.
//!
//! It is written whole or not at all, with mode 0600. A key that is not known is an error: a mistyped one would be ignored.

use std::{
    collections::BTreeMap,
    env, fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{failure::Failure, screen::Format, tls};

/// One installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Context {
    /// Where its admin API is, as `--admin` takes it.
    pub admin: String,
    /// The file with the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The files with certificates and keys.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls: tls::Files,
    /// How output is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Format>,
}

impl Context {
    /// The path of the token's file, or nothing.
    #[must_use]
    pub fn token_file_shown(&self) -> String {
        let path = self.token_file.as_ref();
        path.map_or_else(String::new, |path| path.display().to_string())
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The one that is used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// Each under its name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

impl Contexts {
    /// Those in the user's file; none without one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_user() -> Result<Self, Failure> {
        match path() {
            Ok(path) => Self::read(&path),
            // Whoever has no home has no contexts.
            Err(_) => Ok(Self::default()),
        }
    }

    /// Those in the file at `path`; none without one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = |error: &dyn std::fmt::Display| {
            let shown = path.display();
            Failure::Usage(format!("the contexts in {shown} cannot be read: {error}"))
        };
        match fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => Ok(Self::default()),
            Ok(text) => serde_yaml_ng::from_str(&text).map_err(|error| wrong(&error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(wrong(&error)),
        }
    }

    /// Writes them to `path`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let written = self.write_whole(path);
        written.map_err(|error| {
            let shown = path.display();
            Failure::not_done(format!(
                "the contexts in {shown} cannot be written: {error}"
            ))
            .with_cure("see who may write there, or set XDG_CONFIG_HOME to another directory")
        })
    }

    fn write_whole(&self, path: &Path) -> io::Result<()> {
        let text = serde_yaml_ng::to_string(self).map_err(io::Error::other)?;
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)?;
        }
        let new = path.with_extension("yaml.new");
        // One that an earlier run left behind has whatever mode it has.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    }

    /// The context `name`.
    ///
    /// # Errors
    /// When there is none; those that there are are named.
    pub fn get(&self, name: &str) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let there = match names.as_slice() {
                [] => "there are none; add one: cutline context add NAME --admin URL".to_owned(),
                names => format!("there are {}", names.join(", ")),
            };
            Failure::Usage(format!("no context is named {name:?}; {there}"))
        })
    }

    /// Adds one.
    ///
    /// # Errors
    /// When there is one of that name that shall not be replaced, or the name is none.
    pub fn add(&mut self, name: &str, context: Context, replace: bool) -> Result<(), Failure> {
        let sound = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
        if name.is_empty() || !name.chars().all(sound) {
            let text = format!(
                "{name:?} cannot name a context: letters, digits, dots, dashes and underscores can"
            );
            return Err(Failure::Usage(text));
        }
        if self.contexts.contains_key(name) && !replace {
            return Err(
                Failure::not_done(format!("there is a context {name} already"))
                    .with_cure("give --replace, or another name"),
            );
        }
        self.contexts.insert(name.to_owned(), context);
        Ok(())
    }

    /// Forgets one.
    ///
    /// # Errors
    /// When there is none.
    pub fn remove(&mut self, name: &str) -> Result<(), Failure> {
        self.get(name)?;
        self.contexts.remove(name);
        if self.current.as_deref() == Some(name) {
            self.current = None;
        }
        Ok(())
    }
}

/// Where the file is.
///
/// # Errors
/// When nothing says where the user's configuration is.
pub fn path() -> Result<PathBuf, Failure> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    let base = set("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(set("HOME")?).join(".config")));
    let base = base.ok_or_else(|| {
        Failure::not_done("contexts are kept in the user's configuration, and there is none")
            .with_cure("set HOME or XDG_CONFIG_HOME")
    })?;
    Ok(base.join("cutline").join("contexts.yaml"))
}
fn is_default(files: &tls::Files) -> bool {
    *files == tls::Files::default()
}
