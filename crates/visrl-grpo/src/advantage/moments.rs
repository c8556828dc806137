//! Mean and unbiased standard deviation of what could be scored.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::lanes::vectorized;
use crate::pieces;
use crate::real::Real;

/// How the factor `n / (n - 1)` of the unbiased variance is computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bessel {
    /// In the precision of the rewards. The default.
    #[default]
    Exact,
    /// Rounded to single precision whatever the precision of the rewards, as PyTorch divides
    /// integer counts. It makes no difference in `f32`; in `f64` it is a relative difference of
    /// up to 3e-8 in the standard deviation, needed only to reproduce such numbers.
    Single,
}

/// Mean and standard deviation of the values that are not NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Moments<F> {
    /// How many values there are.
    pub(crate) count: usize,
    /// Mean; NaN without values.
    pub(crate) mean: F,
    /// Unbiased standard deviation; NaN with fewer than two values.
    pub(crate) std: F,
}

impl<F: Real> Moments<F> {
    /// The moments of the values that are not NaN. Equal values have exactly their common value
    /// as mean and exactly 0 as standard deviation.
    ///
    /// The sum is taken in four interleaved partial sums, the order of vectorized reductions; from
    /// 256 values on in 32.
    /// It matters only where rewards differ by less than about 1e-4 and the mean's last bit shows.
    #[inline(always)]
    pub(crate) fn of(values: &[F], bessel: Bessel) -> Self {
        let found = if values.len() < 256 {
            Self::all_scored::<4>(values, bessel)
        } else {
            Self::all_scored::<32>(values, bessel)
        };
        found.unwrap_or_else(|| Self::scored(values.iter().copied(), bessel))
    }

    /// The moments of many values, which several threads add up.
    pub(crate) fn of_batch(values: &[F], bessel: Bessel) -> Self {
        let piece = pieces::size(values.len(), 1);
        let Some(first) = values.first().filter(|_| piece < values.len()) else {
            return vectorized(
                #[inline(always)]
                || Self::of(values, bessel),
            );
        };
        let sum_up = |f: &(dyn Fn(&[F]) -> f64 + Sync)| -> f64 {
            let sums: Vec<f64> = values.par_chunks(piece).map(f).collect();
            sums.iter().sum()
        };
        let sum = sum_up(&|values| {
            vectorized(
                #[inline(always)]
                || add::<32, F>(values, |value| value.to_f64()),
            )
        });
        if !sum.is_finite() {
            return Self::scored(values.iter().copied(), bessel);
        }
        let count = values.len();
        if values.iter().all(|value| value == first) {
            return Self {
                count,
                mean: *first,
                std: F::ZERO,
            };
        }
        let mean = F::from_f64(sum / count as f64);
        let squares = sum_up(&|values| {
            vectorized(
                #[inline(always)]
                || {
                    add::<32, F>(
                        values,
                        #[inline(always)]
                        |value| {
                            let d = (value - mean).to_f64();
                            d * d
                        },
                    )
                },
            )
        });
        Self {
            count,
            mean,
            std: spread(squares, count, bessel),
        }
    }

    /// The moments of values that are all finite, in `LANES` partial sums; `None` of others.
    #[inline(always)]
    fn all_scored<const LANES: usize>(values: &[F], bessel: Bessel) -> Option<Self> {
        let first = *values.first()?;
        let (mut lanes, mut differ) = ([0.0; LANES], [false; LANES]);
        let chunks = values.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] += chunk[lane].to_f64();
                differ[lane] |= chunk[lane] != first;
            }
        }
        for (lane, value) in rest.iter().enumerate() {
            lanes[lane] += value.to_f64();
            differ[lane] |= *value != first;
        }
        let sum = lanes.iter().sum::<f64>();
        if !sum.is_finite() {
            return None;
        }
        if !differ.contains(&true) {
            let std = if values.len() < 2 { F::NAN } else { F::ZERO };
            return Some(Self {
                count: values.len(),
                mean: first,
                std,
            });
        }
        let mean = F::from_f64(sum / values.len() as f64);
        let mut squares = [0.0; LANES];
        let chunks = values.chunks_exact(LANES);
        for chunk in chunks {
            for lane in 0..LANES {
                let d = (chunk[lane] - mean).to_f64();
                squares[lane] += d * d;
            }
        }
        for (lane, value) in rest.iter().enumerate() {
            let d = (*value - mean).to_f64();
            squares[lane] += d * d;
        }
        let std = spread(squares.iter().sum(), values.len(), bessel);
        Some(Self {
            count: values.len(),
            mean,
            std,
        })
    }

    /// The moments of the values that are not NaN, whatever they are.
    #[cold]
    fn scored(values: impl Iterator<Item = F> + Clone, bessel: Bessel) -> Self {
        let scored = values.filter(|v| !v.is_nan());
        let mut count = 0usize;
        let mut lanes = [0.0; 4];
        let mut extremes: Option<(F, F)> = None;
        for value in scored.clone() {
            lanes[count % 4] += value.to_f64();
            count += 1;
            let (low, high) = extremes.unwrap_or((value, value));
            extremes = Some((value.at_most(low), value.at_least(high)));
        }
        let Some((low, high)) = extremes else {
            return Self {
                count,
                mean: F::NAN,
                std: F::NAN,
            };
        };
        let equal = low == high;
        let mean = if equal {
            low
        } else {
            F::from_f64(lanes.iter().sum::<f64>() / count as f64)
        };
        if count < 2 {
            return Self {
                count,
                mean,
                std: F::NAN,
            };
        }
        if equal {
            return Self {
                count,
                mean,
                std: F::ZERO,
            };
        }
        let squares: f64 = scored.map(|v| (v - mean).to_f64()).map(|d| d * d).sum();
        Self {
            count,
            mean,
            std: spread(squares, count, bessel),
        }
    }
}

/// The sum of a function of each value, in `LANES` partial sums.
#[inline(always)]
fn add<const LANES: usize, F: Real>(values: &[F], f: impl Fn(F) -> f64) -> f64 {
    let mut sums = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += f(chunk[lane]);
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        sums[lane] += f(*value);
    }
    sums.iter().sum()
}

/// The unbiased standard deviation from the sum of squared differences of `count` values.
#[inline(always)]
fn spread<F: Real>(squares: f64, count: usize, bessel: Bessel) -> F {
    F::from_f64((squares * correction(count, bessel)).sqrt())
}

/// What turns a sum of squared differences into the unbiased variance: `n / (n - 1) / n`.
#[inline(always)]
pub(crate) fn correction(count: usize, bessel: Bessel) -> f64 {
    let n = count as f64;
    let factor = match bessel {
        Bessel::Exact => n / (n - 1.0),
        Bessel::Single => f64::from((n / (n - 1.0)) as f32),
    };
    factor / n
}

/// The value, or 0 where it is not a number.
#[inline(always)]
pub(crate) fn or_zero<F: Real>(value: F) -> F {
    if value.is_nan() { F::ZERO } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Moments<f64> {
        Moments::of(values, Bessel::Exact)
    }

    #[test]
    fn moments_leave_out_nan() {
        let m = of(&[1.0, f64::NAN, 3.0]);
        assert_eq!((m.mean, m.std), (2.0, 2.0f64.sqrt()));
        assert!(of(&[]).mean.is_nan());
        let one = of(&[5.0, f64::NAN]);
        assert!(one.mean == 5.0 && one.std.is_nan());
    }

    #[test]
    fn equal_values_have_no_spread_at_all() {
        assert_eq!(
            of(&[0.1, 0.1, 0.1]),
            Moments {
                count: 3,
                mean: 0.1,
                std: 0.0
            }
        );
    }

    #[test]
    fn the_single_precision_factor_differs_only_there() {
        let values = [1.0, 0.0, 0.0, 0.0];
        let single = Moments::of(&values, Bessel::Single).std;
        assert_eq!(of(&values).std, 0.5);
        assert!(single != 0.5 && (single - 0.5f64).abs() < 1e-7);
    }
}
