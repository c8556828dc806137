//! Which tokens are uncertain enough to learn from.

use std::cmp::Ordering;

use crate::real::Real;

/// The `quantile` (0 to 1) of `values`, linearly interpolated between neighbours; `None` without
/// values. Sorts `values`.
///
/// With `n` values in ascending order the rank is `quantile * (n - 1)`; a rank within 1e-6 of a
/// whole number is taken as that number, so that rounding cannot push a value that *is* the
/// quantile below it.
pub(crate) fn quantile<F: Real>(values: &mut [F], quantile: f64) -> Option<f64> {
    values.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
    let last = values.len().checked_sub(1)?;
    let rank = quantile * last as f64;
    let whole = (rank - rank.round()).abs() <= 1e-6;
    let rank = if whole { rank.round() } else { rank };
    let [low, high] = [rank.floor(), rank.ceil()].map(|rank| values[rank as usize].to_f64());
    Some(low + (rank - rank.floor()) * (high - low))
}

#[cfg(test)]
#[test]
fn quantiles_interpolate_between_values() {
    assert!((quantile(&mut [3.0, 1.0, 2.0, 4.0f32], 0.8).unwrap() - 3.4).abs() < 1e-12);
    let mut values: Vec<f64> = (0..26).map(f64::from).collect();
    assert_eq!(quantile(&mut values, 1.0 - 0.2), Some(20.0));
    assert_eq!(quantile::<f64>(&mut [], 0.5), None);
}
