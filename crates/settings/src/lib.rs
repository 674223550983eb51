//! Settings of a program: flags, `CUTLINE_…` variables and a YAML file, in that order of precedence, under one list of keys.
//!
//! A program lists its keys once; everything else follows: `checkpoint.interval` is the key in the file (nested or
//! dotted), `--checkpoint-interval` the flag, `CUTLINE_CHECKPOINT_INTERVAL` the variable. What is not known is an error
//! that names the nearest known one. What values mean is the program's business; the readers here parse the common
//! kinds.

mod file;
pub mod kafka;
mod value;

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource};
use thiserror::Error;

pub use value::{address, brokers, duration, name};

/// Names less alike than this are not offered as what was meant.
const LIKENESS_MIN: f64 = 0.6;
/// The exit code for settings that cannot be used, as command lines have it.
const EXIT_USAGE: u8 = 2;
/// The flag that names the file.
const CONFIG: &str = "config";

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in the file: words with `-`, groups with `.`.
    pub name: &'static str,
    /// What kind of value, for the help.
    pub value: &'static str,
    /// What it is, for the help.
    pub help: &'static str,
    /// True when it may be given more than once: a repeated flag, a list in the file, words in the variable.
    pub many: bool,
}

impl Key {
    /// One that has one value.
    #[must_use]
    pub const fn one(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self {
            name,
            value,
            help,
            many: false,
        }
    }

    /// One that may be given more than once.
    #[must_use]
    pub const fn many(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self {
            many: true,
            ..Self::one(name, value, help)
        }
    }
}

/// A program and its settings.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Its settings.
    pub keys: &'static [Key],
    /// Settings that other programs have too.
    pub shared: &'static [Key],
    /// Groups whose keys are somebody else's, such as `kafka`: every key in them is taken as it is.
    pub open_groups: &'static [&'static str],
}

/// What was set.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    values: BTreeMap<String, Vec<String>>,
}

/// What is wrong with settings.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// Wrong flags, or a request for help or the version: print it and end as it says.
    #[error("{0}")]
    Flags(#[from] clap::Error),
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read: {reason}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A key of the file is not known.
    #[error("unknown key {key:?} in the configuration{}", nearest.as_ref().map(|near| format!(": did you mean {near:?}?")).unwrap_or_default())]
    UnknownKey {
        /// As written.
        key: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// Something that must be set is not.
    #[error("{key} is not set: give --{flag}, {variable}, or {key} in the configuration")]
    Missing {
        /// The key.
        key: String,
        /// Its flag.
        flag: String,
        /// Its variable.
        variable: String,
    },
    /// A value means nothing.
    #[error("{key} is {value:?}: {reason}")]
    Value {
        /// The key.
        key: String,
        /// As written.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Values that are understood and cannot be used, alone or together.
    #[error("{0}")]
    Unusable(String),
}

impl Program {
    /// Reads this process's flags, variables and file.
    ///
    /// # Errors
    /// When something is not known or cannot be read.
    pub fn load(&self) -> Result<Settings, SettingsError> {
        self.load_from(std::env::args_os())
    }

    /// Reads `arguments` (the program's name first), this process's variables and the file they name.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_from(
        &self,
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Settings, SettingsError> {
        let matches = self.command().try_get_matches_from(arguments)?;
        let mut values = match matches.get_one::<String>(CONFIG) {
            Some(path) => self.read(&PathBuf::from(path))?,
            None => BTreeMap::new(),
        };
        for key in self.all() {
            let given = given(&matches, key);
            if !given.is_empty() {
                values.insert(key.name.to_owned(), given);
            }
        }
        Ok(Settings { values })
    }

    /// Says what is wrong with the settings, for people: nothing runs yet that would read logs. The exit code is the one to
    /// end with; a request for help or the version is no error.
    pub fn refuse(&self, error: SettingsError) -> ExitCode {
        match error {
            SettingsError::Flags(error) => {
                // clap knows which stream it belongs on; when that is closed there is nobody to tell.
                let _printed = error.print();
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE))
            }
            error => {
                eprintln!("{}: {error}", self.name);
                ExitCode::from(EXIT_USAGE)
            }
        }
    }

    /// Says why the program does not even begin, where there are no logs yet.
    pub fn cannot_start(&self, error: &std::io::Error) -> ExitCode {
        eprintln!("{}: it cannot start: {error}", self.name);
        ExitCode::FAILURE
    }

    fn read(&self, path: &PathBuf) -> Result<BTreeMap<String, Vec<String>>, SettingsError> {
        let file = |reason: String| SettingsError::File {
            path: path.clone(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|error| file(error.to_string()))?;
        let values = file::flatten(&text).map_err(file)?;
        values
            .into_iter()
            .map(|(key, values)| {
                let key = self.known(key)?;
                let is_many = self.all().any(|known| known.many && known.name == key);
                // What is one value is written as a list for reading only.
                let values = if is_many {
                    values
                } else {
                    vec![values.join(",")]
                };
                Ok((key, values))
            })
            .collect()
    }

    /// The key as it is listed.
    fn known(&self, key: String) -> Result<String, SettingsError> {
        let is_open = |group: &str| {
            key.strip_prefix(group)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        if self.open_groups.iter().any(|group| is_open(group)) {
            return Ok(key);
        }
        let spelled = key.replace('_', "-");
        if self.all().any(|known| known.name == spelled) {
            return Ok(spelled);
        }
        let nearest = self.nearest(&spelled);
        Err(SettingsError::UnknownKey { key, nearest })
    }

    fn nearest(&self, key: &str) -> Option<String> {
        let likeness = |known: &Key| strsim::jaro_winkler(key, known.name);
        let best = self
            .all()
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
        (likeness(best) >= LIKENESS_MIN).then(|| best.name.to_owned())
    }

    fn all(&self) -> impl Iterator<Item = &'static Key> {
        self.keys.iter().chain(self.shared)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.name)
            .version(self.version)
            .about(self.about)
            .arg(argument(&Key {
                name: CONFIG,
                value: "FILE",
                help: "A YAML file with any of these settings, by the same names with dots",
                many: false,
            }));
        for key in self.all() {
            command = command.arg(argument(key));
        }
        command
    }
}

impl Settings {
    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key)?.first().map(String::as_str)
    }

    /// Every value of `key`, which may be given more than once.
    #[must_use]
    pub fn all(&self, key: &str) -> &[String] {
        self.values.get(key).map_or(&[], Vec::as_slice)
    }

    /// The value of `key`, which has to be set.
    ///
    /// # Errors
    /// [`SettingsError::Missing`].
    pub fn required(&self, key: &str) -> Result<&str, SettingsError> {
        self.get(key).ok_or_else(|| self.missing(key))
    }

    /// That `key` is not set, and how it is.
    #[must_use]
    pub fn missing(&self, key: &str) -> SettingsError {
        SettingsError::Missing {
            key: key.to_owned(),
            flag: flag(key),
            variable: variable(key),
        }
    }

    /// The value of `key` as `parse` reads it.
    ///
    /// # Errors
    /// [`SettingsError::Value`] with what `parse` says.
    pub fn parsed<T, E: ToString>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, SettingsError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        parse(value)
            .map(Some)
            .map_err(|error| SettingsError::Value {
                key: key.to_owned(),
                value: value.to_owned(),
                reason: error.to_string(),
            })
    }

    /// Everything in an open group, without the group's name.
    #[must_use]
    pub fn group(&self, group: &str) -> BTreeMap<String, String> {
        let within = self.values.iter().filter_map(|(key, value)| {
            let name = key.strip_prefix(group)?.strip_prefix('.')?;
            Some((name.to_owned(), value.join(",")))
        });
        within.collect()
    }
}

fn argument(key: &Key) -> Arg {
    // Leaked once for each of a few dozen settings: the flags live as long as the program.
    let flag: &'static str = Box::leak(flag(key.name).into_boxed_str());
    let variable: &'static str = Box::leak(variable(key.name).into_boxed_str());
    Arg::new(key.name)
        .long(flag)
        .env(variable)
        // Whoever asks for help does not ask for passwords.
        .hide_env_values(true)
        .value_name(key.value)
        .help(key.help)
        .action(if key.many {
            ArgAction::Append
        } else {
            ArgAction::Set
        })
}

fn given(matches: &ArgMatches, key: &Key) -> Vec<String> {
    let values = matches.get_many::<String>(key.name).unwrap_or_default();
    let variable = matches.value_source(key.name) == Some(ValueSource::EnvVariable);
    values
        .flat_map(|value| match key.many && variable {
            true => value.split_whitespace().map(str::to_owned).collect(),
            false => vec![value.clone()],
        })
        // A variable that is set to nothing is not set.
        .filter(|value| !value.is_empty())
        .collect()
}

fn flag(key: &str) -> String {
    key.replace('.', "-")
}

fn variable(key: &str) -> String {
    let name = key.replace(['.', '-'], "_").to_uppercase();
    format!("CUTLINE_{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program = Program {
        name: "x",
        version: "1",
        about: "x",
        keys: &[
            Key::one("listen", "HOST:PORT", "where"),
            Key::one("checkpoint.min-pause", "DURATION", "how long"),
            Key::one("kafka", "HOST:PORT", "which"),
            Key::many("state", "SPEC", "what"),
        ],
        shared: &[],
        open_groups: &["kafka"],
    };

    fn load(flags: &[&str], yaml: &str) -> Result<Settings, SettingsError> {
        let directory = tempdir();
        let path = directory.join("config.yaml");
        std::fs::write(&path, yaml).unwrap();
        let config = path.to_str().unwrap();
        let settings = PROGRAM.load_from([&["x", "--config", config], flags].concat());
        std::fs::remove_dir_all(directory).unwrap();
        settings
    }

    fn tempdir() -> PathBuf {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("cutline-settings-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn flags_win_over_the_file_and_nested_keys_are_dotted_ones() {
        let yaml = "checkpoint:\n  min_pause: 5s\nlisten: file:1\nkafka: [a:1, b:2]";
        let settings = load(&["--listen", "flag:2"], yaml).unwrap();
        assert_eq!(settings.get("listen"), Some("flag:2"));
        assert_eq!(settings.get("checkpoint.min-pause"), Some("5s"));
        assert_eq!(settings.get("kafka"), Some("a:1,b:2"));
        let dotted = load(&[], "checkpoint.min-pause: 7s").unwrap();
        assert_eq!(dotted.get("checkpoint.min-pause"), Some("7s"));
    }

    #[test]
    fn keys_of_an_open_group_are_taken_as_they_are() {
        let yaml = "kafka:\n  security.protocol: ssl\n  ssl: {ca.location: /ca}";
        let group = load(&[], yaml).unwrap().group("kafka");
        assert_eq!(group["security.protocol"], "ssl");
        assert_eq!(group["ssl.ca.location"], "/ca");
    }

    #[test]
    fn what_may_be_given_more_than_once_is_never_cut_at_a_comma() {
        let flags = ["--state", "dir:/a?immutable=x,y", "--state", "none"];
        let both = ["dir:/a?immutable=x,y", "none"];
        assert_eq!(load(&flags, "").unwrap().all("state"), both);
        let yaml = "state: ['dir:/a?immutable=x,y', none]";
        assert_eq!(load(&[], yaml).unwrap().all("state"), both);
        assert!(load(&[], "").unwrap().all("state").is_empty());
    }

    #[test]
    fn what_is_not_known_names_the_nearest() {
        let key = load(&[], "lisen: x").unwrap_err().to_string();
        assert!(
            key.contains("\"lisen\"") && key.contains("\"listen\""),
            "{key}"
        );
        let nested = load(&[], "checkpoint: {min-paus: 1s}")
            .unwrap_err()
            .to_string();
        assert!(nested.contains("\"checkpoint.min-pause\""), "{nested}");
        let flag = load(&["--checkpoint-min-paus", "1s"], "")
            .unwrap_err()
            .to_string();
        assert!(flag.contains("--checkpoint-min-pause"), "{flag}");
    }

    #[test]
    fn what_must_be_set_says_how() {
        let settings = load(&[], "").unwrap();
        let error = settings
            .required("checkpoint.min-pause")
            .unwrap_err()
            .to_string();
        for part in ["--checkpoint-min-pause", "CUTLINE_CHECKPOINT_MIN_PAUSE"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_value_that_means_nothing_is_named_with_its_key() {
        let settings = load(&[], "checkpoint.min-pause: soon").unwrap();
        let error = settings
            .parsed("checkpoint.min-pause", duration)
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("checkpoint.min-pause is \"soon\""),
            "{error}"
        );
    }
}
