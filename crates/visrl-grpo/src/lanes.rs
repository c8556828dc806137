//! Small blocks of tokens, and sums over them that do not wait for each other.

use crate::real::Real;

/// Tokens that are taken together.
pub(crate) const BLOCK: usize = 32;

/// Partial sums that are kept apart, so that one addition need not wait for the one before.
const LANES: usize = 8;

/// Runs a loop compiled for the vectors that the processor has. The results are the same numbers on
/// every processor: sums are kept in the same lanes, and nothing is fused.
#[inline]
pub(crate) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// A block of a field, zero where tokens do not count and beyond the end of `values`.
#[inline(always)]
pub(crate) fn gather<F: Real>(values: &[F], counted: &[bool; BLOCK]) -> [F; BLOCK] {
    let mut block = [F::ZERO; BLOCK];
    for ((out, value), counted) in block.iter_mut().zip(values).zip(counted) {
        *out = if *counted { *value } else { F::ZERO };
    }
    block
}

/// A sum in double precision.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lanes([f64; LANES]);

impl Lanes {
    /// Adds the values of a block that count.
    #[inline(always)]
    pub(crate) fn add<F: Real>(&mut self, values: &[F; BLOCK], counted: &[bool; BLOCK]) {
        for start in (0..BLOCK).step_by(LANES) {
            for lane in 0..LANES {
                let value = values[start + lane].to_f64();
                self.0[lane] += if counted[start + lane] { value } else { 0.0 };
            }
        }
    }

    /// The sum.
    pub(crate) fn sum(&self) -> f64 {
        self.0.iter().sum()
    }
}

/// The smallest and the largest of the values seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RangeLanes<F> {
    low: [F; LANES],
    high: [F; LANES],
}

impl<F: Real> Default for RangeLanes<F> {
    fn default() -> Self {
        Self {
            low: [F::from_f64(f64::INFINITY); LANES],
            high: [F::from_f64(f64::NEG_INFINITY); LANES],
        }
    }
}

impl<F: Real> RangeLanes<F> {
    /// Looks at the values of a block that count.
    #[inline(always)]
    pub(crate) fn add(&mut self, values: &[F; BLOCK], counted: &[bool; BLOCK]) {
        for start in (0..BLOCK).step_by(LANES) {
            for lane in 0..LANES {
                let (value, counted) = (values[start + lane], counted[start + lane]);
                let (low, high) = (self.low[lane], self.high[lane]);
                self.low[lane] = low.at_most(if counted { value } else { low });
                self.high[lane] = high.at_least(if counted { value } else { high });
            }
        }
    }

    /// Smallest and largest; infinite the wrong way round when nothing was seen.
    pub(crate) fn range(&self) -> (F, F) {
        let low = self.low.iter().fold(self.low[0], |a, b| a.at_most(*b));
        let high = self.high.iter().fold(self.high[0], |a, b| a.at_least(*b));
        (low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_counts_is_seen() {
        let mut values = [f32::NAN; BLOCK];
        let mut counted = [false; BLOCK];
        for t in (0..BLOCK).step_by(3) {
            (values[t], counted[t]) = (t as f32 + 1.0, true);
        }
        let (mut sum, mut range) = (Lanes::default(), RangeLanes::default());
        sum.add(&values, &counted);
        range.add(&values, &counted);
        let expected: f64 = (0..BLOCK).step_by(3).map(|t| t as f64 + 1.0).sum();
        assert_eq!(sum.sum(), expected);
        assert_eq!(range.range(), (1.0, 31.0));
        let block = gather(&values[..10], &counted);
        assert_eq!(
            (block[0], block[1], block[9], block[12]),
            (1.0, 0.0, 10.0, 0.0)
        );
    }
}
