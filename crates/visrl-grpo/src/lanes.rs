//! Small blocks of tokens, and sums over them that do not wait for each other.

use crate::real::Real;

/// Tokens that are taken together: enough that what is done once per block does not show.
pub(crate) const BLOCK: usize = 64;

/// Partial sums that are kept apart, so that one addition need not wait for the one before.
const LANES: usize = BLOCK / 4;

/// A block of numbers that vectors load and store whole: at the start of a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Tile<F>(pub(crate) [F; BLOCK]);

impl<F: Real> Tile<F> {
    pub(crate) const ZERO: Self = Self([F::ZERO; BLOCK]);
}

impl<F> std::ops::Deref for Tile<F> {
    type Target = [F; BLOCK];

    #[inline(always)]
    fn deref(&self) -> &[F; BLOCK] {
        &self.0
    }
}

impl<F> std::ops::DerefMut for Tile<F> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [F; BLOCK] {
        &mut self.0
    }
}

/// Runs a loop compiled for the vectors that the processor has. The results are the same numbers on
/// every processor: sums are kept in the same lanes, and multiplications are fused with additions
/// only where the code says so.
#[inline]
pub(crate) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// Copies a field of at most a block, with zeros where tokens do not count.
#[inline(always)]
pub(crate) fn gather<'a, F: Real>(
    values: &[F],
    counted: &[bool; BLOCK],
    room: &'a mut Tile<F>,
) -> &'a [F] {
    room[..values.len()].copy_from_slice(values);
    for (value, counted) in room.iter_mut().zip(counted) {
        *value = if *counted { *value } else { F::ZERO };
    }
    &room.0
}

/// Copies a block back to where it came from, with zeros where tokens do not count.
#[inline(always)]
pub(crate) fn scatter<F: Real>(block: &[F; BLOCK], counted: &[bool; BLOCK], values: &mut [F]) {
    for ((value, from), counted) in values.iter_mut().zip(block).zip(counted) {
        *value = if *counted { *from } else { F::ZERO };
    }
}

/// The flags of a block that counts from a place on.
#[inline(always)]
pub(crate) fn from(start: usize) -> [bool; BLOCK] {
    let mut counted = [false; BLOCK];
    for (t, counted) in counted.iter_mut().enumerate() {
        *counted = t >= start;
    }
    counted
}

/// How many flags of a mask are set.
#[inline(always)]
pub(crate) fn count(mask: &[bool]) -> usize {
    let (eights, rest) = mask.as_chunks::<8>();
    let bits = |flags: &[bool; 8]| u64::from_le_bytes(flags.map(u8::from)).count_ones();
    let rest = rest.iter().map(|flag| u32::from(*flag)).sum::<u32>();
    (eights.iter().map(bits).sum::<u32>() + rest) as usize
}

/// A sum in double precision. The values of a block are first added in fours, in their own
/// precision.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
pub(crate) struct Lanes([f64; LANES]);

impl Lanes {
    /// Adds the values of a block that count.
    #[inline(always)]
    pub(crate) fn add<F: Real, const FULL: bool>(&mut self, values: &[F], counted: &[bool; BLOCK]) {
        let values = &values[..BLOCK];
        let kept = |t: usize| {
            if FULL || counted[t] {
                values[t]
            } else {
                F::ZERO
            }
        };
        for (lane, sum) in self.0.iter_mut().enumerate() {
            let four = (kept(lane) + kept(lane + LANES))
                + (kept(lane + 2 * LANES) + kept(lane + 3 * LANES));
            *sum += four.to_f64();
        }
    }

    /// The sum.
    #[inline(always)]
    pub(crate) fn sum(&self) -> f64 {
        let mut sums = self.0;
        let mut half = LANES / 2;
        while half > 0 {
            for lane in 0..half {
                sums[lane] += sums[lane + half];
            }
            half /= 2;
        }
        sums[0]
    }
}

/// The smallest and the largest of the values seen.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
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
        let (mut low, mut high) = (*values, *values);
        if !FULL {
            for t in 0..BLOCK {
                low[t] = if counted[t] {
                    values[t]
                } else {
                    F::from_f64(f64::INFINITY)
                };
                high[t] = if counted[t] {
                    values[t]
                } else {
                    F::from_f64(f64::NEG_INFINITY)
                };
            }
        }
        for lane in 0..LANES {
            let (mut least, mut most) = (self.low[lane], self.high[lane]);
            for part in 0..BLOCK / LANES {
                least = least.at_most(low[lane + part * LANES]);
                most = most.at_least(high[lane + part * LANES]);
            }
            (self.low[lane], self.high[lane]) = (least, most);
        }
    }

    /// Smallest and largest; `None` when no number was seen.
    pub(crate) fn range(&self) -> Option<(F, F)> {
        let low = self.low.iter().fold(self.low[0], |a, b| a.at_most(*b));
        let high = self.high.iter().fold(self.high[0], |a, b| a.at_least(*b));
        (low <= high).then_some((low, high))
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
        assert_eq!(range.range(), Some((1.0, largest)));
        assert_eq!(RangeLanes::<f32>::default().range(), None);
        let mut room = Tile::ZERO;
        let block = gather(&values[..10], &counted, &mut room);
        assert_eq!(
            (block[0], block[1], block[9], block[12]),
            (1.0, 0.0, 10.0, 0.0)
        );
        let mut back = [f32::NAN; 10];
        scatter(&room, &counted, &mut back);
        assert_eq!((back[0], back[1], back[9]), (1.0, 0.0, 10.0));
        assert_eq!(count(&from(3)), BLOCK - 3);
        assert_eq!(count(&counted), BLOCK.div_ceil(3));
        assert_eq!((count(&[true; 1000]), count(&[])), (1000, 0));
    }
}
