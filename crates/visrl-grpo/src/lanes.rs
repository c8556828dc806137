//! Small blocks of tokens, and sums over them that do not wait for each other.

use crate::real::Real;

/// Tokens that are taken together: enough that what is done once per block does not show.
pub(crate) const BLOCK: usize = 64;

/// Partial sums that are kept apart, so that one addition need not wait for the one before.
const LANES: usize = BLOCK / 2;

/// Runs a loop compiled for the vectors that the processor has. The results are the same numbers on
/// every processor: sums are kept in the same lanes, and nothing is fused.
#[inline]
pub(crate) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// A block of a field, zero where tokens do not count and beyond the end of `values`. In a `FULL`
/// block every token counts.
#[inline(always)]
pub(crate) fn gather<F: Real, const FULL: bool>(
    values: &[F],
    counted: &[bool; BLOCK],
) -> [F; BLOCK] {
    let mut block = [F::ZERO; BLOCK];
    if FULL {
        block.copy_from_slice(&values[..BLOCK]);
    } else {
        block[..values.len()].copy_from_slice(values);
        for (value, counted) in block.iter_mut().zip(counted) {
            *value = if *counted { *value } else { F::ZERO };
        }
    }
    block
}

/// How many flags of a mask are set.
#[inline]
pub(crate) fn count(mask: &[bool]) -> usize {
    // Bytes, as many as one byte can count, are added as vectors.
    let piece = |flags: &[bool]| flags.iter().map(|flag| u8::from(*flag)).sum::<u8>();
    mask.chunks(240)
        .map(|flags| usize::from(piece(flags)))
        .sum()
}

/// A sum in double precision. The values of a block are first added in twos, in their own
/// precision.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lanes([f64; LANES]);

impl Lanes {
    /// Adds the values of a block that count.
    #[inline(always)]
    pub(crate) fn add<F: Real, const FULL: bool>(
        &mut self,
        values: &[F; BLOCK],
        counted: &[bool; BLOCK],
    ) {
        let mut kept = *values;
        if !FULL {
            for (value, counted) in kept.iter_mut().zip(counted) {
                *value = if *counted { *value } else { F::ZERO };
            }
        }
        for lane in 0..LANES {
            self.0[lane] += (kept[lane] + kept[lane + LANES]).to_f64();
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
    pub(crate) fn add<const FULL: bool>(&mut self, values: &[F; BLOCK], counted: &[bool; BLOCK]) {
        for start in [0, LANES] {
            for lane in 0..LANES {
                let value = values[start + lane];
                let counted = FULL || counted[start + lane];
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
        sum.add::<_, false>(&values, &counted);
        range.add::<false>(&values, &counted);
        let expected: f64 = (0..BLOCK).step_by(3).map(|t| t as f64 + 1.0).sum();
        assert_eq!(sum.sum(), expected);
        let largest = ((BLOCK - 1) / 3 * 3 + 1) as f32;
        assert_eq!(range.range(), (1.0, largest));
        let block = gather::<_, false>(&values[..10], &counted);
        assert_eq!(
            (block[0], block[1], block[9], block[12]),
            (1.0, 0.0, 10.0, 0.0)
        );
        assert_eq!(count(&counted), BLOCK.div_ceil(3));
        assert_eq!((count(&[true; 1000]), count(&[])), (1000, 0));
    }
}
