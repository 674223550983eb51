//! The admin APIs that were named, and which of them is asked: the one that leads, as far as is known.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use url::Url;

use super::AdminError;

/// How long one that led is taken to lead still: those that stand by answer some questions too, by what they know.
const LEADER_LOOK_PERIOD: Duration = Duration::from_secs(5);

/// One admin API or several.
#[derive(Debug)]
pub(super) struct Places {
    bases: Vec<Url>,
    names: Vec<String>,
    at: AtomicUsize,
    /// When the one at `at` was last seen to lead.
    seen: Mutex<Option<Instant>>,
}

impl Places {
    /// `addresses` with commas between them; all plain, or all with TLS.
    pub(super) fn parse(addresses: &str) -> Result<Self, AdminError> {
        let bad = |address: &str, reason: &str| AdminError::BadAddress {
            address: address.to_owned(),
            reason: reason.to_owned(),
        };
        let mut bases: Vec<Url> = Vec::new();
        for address in addresses.split(',').map(str::trim) {
            let base = Url::parse(address).map_err(|error| bad(address, &error.to_string()))?;
            if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
                return Err(bad(address, "it is neither http nor https"));
            }
            if bases
                .first()
                .is_some_and(|first| first.scheme() != base.scheme())
            {
                return Err(bad(addresses, "some are http and some https"));
            }
            bases.push(base);
        }
        let trimmed = |base: &Url| base.as_str().trim_end_matches('/').to_owned();
        Ok(Self {
            names: bases.iter().map(trimmed).collect(),
            bases,
            at: AtomicUsize::new(0),
            seen: Mutex::new(None),
        })
    }

    pub(super) fn is_tls(&self) -> bool {
        self.bases[0].scheme() == "https"
    }

    /// True when there is nothing to choose from, or the choice was made a moment ago.
    pub(super) fn is_chosen(&self) -> bool {
        let seen = *self.seen.lock();
        self.count() == 1 || seen.is_some_and(|seen| seen.elapsed() < LEADER_LOOK_PERIOD)
    }

    pub(super) fn count(&self) -> usize {
        self.bases.len()
    }

    /// Each place once, the one asked now first.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = usize> {
        let (first, count) = (self.at(), self.count());
        (first..first + count).map(move |place| place % count)
    }

    pub(super) fn at(&self) -> usize {
        self.at.load(Ordering::Relaxed)
    }

    /// The one at `place` is asked from now on; `leads` says whether because it leads.
    pub(super) fn choose(&self, place: usize, leads: bool) {
        self.at.store(place, Ordering::Relaxed);
        *self.seen.lock() = leads.then(Instant::now);
    }

    pub(super) fn base(&self, place: usize) -> &Url {
        &self.bases[place]
    }

    pub(super) fn name(&self, place: usize) -> &str {
        &self.names[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_named() {
        for addresses in [
            "",
            "127.0.0.1:7070",
            "ftp://x",
            "http://a:1,nowhere",
            "http://a:1,https://b:1",
        ] {
            let error = Places::parse(addresses).unwrap_err().to_string();
            assert!(error.contains("http://HOST:PORT"), "{addresses}: {error}");
        }
    }

    #[test]
    fn the_one_asked_now_comes_first_and_each_once() {
        let places = Places::parse("http://a:1/, http://b:1 ,http://c:1").unwrap();
        assert_eq!(places.in_turn().collect::<Vec<_>>(), [0, 1, 2]);
        assert!(!places.is_chosen());
        places.choose(1, true);
        assert!(places.is_chosen());
        assert_eq!(places.in_turn().collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!(places.name(1), "http://b:1");
    }
}
