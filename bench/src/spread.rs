//! How a quantity is spread: percentiles by the nearest rank.
//!
//! It knows numbers, not their units.

use std::fmt;

/// Percentiles of some figures; not numbers when there are none.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// How many there are.
    pub count: usize,
    /// The median.
    pub p50: f64,
    /// What one in ten exceeds.
    pub p90: f64,
    /// What one in a hundred exceeds.
    pub p99: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of `figures`.
    pub fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let rank = |share: f64| {
            let at = (share * figures.len() as f64).ceil() as usize;
            figures
                .get(at.saturating_sub(1))
                .copied()
                .unwrap_or(f64::NAN)
        };
        Self {
            count: figures.len(),
            p50: rank(0.5),
            p90: rank(0.9),
            p99: rank(0.99),
            max: rank(1.0),
        }
    }

    /// The percentiles, one a column.
    pub fn columns(&self) -> String {
        format!(
            "{:9.1} {:9.1} {:9.1} {:9.1}",
            self.p50, self.p90, self.p99, self.max
        )
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            count,
            p50,
            p90,
            p99,
            max,
        } = self;
        write!(
            f,
            "p50={p50:.1} p90={p90:.1} p99={p99:.1} max={max:.1} of {count}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_figures_that_occurred() {
        let spread = Spread::of((1..=200).rev().map(f64::from).collect());
        assert_eq!((spread.p50, spread.p99, spread.max), (100.0, 198.0, 200.0));
        assert!(Spread::of(Vec::new()).p50.is_nan());
    }
}
