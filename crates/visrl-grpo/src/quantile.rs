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
fn quantiles_interpolate() {
    let at = |q| quantile(&mut [3.0f32, 1.0, 2.0, 4.0], q);
    assert_eq!([0.0, 1.0, 0.5].map(at), [Some(1.0), Some(4.0), Some(2.5)]);
    assert!((at(0.8).unwrap() - 3.4).abs() < 1e-12);
    assert_eq!(quantile::<f64>(&mut [], 0.5), None);
    // A whole rank is the value itself.
    let mut values: Vec<f64> = (0..26).map(f64::from).collect();
    assert_eq!(quantile(&mut values, 1.0 - 0.2), Some(20.0));
}
