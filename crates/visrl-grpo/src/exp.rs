//! An exponential that compilers can vectorize.
//!
//! `x = n ln 2 + r` with whole `n` and `|r| <= ln 2 / 2`; then `exp(x) = 2^n exp(r)`, where
//! `exp(r)` is a polynomial so long that the rest is below rounding. `n` is found by adding a
//! number so large that its last bit is worth one; `2^n` is built from bits. There are no branches
//! and no calls, so a loop over it becomes vector code on every target.
//!
//! Results differ from the correctly rounded ones by at most 2 units in the last place (test). In
//! double precision they may be subnormal; in single precision those below `2^-125.5` are 0.

/// `1 / k!` for `k = 2..`, lowest first: the Taylor series.
const SERIES: [f64; 12] = [
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5040.0,
    1.0 / 40320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
    1.0 / 6_227_020_800.0,
];

/// `e^x` in double precision.
#[inline(always)]
pub(crate) fn exp_f64(x: f64) -> f64 {
    // ln 2 in two parts, the first with so many trailing zeros that `n * LN2_HI` is exact.
    const LN2_HI: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
    const LN2_LO: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);
    /// 1.5 * 2^52.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    // Beyond these bounds the result is 0 or infinite anyway. NaN passes through.
    let x = if x < -750.0 { -750.0 } else { x };
    let x = if x > 710.0 { 710.0 } else { x };
    let shifted = x * std::f64::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = (x - n * LN2_HI) - n * LN2_LO;
    let mut tail = SERIES[11];
    for c in SERIES[..11].iter().rev() {
        tail = tail * r + *c;
    }
    let value = 1.0 + (r + r * r * tail);
    let n = (shifted.to_bits() as i64).wrapping_sub(MAGIC.to_bits() as i64);
    let half = n >> 1;
    let power = |n: i64| f64::from_bits((n.wrapping_add(1023) as u64) << 52);
    value * power(half) * power(n.wrapping_sub(half))
}

/// `e^x` in single precision. Multiplications are fused with additions, on every target.
#[inline(always)]
pub(crate) fn exp_f32(x: f32) -> f32 {
    const LN2_HI: f32 = std::f32::consts::LN_2;
    /// `ln 2 - LN2_HI`.
    const LN2_LO: f32 = -1.904_654_3e-9;
    /// 1.5 * 2^23, and the offset of exponents less one: the last bits of `x / ln 2 + MAGIC` are
    /// the exponent of `2^(n-1)`, which is finite even where `2^n` is not. The smallest is 0, and
    /// so is the number of that exponent.
    const MAGIC: f32 = 12_582_912.0 + 126.0;
    /// `(exp(r) - 1 - r) / r^2`, lowest power first: of all polynomials of this degree the one
    /// that keeps the largest relative error of `exp(r)` smallest (3.1e-9, by Remez's exchange).
    const TAIL: [f32; 5] = [
        0.499_999_93,
        0.166_665_2,
        0.041_668_39,
        0.008_368_745,
        0.001_381_454,
    ];
    // Beyond these bounds the result is 0 or infinite anyway. NaN passes through.
    let x = if x < -87.3 { -87.3 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    let r = n.mul_add(-LN2_LO, n.mul_add(-LN2_HI, x));
    let tail = TAIL[4].mul_add(r, TAIL[3]);
    let tail = tail.mul_add(r, TAIL[2]);
    let tail = tail.mul_add(r, TAIL[1]);
    let tail = tail.mul_add(r, TAIL[0]);
    let beyond_one = (r * r).mul_add(tail, r);
    let half_power = f32::from_bits(shifted.to_bits() << 23);
    beyond_one.mul_add(half_power, half_power) * 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_precision_is_within_two_units() {
        let mut worst = 0.0f64;
        // every 997th float between -87 and 88
        for bits in (0..=u32::MAX).step_by(997) {
            let x = f32::from_bits(bits);
            if (-86.98..88.722_83).contains(&x) {
                let exact = f64::from(x).exp();
                let unit = f64::from(exact as f32) * f64::from(f32::EPSILON);
                worst = worst.max((f64::from(exp_f32(x)) - exact).abs() / unit);
            }
        }
        assert!(worst < 2.0, "{worst}");
    }

    #[test]
    fn double_precision_is_within_two_units() {
        let mut worst = 0.0f64;
        for i in -700_000..700_000 {
            let x = f64::from(i) * 1.000_1e-3;
            let exact = x.exp();
            worst = worst.max((exp_f64(x) - exact).abs() / (exact * f64::EPSILON));
        }
        assert!(worst < 2.0, "{worst}");
    }

    #[test]
    fn extremes() {
        assert_eq!((exp_f32(0.0), exp_f64(0.0)), (1.0, 1.0));
        assert_eq!(
            (exp_f32(f32::INFINITY), exp_f64(f64::INFINITY)),
            (f32::INFINITY, f64::INFINITY)
        );
        assert_eq!(
            (exp_f32(1e30), exp_f64(1e30)),
            (f32::INFINITY, f64::INFINITY)
        );
        assert_eq!(
            (exp_f32(f32::NEG_INFINITY), exp_f64(f64::NEG_INFINITY)),
            (0.0, 0.0)
        );
        assert_eq!((exp_f32(-1e30), exp_f64(-1e30)), (0.0, 0.0));
        assert!(exp_f32(f32::NAN).is_nan() && exp_f64(f64::NAN).is_nan());
        assert!(exp_f32(88.722_83).is_finite() && exp_f32(88.723) == f32::INFINITY);
        assert_eq!((exp_f32(-87.0), exp_f32(-88.0)), (0.0, 0.0));
        assert!(exp_f32(-86.98) >= f32::MIN_POSITIVE);
        // subnormal results
        assert!((exp_f64(-740.0) - (-740.0f64).exp()).abs() <= f64::from_bits(2));
    }
}
