//! The inverse cosine transform: the accurate integer method of libjpeg, after Loeffler, Ligtenberg
//! and Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications" (ICASSP 1989).
//!
//! Like libjpeg-turbo's vector code, it holds coefficients and what lies between the passes in 16
//! bits. Products with steps wrap, and so do blocks of one row after the first pass, where others
//! saturate; only damaged files and absurd tables come to that.

#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::blocks::Block;

/// Eight rows of eight values.
type Square = [[i16; 8]; 8];

/// Fractional bits of the constants.
const BITS: i32 = 13;
/// Fractional bits kept between the passes.
pub(super) const BETWEEN: i32 = 2;
/// Fractional bits taken off by the two passes. A factor of 8 belongs to the transform of two
/// dimensions.
pub(super) const FIRST: i32 = BITS - BETWEEN;
pub(super) const SECOND: i32 = BITS + BETWEEN + 3;

pub(super) const fn fixed(x: f64) -> i32 {
    (x * (1 << BITS) as f64 + 0.5) as i32
}

/// Transforms blocks in rows of `across`; `out` has rows of `8 * across` samples. `table` has the
/// quantization steps in natural order.
pub(super) fn inverse_all(blocks: &[Block], table: &[i16; 64], out: &mut [u8], across: usize) {
    let stride = across * 8;
    let rows = blocks.chunks_exact(across);
    for (blocks, out) in rows.zip(out.chunks_exact_mut(stride * 8)) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, as was just asked.
            #[allow(unsafe_code)]
            unsafe {
                inverse_row_avx2(blocks, table, out);
            }
            continue;
        }
        inverse_row(blocks, table, out);
    }
}

fn inverse_row(blocks: &[Block], table: &[i16; 64], out: &mut [u8]) {
    let stride = blocks.len() * 8;
    for (x, block) in blocks.iter().enumerate() {
        inverse(block, table, &mut out[x * 8..], stride);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn inverse_row_avx2(blocks: &[Block], table: &[i16; 64], out: &mut [u8]) {
    let stride = blocks.len() * 8;
    let (pairs, last) = blocks.as_chunks::<2>();
    for (x, [left, right]) in pairs.iter().enumerate() {
        let out = &mut out[x * 16..];
        if has_ac(left) || has_ac(right) {
            avx2::transform::inverse_pair([left, right], table, out, stride);
        } else {
            fill(left, table, out, stride);
            fill(right, table, &mut out[8..], stride);
        }
    }
    if let [last] = last {
        inverse(last, table, &mut out[stride - 8..], stride);
    }
}

/// Whether a block has more than its mean.
#[inline(always)]
fn has_ac(block: &Block) -> bool {
    block[1..8] != [0; 7] || has_lower(block)
}

/// Whether a block has more than its first row.
#[inline(always)]
fn has_lower(block: &Block) -> bool {
    let rows = block.as_chunks::<8>().0[1..].iter();
    rows.fold([0; 8], |any: [i16; 8], row| {
        std::array::from_fn(|x| any[x] | row[x])
    }) != [0; 8]
}

/// Transforms a block of one value, which most of a smooth image's blocks are.
#[inline(always)]
fn fill(block: &Block, table: &[i16; 64], out: &mut [u8], stride: usize) {
    let value = block[0].wrapping_mul(table[0]) << BETWEEN;
    let sample = sample((i32::from(value) + 16) >> 5);
    for row in out.chunks_mut(stride).take(8) {
        row[..8].fill(sample);
    }
}

/// Transforms one block; `out` has rows of `stride` samples.
#[inline(always)]
fn inverse(block: &Block, table: &[i16; 64], out: &mut [u8], stride: usize) {
    if !has_ac(block) {
        fill(block, table, out, stride);
        return;
    }
    let rows = block.as_chunks::<8>().0;
    let steps = table.as_chunks::<8>().0;
    let mut values: Square = [[0; 8]; 8];
    for ((values, row), steps) in values.iter_mut().zip(rows).zip(steps) {
        *values = std::array::from_fn(|x| row[x].wrapping_mul(steps[x]));
    }
    let columns = if has_lower(block) {
        pass(values, FIRST)
    } else {
        [values[0].map(|value| value << BETWEEN); 8]
    };
    let samples = pass(transpose(columns), SECOND);
    for (row, out) in transpose(samples).iter().zip(out.chunks_mut(stride)) {
        if let Some(out) = out.first_chunk_mut::<8>() {
            *out = row.map(|value| sample(value.into()));
        }
    }
}

/// The sample of a value around 0.
#[inline(always)]
fn sample(value: i32) -> u8 {
    (value.clamp(-128, 127) + 128) as u8
}

#[inline(always)]
fn narrow(value: i32) -> i16 {
    value.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

#[inline(always)]
fn transpose(rows: Square) -> Square {
    std::array::from_fn(|y| std::array::from_fn(|x| rows[x][y]))
}

/// Transforms columns and takes `shift` bits off, rounding.
#[inline(always)]
fn pass(rows: Square, shift: i32) -> Square {
    let mut out = [[0; 8]; 8];
    for x in 0..8 {
        let column = one_dimension(std::array::from_fn(|y| rows[y][x]), shift);
        for (out, value) in out.iter_mut().zip(column) {
            out[x] = value;
        }
    }
    out
}

/// Transforms 8 values. All factors have 16 bits: those that multiply the same value are added up.
#[inline(always)]
fn one_dimension(v: [i16; 8], shift: i32) -> [i16; 8] {
    let times = |value: i16, factor: i32| i32::from(value) * factor;

    // Even part.
    const C: i32 = fixed(0.541_196_1);
    let even2 = times(v[2], C) + times(v[6], C - fixed(1.847_759_065));
    let even3 = times(v[2], C + fixed(0.765_366_865)) + times(v[6], C);
    let even0 = i32::from(v[0].wrapping_add(v[4])) << BITS;
    let even1 = i32::from(v[0].wrapping_sub(v[4])) << BITS;
    let sums = [even0 + even3, even1 + even2, even1 - even2, even0 - even3];

    // Odd part.
    const TURN: i32 = fixed(1.175_875_602);
    const AD: i32 = fixed(0.899_976_223);
    const BC: i32 = fixed(2.562_915_447);
    let [a, b, c, d] = [v[7], v[5], v[3], v[1]];
    let (ac, bd) = (a.wrapping_add(c), b.wrapping_add(d));
    let (ac, bd) = (
        times(ac, TURN - fixed(1.961_570_56)) + times(bd, TURN),
        times(ac, TURN) + times(bd, TURN - fixed(0.390_180_644)),
    );
    let odds = [
        times(d, fixed(1.501_321_11) - AD) - times(a, AD) + bd,
        times(c, fixed(3.072_711_026) - BC) - times(b, BC) + ac,
        times(b, fixed(2.053_119_869) - BC) - times(c, BC) + bd,
        times(a, fixed(0.298_631_336) - AD) - times(d, AD) + ac,
    ];

    let half = 1 << (shift - 1);
    std::array::from_fn(|i| {
        let sum = if i < 4 {
            sums[i] + odds[i]
        } else {
            sums[7 - i] - odds[7 - i]
        };
        narrow((sum + half) >> shift)
    })
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;

    #[test]
    fn the_transform_is_the_inverse_cosine_transform() {
        let mut block = [0i16; 64];
        let mut state = 1u32;
        for (i, value) in block.iter_mut().enumerate() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *value = ((state >> 24) as i16 - 128) / (1 + i as i16 / 4);
        }
        let mut out = [0; 64];
        inverse(&block, &[2; 64], &mut out, 8);
        for (i, &found) in out.iter().enumerate() {
            let (y, x) = ((i / 8) as f64, (i % 8) as f64);
            let mut sum = 0.0;
            for (j, &value) in block.iter().enumerate() {
                let (v, u) = ((j / 8) as f64, (j % 8) as f64);
                let scale = |k: f64| if k == 0.0 { 0.5f64.sqrt() } else { 1.0 };
                sum += scale(u) * scale(v) / 4.0
                    * f64::from(value)
                    * 2.0
                    * ((2.0 * x + 1.0) * u * PI / 16.0).cos()
                    * ((2.0 * y + 1.0) * v * PI / 16.0).cos();
            }
            let expected = (sum + 128.0).clamp(0.0, 255.0);
            assert!(
                (f64::from(found) - expected).abs() <= 0.55,
                "{i}: {found} {expected}"
            );
        }
    }

    #[test]
    fn extreme_coefficients_do_not_overflow() {
        let mut out = [0; 64];
        for value in [i16::MIN, -1, 1, i16::MAX] {
            for step in [i16::MIN, -1, 1, i16::MAX] {
                inverse(&[value; 64], &[step; 64], &mut out, 8);
            }
        }
    }

    #[test]
    fn vectors_and_plain_code_transform_alike() {
        let mut state = 7u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i16
        };
        // From a few small values, as files have them, to numbers that wrap and saturate.
        for (count, bits) in [(0, 4), (1, 4), (6, 4), (64, 4), (20, 8), (64, 12), (64, 16)] {
            for across in 1..=5 {
                let table: [i16; 64] = std::array::from_fn(|_| 1 + (random() & 31));
                let mut blocks = vec![[0; 64]; 2 * across];
                for block in &mut blocks {
                    block[0] = random() >> 6;
                    for _ in 0..count {
                        block[random() as usize % 64] = random() >> (16 - bits);
                    }
                }
                let len = blocks.len() * 64;
                let (mut found, mut plain) = (vec![0; len], vec![0; len]);
                inverse_all(&blocks, &table, &mut found, across);
                let rows = blocks.chunks(across).zip(plain.chunks_mut(len / 2));
                rows.for_each(|(blocks, out)| inverse_row(blocks, &table, out));
                assert_eq!(
                    found, plain,
                    "{count} values of {bits} bits, {across} blocks"
                );
            }
        }
    }
}
