//! Exponentials that compilers turn into vector code.
//!
//! `x = n ln 2 + r` with whole `n` and `|r| <= ln 2 / 2`; then `exp(x) = 2^n exp(r)` with the
//! Taylor series of `exp(r)`. No branch and no call, so a loop over it is vectorised on every
//! target; no fused multiply-add, so every processor gives the same bits.

/// `1 / k!` for `k = 2..=7`.
const SERIES: [f32; 6] = [
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5040.0,
];

/// `e^x`, within 2 units in the last place; NaN gives NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // ln 2 in two parts, the first so short that its product with `n` is exact.
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    /// 1.5 * 2^23: adding it leaves the nearest whole number in the last bits.
    const MAGIC: f32 = 12_582_912.0;
    // Beyond these bounds the result is 0 or infinite.
    let x = if x < -106.0 { -106.0 } else { x };
    let x = if x > 90.0 { 90.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = (x - n * LN2_HI) - n * LN2_LO;
    let mut tail = SERIES[5];
    for c in SERIES[..5].iter().rev() {
        tail = tail * r + *c;
    }
    let value = 1.0 + (r + r * r * tail);
    let n = (shifted.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
    // In two halves, so that results may be subnormal.
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    value * power(half) * power(n.wrapping_sub(half))
}

/// The logistic function `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The error function, within 3e-7 (Abramowitz and Stegun, 7.1.26).
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let series = t
        * (0.254_829_6
            + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4))));
    (1.0 - series * exp(-a * a)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_two_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for bits in (0..=u32::MAX).step_by(997) {
            let x = f32::from_bits(bits);
            if (-87.0..88.0).contains(&x) {
                let exact = f64::from(x).exp();
                let unit = exact * f64::from(f32::EPSILON);
                worst = worst.max((f64::from(exp(x)) - exact).abs() / unit);
            }
        }
        assert!(worst < 2.0, "{worst}");
    }

    #[test]
    fn extremes() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!([exp(f32::INFINITY), exp(1e30)], [f32::INFINITY; 2]);
        assert_eq!([exp(f32::NEG_INFINITY), exp(-1e30)], [0.0; 2]);
        assert!(exp(f32::NAN).is_nan());
        assert!((exp(-100.0) - (-100.0f32).exp()).abs() <= f32::from_bits(2));
        assert_eq!([sigmoid(1e4), sigmoid(-1e4), sigmoid(0.0)], [1.0, 0.0, 0.5]);
        assert!(sigmoid(f32::NAN).is_nan() && erf(f32::NAN).is_nan());
    }

    #[test]
    fn error_function_at_known_points() {
        // Abramowitz and Stegun, table 7.1.
        for (x, y) in [
            (0.0, 0.0),
            (0.5, 0.520_499_9),
            (1.0, 0.842_700_8),
            (2.0, 0.995_322_3),
            (-1.5, -0.966_105_1),
            (9.0, 1.0),
        ] {
            assert!((erf(x) - y).abs() < 3e-7, "{x}: {} for {y}", erf(x));
        }
    }
}
