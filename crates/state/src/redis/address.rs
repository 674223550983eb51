//! A state in Redis as named on a command line: `redis://[user[:password]@]host[:port]/[db]?prefix=bank:`.
//!
//! What it holds cannot be wrong, and it never shows a password.

use std::fmt;

use cutline_model::Scope;
use deadpool_redis::redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

/// The prefix that stands for the whole database.
const EVERYTHING: &str = "*";
/// The longest prefix, in bytes.
const PREFIX_BYTES_MAX: usize = 1_024;

/// A server, a database, and which of its keys are meant.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) info: ConnectionInfo,
    /// Host, port and database: what may be shown.
    pub(super) server: String,
    pub(super) keys: Keys,
}

/// Which keys are the state: those that begin with this. Empty is every key of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys(String);

impl Keys {
    pub(super) fn prefix(&self) -> &str {
        &self.0
    }

    /// As a pattern of `SCAN`, in which the prefix stands for itself.
    pub(super) fn pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.0.len() + 1);
        for letter in self.0.chars() {
            if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        pattern.push('*');
        pattern
    }

    pub(super) fn holds(&self, key: &[u8]) -> bool {
        key.starts_with(self.0.as_bytes())
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_str() {
            "" => f.write_str("all keys"),
            prefix => write!(f, "the keys under {prefix:?}"),
        }
    }
}

impl Address {
    /// Reads an address and its options.
    ///
    /// # Errors
    /// In words that repeat nothing of what was given.
    pub(super) fn parse(body: &str, query: &str) -> Result<(Self, Scope), String> {
        if body.starts_with("rediss:") {
            return Err("TLS to Redis is not supported yet; use redis://".to_owned());
        }
        // What is wrong may be a password that is not percent-encoded: the library's own words could show it.
        let info = body.into_connection_info().map_err(|_| {
            "the address cannot be read; it is redis://[user[:password]@]host[:port]/[database], percent-encoded".to_owned()
        })?;
        let ConnectionAddr::Tcp(host, port) = info.addr().clone() else {
            return Err("it names no host".to_owned());
        };
        let settings = info.redis_settings().clone();
        let server = format!("{host}:{port}/{}", settings.db());
        let info = info.set_redis_settings(settings.set_protocol(ProtocolVersion::RESP3));
        let (keys, scope) = options(query)?;
        Ok((Self { info, server, keys }, scope))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.keys, self.server)
    }
}

fn options(query: &str) -> Result<(Keys, Scope), String> {
    let (mut prefix, mut scope) = (None, Scope::default());
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "prefix" if prefix.is_some() => {
                return Err("prefix is given twice; give each its own --state".to_owned());
            }
            "prefix" => prefix = Some(value.into_owned()),
            "scope" => scope = crate::spec::scope(&value)?,
            _ => {
                return Err(format!(
                    "option {name:?} is not known here; known: prefix, scope"
                ));
            }
        }
    }
    let prefix = prefix.ok_or("prefix is missing: say which keys are the state with ?prefix=bank:, or ?prefix=* for the whole database")?;
    Ok((keys(prefix)?, scope))
}

fn keys(prefix: String) -> Result<Keys, String> {
    match prefix.as_str() {
        "" => Err(format!(
            "prefix is empty; for the whole database say prefix={EVERYTHING}"
        )),
        EVERYTHING => Ok(Keys(String::new())),
        // Taken as it stands it would silently name no key at all.
        text if text.ends_with('*') => Err(format!(
            "prefix {text:?} ends with a star; a prefix is no pattern: leave the star out"
        )),
        text if text.len() > PREFIX_BYTES_MAX => Err(format!(
            "the prefix is longer than {PREFIX_BYTES_MAX} bytes"
        )),
        // What is not UTF-8 was replaced when it was decoded, and would name other keys.
        text if text.contains('\u{fffd}') => Err("the prefix is not UTF-8".to_owned()),
        _ => Ok(Keys(prefix)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str, query: &str) -> Result<Address, String> {
        Address::parse(body, query).map(|(address, _)| address)
    }

    #[test]
    fn an_address_shows_its_server_and_keys_and_no_password() {
        let address = parse("redis://me:s%40cret@r:7000/3", "prefix=bank%3A").unwrap();
        assert_eq!(
            format!("{address:?}"),
            r#"the keys under "bank:" of r:7000/3"#
        );
        assert_eq!(address.info.redis_settings().password(), Some("s@cret"));
        let address = parse("redis://r", "prefix=*").unwrap();
        assert_eq!(format!("{address:?}"), "all keys of r:6379/0");
    }

    #[test]
    fn a_prefix_stands_for_itself_whatever_its_letters() {
        assert_eq!(
            Keys("b[a]n*k?\\:".to_owned()).pattern(),
            "b\\[a\\]n\\*k\\?\\\\:*"
        );
    }

    #[test]
    fn what_names_no_keys_or_too_many_is_refused_and_repeats_no_secret() {
        for (body, query, part) in [
            ("redis://r/0", "", "prefix is missing"),
            ("redis://r/0", "prefix=", "prefix=*"),
            ("redis://r/0", "prefix=bank:*", "no pattern"),
            ("redis://r/0", "prefix=a&prefix=b", "twice"),
            ("redis://r/0", "prefix=a&ttl=1", "known: prefix, scope"),
            ("redis://r/0", "prefix=%ff", "UTF-8"),
            ("redis://r/zero", "prefix=a", "cannot be read"),
            ("redis://:se/cret@r/0", "prefix=a", "cannot be read"),
            ("rediss://:secret@r/0", "prefix=a", "TLS"),
        ] {
            let error = parse(body, query).unwrap_err();
            assert!(error.contains(part), "{body}?{query}: {error}");
            assert!(!error.contains("cret"), "{error}");
        }
    }
}
