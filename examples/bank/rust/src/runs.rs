//! A set of sequence numbers kept as runs, and how often one came that was in it already.
//!
//! Numbers come nearly in order, so a run or two hold millions of them. It knows nothing of senders.

use serde::{Deserialize, Serialize};

/// What was received of one sender's term.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    /// Half-open runs `[from, to)`, in order, apart from each other.
    pub runs: Vec<(u64, u64)>,
    /// How many numbers came again.
    pub duplicates: u64,
}

impl Runs {
    /// Adds one number; one that is there already counts as a duplicate.
    pub fn insert(&mut self, seq: u64) {
        // The first run that ends at or after the number: it holds it, touches it, or lies behind it.
        let at = self.runs.partition_point(|(_, to)| *to < seq);
        match self.runs.get_mut(at) {
            Some((from, to)) if *from <= seq && seq < *to => self.duplicates += 1,
            Some((_, to)) if *to == seq => {
                *to += 1;
                self.join(at);
            }
            Some((from, _)) if *from == seq + 1 => *from = seq,
            _ => self.runs.insert(at, (seq, seq + 1)),
        }
    }

    fn join(&mut self, at: usize) {
        if at + 1 < self.runs.len() && self.runs[at].1 == self.runs[at + 1].0 {
            self.runs[at].1 = self.runs[at + 1].1;
            self.runs.remove(at + 1);
        }
    }

    /// How many different numbers are in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.runs.iter().map(|(from, to)| to - from).sum()
    }

    /// How many of them lie in `[from, to)`.
    #[must_use]
    pub fn len_within(&self, from: u64, to: u64) -> u64 {
        self.runs
            .iter()
            .map(|(start, end)| (*end).min(to).saturating_sub((*start).max(from)))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: &[u64]) -> Runs {
        let mut runs = Runs::default();
        numbers.iter().for_each(|seq| runs.insert(*seq));
        runs
    }

    #[test]
    fn numbers_in_order_are_one_run() {
        assert_eq!(
            of(&[0, 1, 2, 3]),
            Runs {
                runs: vec![(0, 4)],
                duplicates: 0
            }
        );
    }

    #[test]
    fn a_gap_that_is_filled_joins_its_neighbours() {
        assert_eq!(
            of(&[5, 3, 4, 9, 0]),
            Runs {
                runs: vec![(0, 1), (3, 6), (9, 10)],
                duplicates: 0
            }
        );
    }

    #[test]
    fn every_repeat_is_counted() {
        assert_eq!(
            of(&[7, 8, 7, 7, 8]),
            Runs {
                runs: vec![(7, 9)],
                duplicates: 3
            }
        );
    }

    #[test]
    fn any_order_gives_the_same_runs() {
        let forwards: Vec<u64> = (0..200).collect();
        let scattered: Vec<u64> = (0..200).map(|n| n * 77 % 200).collect();
        assert_eq!(of(&forwards), of(&scattered));
    }

    #[test]
    fn what_lies_within_a_span_is_counted() {
        let runs = of(&[0, 1, 2, 10, 11, 20]);
        assert_eq!(
            (runs.len(), runs.len_within(1, 11), runs.len_within(3, 10)),
            (6, 3, 0)
        );
    }
}
