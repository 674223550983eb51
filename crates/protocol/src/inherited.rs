//! Transactions that were open when this sidecar began: it never saw their beginning.
//!
//! A process is cut between transactions (1-protocol §4.4), and a sidecar knows those that began through it. One that a
//! predecessor let begin would be cut in two: its records below the marker, its commit above. So until each of them is
//! over no checkpoint is taken part in. Which are open is the broker's word; this only remembers and compares.

use std::collections::{BTreeMap, BTreeSet};

/// When a transaction began, in the broker's milliseconds: it tells one transaction of an id from the next.
pub type Began = i64;

/// What was open at the beginning and may be still.
#[derive(Clone, Debug, Default)]
pub struct Inherited {
    /// `None`: nobody has looked yet.
    open: Option<BTreeMap<String, Began>>,
}

impl Inherited {
    /// True until [`found`](Self::found) was told what is open.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.open.is_none()
    }

    /// The first look: everything of the service that is `open`, less what is known to have begun through this sidecar.
    pub fn found(&mut self, open: BTreeMap<String, Began>, own: &BTreeSet<String>) {
        let mut inherited = open;
        inherited.retain(|id, _| !own.contains(id));
        self.open = Some(inherited);
    }

    /// The transactional ids to look at again.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.open
            .iter()
            .flatten()
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// A later look at `id`: when its open transaction began, `None` where there is none. Another one than the inherited
    /// began after it ended.
    pub fn looked(&mut self, id: &str, open: Option<Began>) {
        let Some(inherited) = &mut self.open else {
            return;
        };
        if inherited.get(id).copied() != open {
            inherited.remove(id);
        }
    }

    /// One that is still open.
    #[must_use]
    pub fn first(&self) -> Option<&str> {
        self.open.as_ref()?.keys().next().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(all: &[(&str, Began)]) -> BTreeMap<String, Began> {
        all.iter().map(|(id, at)| ((*id).to_owned(), *at)).collect()
    }

    #[test]
    fn one_that_began_before_blocks_until_it_is_over() {
        let mut inherited = Inherited::default();
        assert!(inherited.is_unknown());
        inherited.found(
            open(&[("old", 5), ("own", 9)]),
            &BTreeSet::from(["own".into()]),
        );
        assert_eq!(
            (inherited.is_unknown(), inherited.first()),
            (false, Some("old"))
        );
        inherited.looked("old", Some(5));
        assert_eq!(inherited.first(), Some("old"));
        inherited.looked("old", None);
        assert_eq!(inherited.first(), None);
    }

    #[test]
    fn the_next_one_of_an_id_tells_that_the_inherited_one_is_over() {
        let mut inherited = Inherited::default();
        inherited.found(open(&[("busy", 5)]), &BTreeSet::new());
        inherited.looked("busy", Some(6));
        assert_eq!(inherited.first(), None);
        inherited.looked("busy", Some(7));
        assert_eq!(inherited.first(), None, "later ones are no business of it");
    }
}
