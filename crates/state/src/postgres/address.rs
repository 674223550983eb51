//! Where a database is, as `postgres://user:password@host:port/database?…` says it. Its password is never shown.

use std::{collections::BTreeSet, fmt, time::Duration};

use cutline_model::Scope;
use tokio_postgres::Config;
use url::Url;

use super::{
    passfile::{self, Wanted},
    selection::{Selection, TablePattern, split_list},
};

const PORT_DEFAULT: u16 = 5432;
/// How long a connection may take; a pause waits for one only when the waiting one was lost.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// A peer that says nothing for so long is probed, so that a broken network is noticed during a long copy.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
const OPTIONS: &str = "tables, schema, scope, host, sslmode";

/// A database.
#[derive(Clone)]
pub(super) struct Address {
    host: String,
    port: u16,
    user: String,
    password: Option<String>,
    database: String,
}

/// All of a specification.
pub(super) struct Parsed {
    pub(super) address: Address,
    pub(super) selection: Selection,
    pub(super) scope: Scope,
}

impl Address {
    /// Fit for errors and logs.
    pub(super) fn shown(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.database)
    }

    /// How to connect now.
    pub(super) fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.user)
            .dbname(&self.database)
            .application_name("cutline")
            .connect_timeout(CONNECT_LIMIT)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES);
        let wanted = Wanted {
            host: &self.host,
            port: self.port,
            database: &self.database,
            user: &self.user,
        };
        if let Some(password) = self.password.clone().or_else(|| passfile::find(wanted)) {
            config.password(password);
        }
        config
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// Reads a specification. What is wrong is said without any of its values but names of options and tables.
pub(super) fn parse(spec: &str) -> Result<Parsed, String> {
    let url = Url::parse(spec).map_err(|error| format!("it is no URL ({error})"))?;
    let mut host = decoded(url.host_str().unwrap_or_default())?;
    let (mut selection, mut scope) = (Selection::default(), Scope::default());
    for (name, value) in url.query_pairs() {
        match &*name {
            "tables" => selection.tables.extend(tables(&value)?),
            "schema" => selection.schemas.extend(schemas(&value)?),
            "scope" => scope = crate::spec::scope(&value)?,
            "host" => host = value.into_owned(),
            "sslmode" => check_ssl(&value)?,
            _ => {
                return Err(format!(
                    "option {name:?} is not known here; known: {OPTIONS}"
                ));
            }
        }
    }
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let user = match decoded(url.username())? {
        user if user.is_empty() => std::env::var("PGUSER").unwrap_or_default(),
        user => user,
    };
    let database = match decoded(url.path().trim_start_matches('/'))? {
        database if database.is_empty() => user.clone(),
        database => database,
    };
    match (host.as_str(), user.as_str()) {
        ("", _) => return Err("it names no host: postgres://user@host/database".to_owned()),
        (_, "") => return Err("it names no user, nor does PGUSER".to_owned()),
        _ => {}
    }
    let password = url.password().map(decoded).transpose()?;
    let port = url.port().unwrap_or(PORT_DEFAULT);
    let address = Address {
        host,
        port,
        user,
        password,
        database,
    };
    Ok(Parsed {
        address,
        selection,
        scope,
    })
}

fn tables(value: &str) -> Result<Vec<TablePattern>, String> {
    split_list(value)
        .into_iter()
        .map(TablePattern::parse)
        .collect()
}

fn schemas(value: &str) -> Result<BTreeSet<String>, String> {
    let schemas: BTreeSet<String> = value
        .split(',')
        .map(|schema| schema.trim().trim_matches('"').to_owned())
        .collect();
    if schemas.contains("") {
        return Err("schema= holds an empty name".to_owned());
    }
    Ok(schemas)
}

fn check_ssl(mode: &str) -> Result<(), String> {
    match mode {
        "disable" | "allow" | "prefer" => Ok(()),
        "require" | "verify-ca" | "verify-full" => Err(format!(
            "sslmode={mode} cannot be had: connections are not encrypted yet; reach the database through a local \
             tunnel or socket and say sslmode=disable"
        )),
        _ => Err(
            "sslmode is none of disable, allow, prefer, require, verify-ca, verify-full".to_owned(),
        ),
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).filter(|_| *first == b'%');
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    let wrong = |_| "user, password, host and database must be percent-encoded UTF-8".to_owned();
    String::from_utf8(bytes).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_an_address_is_read_and_its_password_hidden() {
        let parsed = parse("postgres://me:a%2Fb+c@db:6000/bank?tables=a,b&scope=service").unwrap();
        assert_eq!(parsed.address.password.as_deref(), Some("a/b+c"));
        assert_eq!(format!("{:?}", parsed.address), "db:6000/bank");
        assert_eq!(parsed.scope, Scope::Service);
        assert_eq!(parsed.selection.tables.len(), 2);
        let socket = parse("postgresql://me@local/bank?host=/run/postgresql").unwrap();
        assert_eq!(socket.address.shown(), "/run/postgresql:5432/bank");
    }

    #[test]
    fn what_cannot_be_had_is_refused_without_the_password() {
        for spec in [
            "postgres://me:hush@db/x?sslmode=require",
            "postgres://me:hush@db/x?tabels=a",
            "postgres://me:hush@db/x?sslmode=maybe",
            "postgres://me:hush@/x",
            "postgres://me:hush@db:no/x",
            "postgres://me:hush@db/x?schema=",
        ] {
            let error = parse(spec).err().unwrap_or_else(|| panic!("{spec} passed"));
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
