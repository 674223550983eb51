//! `cutline context`: several installations, each under a name, and which one is meant.
//!
//! A context has the address of an admin API, the paths of files (a token, certificates; never what is in them), and how output is written. They
//! are in one file that its owner alone reads and writes. What a flag or a variable says wins over a context.

mod file;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use crate::{
    failure::Failure,
    page::Page,
    screen::{Format, Screen},
    table::{Column, Table},
    tls,
};

pub use file::{Context, Contexts};

/// What to do with contexts.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Name an installation; the first one is used from then on
    #[command(
        after_long_help = "Examples:\n  cutline context add prod --admin http://admin.prod:7070 --token-file ~/.cutline-prod\n  cutline context add test --admin http://127.0.0.1:7070 --use"
    )]
    Add {
        /// Its name
        name: String,
        /// Replace one of the same name
        #[arg(long)]
        replace: bool,
        /// Use it from now on
        #[arg(long = "use")]
        used: bool,
    },
    /// Use another one from now on
    Use {
        /// Its name
        name: String,
    },
    /// Show every context; a star marks the one that is used
    List,
    /// Forget one
    Remove {
        /// Its name
        name: String,
    },
    /// Show the one that is used, or another
    Show {
        /// Its name
        name: Option<String>,
    },
}

/// What was given on the command line or by variables: it is what `add` remembers.
#[derive(Debug)]
pub struct Given {
    /// `--admin`.
    pub admin: Option<String>,
    /// `--token-file`.
    pub token_file: Option<PathBuf>,
    /// `--tls-ca`, `--tls-certificate`, `--tls-key`.
    pub tls: tls::Files,
    /// `--output`.
    pub output: Option<Format>,
}

/// Does it.
///
/// # Errors
/// When there is no such context, or the file cannot be read or written.
pub fn run(screen: &Screen, verb: Verb, given: Given) -> Result<(), Failure> {
    let path = file::path()?;
    let mut contexts = Contexts::read(&path)?;
    match verb {
        Verb::Add {
            name,
            replace,
            used,
        } => {
            let context = remembered(given)?;
            contexts.add(&name, context, replace)?;
            if used || contexts.current.is_none() {
                contexts.current = Some(name.clone());
            }
            contexts.write(&path)?;
            show_one(screen, &path, &contexts, &name)
        }
        Verb::Use { name } => {
            contexts.get(&name)?;
            contexts.current = Some(name.clone());
            contexts.write(&path)?;
            show_one(screen, &path, &contexts, &name)
        }
        Verb::List => list(screen, &contexts),
        Verb::Remove { name } => {
            contexts.remove(&name)?;
            contexts.write(&path)?;
            let page = Page::new().line(format!("context {name} is forgotten"));
            Ok(screen.show(&json!({ "name": name, "removed": true }), &page)?)
        }
        Verb::Show { name } => {
            let name = name.or_else(|| contexts.current.clone()).ok_or_else(|| {
                Failure::not_done("no context is used")
                    .with_cure("name one: cutline context add NAME --admin URL")
            })?;
            contexts.get(&name)?;
            show_one(screen, &path, &contexts, &name)
        }
    }
}

fn remembered(given: Given) -> Result<Context, Failure> {
    let admin = given.admin.ok_or_else(|| {
        Failure::Usage("context add needs --admin URL, the address of its admin API".to_owned())
    })?;
    // Found again from wherever a later command is run.
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    Ok(Context {
        admin,
        token_file: given.token_file.map(absolute),
        tls: given.tls.absolute(),
        output: given.output,
    })
}

fn list(screen: &Screen, contexts: &Contexts) -> Result<(), Failure> {
    if contexts.contexts.is_empty() {
        screen.note("there are no contexts; add one: cutline context add NAME --admin URL");
    }
    let mut table = Table::new([
        Column::Word("USED"),
        Column::Word("NAME"),
        Column::Word("ADMIN"),
        Column::Text("TOKEN FILE"),
    ]);
    for (name, context) in &contexts.contexts {
        let used = contexts.current.as_deref() == Some(name);
        table.row([
            if used { "*" } else { "" }.to_owned(),
            name.clone(),
            context.admin.clone(),
            context.token_file_shown(),
        ]);
    }
    Ok(screen.show(contexts, &Page::new().table(table))?)
}

fn show_one(screen: &Screen, path: &Path, contexts: &Contexts, name: &str) -> Result<(), Failure> {
    let context = contexts.get(name)?;
    let used = contexts.current.as_deref() == Some(name);
    let output = match context.output {
        Some(Format::Table) => "table",
        Some(Format::Json) => "json",
        None => "",
    };
    let mut facts = vec![
        ("context", name.to_owned()),
        ("used", if used { "yes" } else { "no" }.to_owned()),
        ("admin", context.admin.clone()),
        ("token file", context.token_file_shown()),
    ];
    facts.extend(context.tls.shown());
    facts.push(("output", output.to_owned()));
    facts.push(("kept in", path.display().to_string()));
    let page = Page::new().facts(facts);
    let value = json!({ "name": name, "used": used, "context": context });
    Ok(screen.show(&value, &page)?)
}
