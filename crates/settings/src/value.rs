//! Readers of the common kinds of values. Each says what it expects.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

/// The longest name: it becomes part of topic names, transactional ids and object keys.
const NAME_CHARS_MAX: usize = 100;

/// A span of time with its unit: `250ms`, `10s`, `5m`, `1h`, `7d`.
///
/// # Errors
/// When it is none; a number without a unit is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected =
        || "a duration with its unit is expected, such as 250ms, 10s, 5m, 1h or 7d".to_owned();
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let unit_ms: u64 = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(expected()),
    };
    let millis = number.checked_mul(unit_ms).ok_or_else(expected)?;
    Ok(Duration::from_millis(millis))
}

/// Brokers as `HOST:PORT`, separated by commas.
///
/// # Errors
/// When one is none, or there is none.
pub fn brokers(text: &str) -> Result<Vec<String>, String> {
    let all: Vec<String> = text
        .split(',')
        .map(str::trim)
        .filter(|broker| !broker.is_empty())
        .map(str::to_owned)
        .collect();
    let is_broker = |broker: &String| {
        let parts = broker.rsplit_once(':');
        parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if all.is_empty() || !all.iter().all(is_broker) {
        return Err("brokers as HOST:PORT are expected, separated by commas".to_owned());
    }
    Ok(all)
}

/// An address to listen on, `HOST:PORT`.
///
/// # Errors
/// When it is none or its host is not known.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text
        .to_socket_addrs()
        .map_err(|error| format!("HOST:PORT is expected ({error})"))?;
    found
        .next()
        .ok_or_else(|| "HOST:PORT is expected".to_owned())
}

/// A name that can be part of topic names, transactional ids and object keys.
///
/// # Errors
/// When it cannot.
pub fn name(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || text.len() > NAME_CHARS_MAX || !text.bytes().all(fits) {
        return Err(format!(
            "1 to {NAME_CHARS_MAX} letters, digits, '-', '_' and '.' are expected"
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_says_its_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("10 s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for text in [
            "10",
            "",
            "s",
            "-5s",
            "1.5s",
            "99999999999999999999s",
            "9999999999999999999d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn brokers_have_a_host_and_a_port() {
        assert_eq!(
            brokers("a:1, b:2"),
            Ok(vec!["a:1".to_owned(), "b:2".to_owned()])
        );
        for text in ["", ",", "a", "a:x", ":1"] {
            assert!(brokers(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_fit_into_topics_and_keys() {
        assert!(name("shop-1.eu").is_ok());
        for text in ["", "a b", "a/b", "ä"] {
            assert!(name(text).is_err(), "{text}");
        }
    }
}
