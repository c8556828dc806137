//! The largest value, sums and exponentials of a vocabulary, written so that the compiler makes
//! vector code of them.

const LANES: usize = 16;

/// The largest value; NaN is passed over, and minus infinity stands for nothing.
pub(super) fn max(values: &[f32]) -> f32 {
    let (blocks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for block in blocks {
        for (lane, &value) in lanes.iter_mut().zip(block) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    lanes
        .into_iter()
        .chain(rest.iter().copied())
        .fold(f32::NEG_INFINITY, f32::max)
}

/// The sum of `map` of all values, in f64.
pub(super) fn sum_of(values: &[f32], map: impl Fn(f32) -> f32) -> f64 {
    let (blocks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0f64; LANES];
    for block in blocks {
        let mapped = block.map(&map);
        for (lane, value) in lanes.iter_mut().zip(mapped) {
            *lane += f64::from(value);
        }
    }
    lanes
        .into_iter()
        .chain(rest.iter().map(|&value| f64::from(map(value))))
        .sum()
}

/// The sum in f64.
pub(super) fn sum(values: &[f32]) -> f64 {
    sum_of(values, |value| value)
}

/// The sum in f64 of the weights of values that are at most this.
pub(super) fn sum_up_to(most: f32, values: &[f32], weights: &[f32]) -> f64 {
    let (blocks, rest) = values.as_chunks::<LANES>();
    let (weight_blocks, weight_rest) = weights.as_chunks::<LANES>();
    let one = |(&value, &weight): (&f32, &f32)| f64::from(if value <= most { weight } else { 0.0 });
    let mut lanes = [0.0f64; LANES];
    for block in blocks.iter().zip(weight_blocks) {
        for (lane, pair) in lanes.iter_mut().zip(block.0.iter().zip(block.1)) {
            *lane += one(pair);
        }
    }
    lanes
        .into_iter()
        .chain(rest.iter().zip(weight_rest).map(one))
        .sum()
}

/// e to the power of `x <= 0` within 2 units in the last place; 0 below -87.7, where f32 ends.
///
/// With `n` the integer nearest to `x / ln 2`, `e^x = 2^n e^r` and `|r| <= ln(2) / 2`, where a
/// Taylor polynomial of degree 7 is exact to 6e-9. Adding 1.5 * 2^23, whose last place is 1, rounds
/// to `n` and leaves it in the last bits. There is no branch, so that it can be vector code.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    // ln 2 in two parts, the first short enough that its product with n is exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = (std::f64::consts::LN_2 - 355.0 / 512.0) as f32;
    const INVERSE_FACTORIALS: [f32; 7] = [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    let x = if x < -100.0 { -100.0 } else { x }; // NaN stays.
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let series = INVERSE_FACTORIALS
        .iter()
        .fold(1.0 / 5040.0, |sum, term| sum * r + term);
    let n = shifted.to_bits().wrapping_sub(SHIFT.to_bits()) as i32;
    // An exponent of 0 or less makes the power 0.
    let power = f32::from_bits((n.wrapping_add(127).max(0) as u32) << 23);
    series * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_right_to_the_last_places() {
        for i in 0..870_000 {
            let x = -(i as f32) * 1e-4;
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) / expected - 1.0).abs() < 2.4e-7, "{x}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-88.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn lanes_and_rest_are_all_counted() {
        for len in 0..70usize {
            let values: Vec<f32> = (0..len).map(|i| ((i * 37) % 71) as f32 - 80.0).collect();
            let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(max(&values), largest);
            for most in [-90.0, -40.0, 0.0] {
                let expected: f64 = values
                    .iter()
                    .filter(|x| **x <= most)
                    .map(|&x| f64::from(x))
                    .sum();
                assert_eq!(sum_up_to(most, &values, &values), expected);
            }
            assert_eq!(
                sum(&values),
                values.iter().map(|&x| f64::from(x)).sum::<f64>()
            );
        }
    }
}
