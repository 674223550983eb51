//! The address of an S3 store: `s3://BUCKET/PREFIX?endpoint=…&region=…&path_style=…&sse=…&kms_key=…`.
//!
//! It holds no secret and takes none: credentials come from the standard chain, so that an address can stand in a log, a
//! process list or a message to a sidecar. A word that is not known is an error that names the nearest one.

use std::{fmt, str::FromStr};

use crate::Key;

/// The words an address knows after its `?`.
const WORDS: [&str; 5] = ["endpoint", "region", "path_style", "sse", "kms_key"];
/// Words people try for secrets; they get a better answer than the nearest word.
const SECRETS: [&str; 6] = [
    "access_key",
    "access_key_id",
    "secret",
    "secret_key",
    "secret_access_key",
    "session_token",
];
/// A key may have 1,024 bytes; what is left is for the prefix.
const PREFIX_BYTES_MAX: usize = 300;
/// How alike a mistyped word must be to a known one to be named.
const ALIKE_MIN: f64 = 0.6;

/// Where in which S3 objects are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Address {
    /// The bucket; it must exist.
    pub bucket: String,
    /// What every key starts with, without slashes at its ends; may be empty.
    pub prefix: String,
    /// The server's URL; AWS's own for the region when there is none.
    pub endpoint: Option<String>,
    /// The region; from the environment or profile when there is none.
    pub region: Option<String>,
    /// True: `ENDPOINT/BUCKET/KEY`, false: `BUCKET.ENDPOINT/KEY`.
    pub path_style: bool,
    /// How the server is asked to encrypt; by the bucket's own settings when not said.
    pub encryption: Option<Encryption>,
}

/// Encryption by the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// `sse=AES256`: with the server's own keys.
    ServerKeys,
    /// `sse=aws:kms`: with a key of the key management service, the bucket's default one when not named.
    Kms {
        /// The key's id or ARN.
        key: Option<String>,
    },
}

impl S3Address {
    /// A key as the server knows it.
    pub(crate) fn full_key(&self, key: &str) -> String {
        match self.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        }
    }

    /// The key of an object of this store; `None` for what lies elsewhere or is not ours.
    pub(crate) fn own_key(&self, full: &str) -> Option<Key> {
        let own = match self.prefix.as_str() {
            "" => full,
            prefix => full.strip_prefix(prefix)?.strip_prefix('/')?,
        };
        Key::new(own).ok()
    }

    fn set(&mut self, word: &str, value: &str) -> Result<(), String> {
        match word {
            "endpoint" => self.endpoint = Some(endpoint(value)?),
            "region" => self.region = Some(plain_word("region", value)?),
            "path_style" => {
                self.path_style = value
                    .parse()
                    .map_err(|_| format!("path_style is true or false, not {value:?}"))?;
            }
            "sse" => {
                self.encryption = Some(match value {
                    "AES256" => Encryption::ServerKeys,
                    "aws:kms" => Encryption::Kms { key: None },
                    _ => return Err(format!("sse is AES256 or aws:kms, not {value:?}")),
                });
            }
            "kms_key" => match &mut self.encryption {
                Some(Encryption::Kms { key }) if !value.is_empty() => *key = Some(value.to_owned()),
                _ => return Err("kms_key needs a value, and sse=aws:kms before it".to_owned()),
            },
            _ => return Err(unknown(word)),
        }
        Ok(())
    }
}

impl FromStr for S3Address {
    type Err = String;

    /// Reads what follows `s3://`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let mut address = Self {
            bucket: bucket_name(bucket)?,
            prefix: prefix_name(prefix)?,
            endpoint: None,
            region: None,
            path_style: false,
            encryption: None,
        };
        let mut said = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (word, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("{pair:?} has no value; write {pair}=VALUE"))?;
            if said.contains(&word) {
                return Err(format!("{word} is there twice"));
            }
            said.push(word);
            address.set(word, &decode(value)?)?;
        }
        if !said.contains(&"path_style") {
            // Servers of one's own seldom have a name per bucket; AWS has, and is leaving the other form.
            address.path_style = address.endpoint.is_some();
        }
        Ok(address)
    }
}

impl fmt::Display for S3Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.prefix)?;
        let mut words = Vec::new();
        words.extend(self.endpoint.as_ref().map(|url| ("endpoint", url.as_str())));
        words.extend(self.region.as_ref().map(|name| ("region", name.as_str())));
        if self.path_style != self.endpoint.is_some() {
            words.push(("path_style", if self.path_style { "true" } else { "false" }));
        }
        match &self.encryption {
            None => {}
            Some(Encryption::ServerKeys) => words.push(("sse", "AES256")),
            Some(Encryption::Kms { key }) => {
                words.push(("sse", "aws:kms"));
                words.extend(key.as_ref().map(|key| ("kms_key", key.as_str())));
            }
        }
        for (at, (word, value)) in words.into_iter().enumerate() {
            let sign = if at == 0 { '?' } else { '&' };
            write!(f, "{sign}{word}={}", encode(value))?;
        }
        Ok(())
    }
}

fn bucket_name(bucket: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let dots = bucket.starts_with('.') || bucket.contains("..");
    match bucket {
        "" => Err("an S3 address is s3://BUCKET/PREFIX".to_owned()),
        _ if bucket.len() > 255 || dots || !bucket.bytes().all(plain) => {
            Err(format!("{bucket:?} cannot be a bucket's name"))
        }
        _ => Ok(bucket.to_owned()),
    }
}

fn prefix_name(prefix: &str) -> Result<String, String> {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    if prefix.is_empty() {
        return Ok(String::new());
    }
    if prefix.len() > PREFIX_BYTES_MAX {
        return Err(format!(
            "the prefix has {} bytes, more than {PREFIX_BYTES_MAX}",
            prefix.len()
        ));
    }
    Key::new(prefix)
        .map(|key| key.to_string())
        .map_err(|error| error.to_string())
}

fn endpoint(url: &str) -> Result<String, String> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .ok_or_else(|| format!("endpoint is http://HOST:PORT or https://HOST:PORT, not {url:?}"))?;
    // The address is shown in logs: what could be a password is not even repeated in the error.
    if rest.contains('@') {
        return Err("endpoint takes no user or password; credentials come from the environment, a profile or the machine's role".to_owned());
    }
    let visible = rest.bytes().all(|byte| byte.is_ascii_graphic());
    if rest.is_empty() || rest.starts_with('/') || !visible || rest.contains(['?', '#']) {
        return Err(format!("endpoint {url:?} names no host"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn plain_word(word: &str, value: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match value {
        "" => Err(format!("{word} is empty")),
        _ if !value.bytes().all(plain) => Err(format!("{word} cannot be {value:?}")),
        _ => Ok(value.to_owned()),
    }
}

fn unknown(word: &str) -> String {
    if SECRETS.contains(&word.to_ascii_lowercase().as_str()) {
        return format!(
            "{word} does not belong into an address; credentials come from the environment, a profile or the machine's role"
        );
    }
    let nearest = WORDS
        .iter()
        .map(|known| (strsim::jaro_winkler(word, known), known))
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        Some((alike, known)) if alike >= ALIKE_MIN => {
            format!("{word:?} is not known; did you mean {known}?")
        }
        _ => format!("{word:?} is not known; known are {}", WORDS.join(", ")),
    }
}

fn decode(value: &str) -> Result<String, String> {
    let bad = || format!("{value:?} is not percent-encoded as it should be");
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit(rest.next()), digit(rest.next()));
        let both = high.zip(low).map(|(high, low)| high * 16 + low);
        bytes.push(
            both.and_then(|code| u8::try_from(code).ok())
                .ok_or_else(bad)?,
        );
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

fn encode(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'%' | b'&' | b'+' | b'#' | b'?') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02x}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_key_lies_below_the_prefix_and_comes_back(
            prefix in "[a./]{0,6}",
            text in "[a./%@]{1,8}",
            foreign in "[a./]{0,12}",
        ) {
            if let (Ok(address), Ok(key)) = (read(&format!("b/{prefix}")), Key::new(text)) {
                let full = address.full_key(key.as_str());
                prop_assert!(full.starts_with(&address.prefix));
                prop_assert_eq!(address.own_key(&full), Some(key));
                if let Some(own) = address.own_key(&foreign) {
                    prop_assert_eq!(address.full_key(own.as_str()), foreign);
                }
            }
        }
    }

    fn read(text: &str) -> Result<S3Address, String> {
        text.parse()
    }

    #[test]
    fn an_address_is_read_and_said_again() {
        for text in [
            "s3://bucket/",
            "s3://bucket/a/b",
            "s3://b/p?endpoint=http://127.0.0.1:9000&region=us-east-1",
            "s3://b/p?endpoint=https://s3.example&path_style=false",
            "s3://b/p?region=eu-west-1&path_style=true&sse=AES256",
            "s3://b/p?sse=aws:kms&kms_key=arn:aws:kms:eu-west-1:1:key/x",
        ] {
            let address = read(&text[5..]).unwrap();
            assert_eq!(address.to_string(), text);
        }
        assert_eq!(read("b").unwrap(), read("b/").unwrap());
        assert_eq!(read("b/p/").unwrap(), read("b/p").unwrap());
        assert!(read("b?endpoint=http%3a%2f%2fhost").unwrap().path_style);
        assert!(!read("b").unwrap().path_style);
    }

    #[test]
    fn an_unknown_word_names_the_nearest_known_one() {
        for (word, nearest) in [
            ("endpont", "endpoint"),
            ("regoin", "region"),
            ("pathstyle", "path_style"),
            ("kms-key", "kms_key"),
        ] {
            let error = read(&format!("b/p?{word}=x")).unwrap_err();
            assert!(
                error.contains(&format!("did you mean {nearest}")),
                "{error}"
            );
        }
        assert!(read("b/p?zzz=1").unwrap_err().contains("known are"));
    }

    #[test]
    fn no_secret_is_taken_or_repeated() {
        for text in [
            "b/p?endpoint=http://user:hunter2@host",
            "b/p?secret_key=hunter2",
            "b/p?access_key=hunter2",
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains("credentials come from"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn nothing_outside_the_prefix_is_reached_or_taken_for_ours() {
        for bad in [
            "",
            "/p",
            "b//p",
            "b/../x",
            "b/a/../../x",
            "..",
            "b/.hidden",
            "a@b",
            "b/p?region=",
            "b/p?endpoint=host",
            "b/p?sse=none",
            "b/p?kms_key=x",
            "b/p?path_style=yes",
            "b/p?region=a&region=b",
            "b/p?region",
            "b/p?region=%zz",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        let address = read("b/p").unwrap();
        assert_eq!(address.full_key("packs/x"), "p/packs/x");
        assert_eq!(address.own_key("p/packs/x").unwrap().as_str(), "packs/x");
        for other in ["packs/x", "p2/packs/x", "p", "p/", "p//x", "p/../x"] {
            assert!(address.own_key(other).is_none(), "{other:?}");
        }
    }
}
