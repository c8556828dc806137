//! What every estimator does with its groups: centre and scale.

use rayon::prelude::*;

use crate::advantage::moments::{Bessel, Moments, correction, or_zero};
use crate::advantage::rewards::RewardTable;
use crate::lanes::vectorized;
use crate::pieces;
use crate::real::Real;

/// Groups whose moments are computed together: the roots and divisions of several groups become
/// vector code, which those of one cannot.
const TILE: usize = 32;

/// Cuts the table into pieces of whole groups and does the work on each, with its part of `out`.
pub(super) fn by_pieces<F: Real>(
    rewards: &RewardTable<'_, F>,
    out: &mut [F],
    work: impl Fn(RewardTable<'_, F>, &mut [F]) + Sync,
) {
    let size = rewards.group_size();
    let groups = rewards.completions() / size;
    let piece = pieces::size(groups, size) * size;
    let work = |(index, out): (usize, &mut [F])| {
        let first = index * piece;
        work(rewards.cut(first..first + out.len()), out);
    };
    if piece >= out.len() {
        work((0, out));
    } else {
        out.par_chunks_mut(piece).enumerate().for_each(work);
    }
}

/// Replaces every value by `(value - mean of its group) * scale`, where the scale is a function of
/// the group's moments, and by 0 where that is not a number. Without `STD` the moments have no
/// standard deviation.
#[inline(always)]
pub(super) fn centre_and_scale<F: Real, const STD: bool>(
    values: &mut [F],
    size: usize,
    bessel: Bessel,
    scale: impl Fn(&Moments<F>) -> F,
) {
    vectorized(
        #[inline(always)]
        || match size {
            // Sizes that are common have their own code.
            4 => tiles::<F, STD, 4>(values, size, bessel, &scale),
            8 => tiles::<F, STD, 8>(values, size, bessel, &scale),
            16 => tiles::<F, STD, 16>(values, size, bessel, &scale),
            _ => tiles::<F, STD, 0>(values, size, bessel, &scale),
        },
    );
}

/// Groups of `SIZE` values, or of any `size` when that is 0.
#[inline(always)]
fn tiles<F: Real, const STD: bool, const SIZE: usize>(
    values: &mut [F],
    size: usize,
    bessel: Bessel,
    scale: &impl Fn(&Moments<F>) -> F,
) {
    let size = if SIZE > 0 { SIZE } else { size };
    let mut room = Room::default();
    // Few large groups are vectors themselves.
    let tile = if (2..256).contains(&size) { TILE } else { 1 };
    for groups in values.chunks_mut(size * tile) {
        let whole = tile == TILE && groups.len() == size * TILE;
        if whole && room.moments::<STD, SIZE>(groups, size, bessel) {
            for g in 0..TILE {
                room.scales[g] = scale(&Moments {
                    count: size,
                    mean: room.means[g],
                    std: room.stds[g],
                });
            }
            for (g, group) in groups.chunks_exact_mut(size).enumerate() {
                let (mean, scale) = (room.means[g], room.scales[g]);
                each(group, |value| or_zero((value - mean) * scale));
            }
        } else {
            for group in groups.chunks_exact_mut(size) {
                let moments = Moments::of(group, bessel);
                let scale = scale(&moments);
                for value in group {
                    *value = or_zero((*value - moments.mean) * scale);
                }
            }
        }
    }
}

/// What is known of a tile.
struct Room<F> {
    /// Of the values, then of the squares of their differences from the mean.
    sums: [f64; TILE],
    firsts: [F; TILE],
    equal: [bool; TILE],
    means: [F; TILE],
    stds: [F; TILE],
    scales: [F; TILE],
}

impl<F: Real> Default for Room<F> {
    fn default() -> Self {
        Self {
            sums: [0.0; TILE],
            firsts: [F::ZERO; TILE],
            equal: [false; TILE],
            means: [F::ZERO; TILE],
            stds: [F::ZERO; TILE],
            scales: [F::ZERO; TILE],
        }
    }
}

impl<F: Real> Room<F> {
    /// Mean and standard deviation of each group of a tile; false when some value is not finite.
    /// The same numbers as [`Moments::of`].
    #[inline(always)]
    fn moments<const STD: bool, const SIZE: usize>(
        &mut self,
        values: &[F],
        size: usize,
        bessel: Bessel,
    ) -> bool {
        let size = if SIZE > 0 { SIZE } else { size };
        for (g, group) in values.chunks_exact(size).enumerate() {
            self.sums[g] = sum(group, |value| value.to_f64());
            self.firsts[g] = group[0];
            self.equal[g] = all_equal(group);
        }
        let (mut finite, count) = (true, size as f64);
        for g in 0..TILE {
            finite &= self.sums[g].is_finite();
            let mean = F::from_f64(self.sums[g] / count);
            self.means[g] = if self.equal[g] { self.firsts[g] } else { mean };
        }
        if !finite || !STD {
            return finite;
        }
        for (g, group) in values.chunks_exact(size).enumerate() {
            let mean = self.means[g];
            self.sums[g] = sum(group, |value| {
                let d = (value - mean).to_f64();
                d * d
            });
        }
        let correction = correction(size, bessel);
        for g in 0..TILE {
            let std = F::from_f64((self.sums[g] * correction).sqrt());
            self.stds[g] = if self.equal[g] { F::ZERO } else { std };
        }
        true
    }
}

/// A sum over a group, in four partial sums.
#[inline(always)]
fn sum<F: Real>(group: &[F], f: impl Fn(F) -> f64) -> f64 {
    let mut sums = [0.0; 4];
    let (fours, rest) = group.as_chunks::<4>();
    for four in fours {
        for lane in 0..4 {
            sums[lane] += f(four[lane]);
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        sums[lane] += f(*value);
    }
    ((sums[0] + sums[1]) + sums[2]) + sums[3]
}

/// Whether all values are the same.
#[inline(always)]
fn all_equal<F: Real>(group: &[F]) -> bool {
    let (fours, rest) = group.as_chunks::<4>();
    let mut differ = false;
    for four in fours {
        for value in four {
            differ |= *value != group[0];
        }
    }
    for value in rest {
        differ |= *value != group[0];
    }
    !differ
}

/// Replaces each value of a group.
#[inline(always)]
fn each<F: Real>(group: &mut [F], f: impl Fn(F) -> F) {
    let (fours, rest) = group.as_chunks_mut::<4>();
    for four in fours {
        for value in four {
            *value = f(*value);
        }
    }
    for value in rest {
        *value = f(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tiles against groups taken one by one.
    #[test]
    fn tiles_are_groups() {
        let scale = |moments: &Moments<f64>| 1.0 / (moments.std + 1e-4);
        for size in [1, 2, 3, 4, 6, 7, 8, 16, 40] {
            let mut values: Vec<f64> = (0..size * (TILE * 3 + 5))
                .map(|i| ((i * 7919) % 13) as f64 * 0.1)
                .collect();
            values[..size].fill(0.3);
            // One tile with a value that could not be scored.
            values[size * (TILE + 3)] = f64::NAN;
            let mut alone = values.clone();
            for group in alone.chunks_mut(size) {
                let moments = Moments::of(group, Bessel::Exact);
                for value in group {
                    *value = or_zero((*value - moments.mean) * scale(&moments));
                }
            }
            centre_and_scale::<_, true>(&mut values, size, Bessel::Exact, scale);
            assert_eq!(values, alone, "groups of {size}");
            assert_eq!(values[0], 0.0);
        }
    }
}
