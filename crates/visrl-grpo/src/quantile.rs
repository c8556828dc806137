//! Which tokens are uncertain enough to learn from.

use std::cmp::Ordering;

use crate::real::Real;

/// The `quantile` (0 to 1) of `values`, linearly interpolated between neighbours; `None` without
/// values. Reorders `values`.
///
/// With `n` values in ascending order the rank is `quantile * (n - 1)`; a rank within 1e-6 of a
/// whole number is taken as that number, so that rounding cannot push a value that *is* the
/// quantile below it.
pub(crate) fn quantile<F: Real>(values: &mut [F], quantile: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let rank = (quantile.clamp(0.0, 1.0) * last as f64).clamp(0.0, last as f64);
    let nearest = rank.round();
    let rank = if (rank - nearest).abs() <= 1e-6 {
        nearest
    } else {
        rank
    };
    let order = |a: &F, b: &F| a.partial_cmp(b).unwrap_or(Ordering::Equal);
    let (_, lower, above) = values.select_nth_unstable_by(rank.floor() as usize, order);
    let lower = lower.to_f64();
    let weight = rank - rank.floor();
    if weight == 0.0 {
        return Some(lower);
    }
    let upper = above
        .iter()
        .copied()
        .min_by(order)
        .map_or(lower, Real::to_f64);
    Some(lower + weight * (upper - lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let values = [3.0f32, 1.0, 2.0, 4.0];
        let at = |q| quantile(&mut values.clone(), q).unwrap();
        assert_eq!((at(0.0), at(1.0), at(0.5)), (1.0, 4.0, 2.5));
        assert!((at(0.8) - 3.4).abs() < 1e-12);
        assert_eq!(quantile::<f64>(&mut [], 0.5), None);
    }

    #[test]
    fn a_whole_rank_is_the_value_itself() {
        let mut values: Vec<f64> = (0..26).map(f64::from).collect();
        assert_eq!(quantile(&mut values, 1.0 - 0.2), Some(20.0));
    }
}
