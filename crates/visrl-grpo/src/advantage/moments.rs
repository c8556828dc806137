//! Mean and unbiased standard deviation of what could be scored.

use serde::{Deserialize, Serialize};

use crate::real::Real;

/// How the factor `n / (n - 1)` of the unbiased variance is computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bessel {
    /// In the precision of the rewards. The default.
    #[default]
    Exact,
    /// Rounded to single precision, as PyTorch divides integer counts: in `f64` a difference of up
    /// to 3e-8 in the standard deviation, needed only to reproduce such numbers.
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
    pub(crate) fn of(values: &[F], bessel: Bessel) -> Self {
        let scored = || values.iter().copied().filter(|value| !value.is_nan());
        let (mut count, mut sum, mut equal) = (0usize, 0.0, true);
        let first = scored().next().unwrap_or(F::NAN);
        for value in scored() {
            count += 1;
            sum += value.to_f64();
            equal &= value == first;
        }
        let n = count as f64;
        let mean = if equal { first } else { F::from_f64(sum / n) };
        let square = |value: F| (value - mean).to_f64().powi(2);
        let factor = match bessel {
            Bessel::Exact => n / (n - 1.0),
            Bessel::Single => f64::from((n / (n - 1.0)) as f32),
        };
        let std = match count {
            0 | 1 => F::NAN,
            _ if equal => F::ZERO,
            _ => F::from_f64((scored().map(square).sum::<f64>() * (factor / n)).sqrt()),
        };
        Self { count, mean, std }
    }
}

/// Replaces every value by `(value - mean of its group) * scale`, where the scale is a function of
/// the group's moments, and by 0 where that is not a number.
pub(crate) fn centre_and_scale<F: Real>(
    values: &mut [F],
    group_size: usize,
    bessel: Bessel,
    scale: impl Fn(&Moments<F>) -> F,
) {
    for group in values.chunks_exact_mut(group_size) {
        let moments = Moments::of(group, bessel);
        let scale = scale(&moments);
        for value in group {
            *value = or_zero((*value - moments.mean) * scale);
        }
    }
}

/// The value, or 0 where it is not a number.
pub(crate) fn or_zero<F: Real>(value: F) -> F {
    if value.is_nan() { F::ZERO } else { value }
}

#[cfg(test)]
#[test]
fn nan_takes_no_part_and_equal_values_have_no_spread() {
    let of = |values: &[f64]| {
        let m = Moments::of(values, Bessel::Exact);
        (m.count, m.mean, m.std)
    };
    assert_eq!(of(&[1.0, f64::NAN, 3.0]), (2, 2.0, 2.0f64.sqrt()));
    assert_eq!(of(&[0.1, 0.1, 0.1]), (3, 0.1, 0.0));
}
