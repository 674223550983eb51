//! New inputs from old ones: bits, bytes, numbers and stretches changed, taken out, doubled, or taken from another input.
//!
//! The same seed gives the same inputs. It knows two things of formats: that lengths are numbers of 1, 2, 4 or 8 bytes, and
//! that text has numbers in digits.

use rand::{Rng, SeedableRng, rngs::StdRng};

/// The longest input that is made.
pub const INPUT_BYTES_MAX: usize = 64 * 1024;
/// Changes on top of each other; most inputs get few, so that they stay nearly right.
const CHANGES_MAX: usize = 6;
/// The longest stretch that is moved at once.
const STRETCH_BYTES_MAX: usize = 512;
/// Where sums, products and signs go wrong.
const NUMBERS: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
];

/// Makes inputs.
#[derive(Debug)]
pub(crate) struct Mutator<'a> {
    random: StdRng,
    corpus: &'a [Vec<u8>],
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(seed: u64, target: &str, corpus: &'a [Vec<u8>]) -> Self {
        // Targets with like corpora are not to get like inputs.
        let own = target.bytes().fold(seed, |sum, byte| {
            sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)
        });
        Self {
            random: StdRng::seed_from_u64(own),
            corpus,
        }
    }

    /// The next input.
    pub(crate) fn input(&mut self) -> Vec<u8> {
        let mut input = self.old().to_vec();
        for _ in 0..self.random.random_range(1..=CHANGES_MAX) {
            self.change(&mut input);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn old(&mut self) -> &'a [u8] {
        &self.corpus[self.random.random_range(0..self.corpus.len())]
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        if input.is_empty() {
            input.push(self.random.random());
            return;
        }
        let at = self.random.random_range(0..input.len());
        match self.random.random_range(0..9) {
            0 => input[at] ^= 1 << self.random.random_range(0..8),
            1 => input[at] = self.random.random(),
            2 => self.put_number(input, at),
            3 | 4 => self.put_digits(input, at),
            5 => drop(input.drain(at..self.end(input, at))),
            6 => {
                let stretch = input[at..self.end(input, at)].to_vec();
                let times = self.random.random_range(1..=3);
                input.splice(at..at, stretch.repeat(times));
            }
            7 => {
                let other = self.old();
                if !other.is_empty() {
                    let from = self.random.random_range(0..other.len());
                    let stretch = &other[from..self.end(other, from)];
                    let end = self.end(input, at);
                    input.splice(at..end, stretch.iter().copied());
                }
            }
            _ => input.truncate(at),
        }
    }

    fn end(&mut self, bytes: &[u8], at: usize) -> usize {
        let most = (bytes.len() - at).min(STRETCH_BYTES_MAX);
        at + self.random.random_range(0..=most)
    }

    fn number(&mut self) -> u64 {
        NUMBERS[self.random.random_range(0..NUMBERS.len())]
    }

    fn put_number(&mut self, input: &mut [u8], at: usize) {
        let size = 1 << self.random.random_range(0..4);
        let number = self.number();
        let bytes = match self.random.random_bool(0.8) {
            true => number.to_be_bytes()[8 - size..].to_vec(),
            false => number.to_le_bytes()[..size].to_vec(),
        };
        for (to, from) in input[at..].iter_mut().zip(bytes) {
            *to = from;
        }
    }

    /// Another number for the first digits from `at` on, if there are any.
    fn put_digits(&mut self, input: &mut Vec<u8>, at: usize) {
        let is_digit = |byte: &u8| byte.is_ascii_digit();
        let Some(start) = input[at..].iter().position(is_digit) else {
            return self.put_number(input, at);
        };
        let start = at + start;
        let end = input[start..].iter().position(|byte| !is_digit(byte));
        let end = end.map_or(input.len(), |length| start + length);
        let sign = if self.random.random_bool(0.2) {
            "-"
        } else {
            ""
        };
        let digits = format!("{sign}{}", self.number());
        input.splice(start..end, digits.into_bytes());
    }
}
