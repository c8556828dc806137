//! The inverse cosine transform: the accurate integer method of libjpeg, after Loeffler, Ligtenberg
//! and Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications" (ICASSP 1989).

use std::num::Wrapping;

use super::header::Component;
use super::scan::natural;
use crate::processor::wide::wide;

type Int = Wrapping<i32>;

/// Fractional bits of the constants.
const BITS: usize = 13;
/// Fractional bits kept between the passes.
const BETWEEN: usize = 2;

const fn fixed(x: f64) -> Int {
    Wrapping((x * (1 << BITS) as f64 + 0.5) as i32)
}

/// The samples of a component, in rows of `8 * blocks[0]`.
pub(super) fn plane(component: &Component) -> Vec<u8> {
    let [across, down] = component.blocks;
    let stride = across * 8;
    let mut table = [0; 64];
    for (k, &step) in component.quantization.unwrap_or([1; 64]).iter().enumerate() {
        table[natural(k)] = i32::from(step);
    }
    let mut out = vec![0; stride * down * 8];
    inverse_all(&component.coefficients, &table, &mut out, across);
    out
}

wide! {
    /// Transforms all blocks; `out` has rows of `8 * across` samples.
    fn inverse_all(blocks: &[[i16; 64]], table: &[i32; 64], out: &mut [u8], across: usize) {
        let stride = across * 8;
        let rows = blocks.chunks_exact(across).zip(out.chunks_exact_mut(stride * 8));
        for (blocks, rows) in rows {
            for (x, block) in blocks.iter().enumerate() {
                inverse(block, table, &mut rows[x * 8..], stride);
            }
        }
    }
}

/// Transforms one block; `out` has rows of `stride` samples.
#[inline(always)]
fn inverse(block: &[i16; 64], table: &[i32; 64], out: &mut [u8], stride: usize) {
    if block[1..].iter().all(|&value| value == 0) {
        // A block of one value, which most of a smooth image's blocks are.
        let value = Wrapping(i32::from(block[0])) * Wrapping(table[0]);
        let sample = sample((value + Wrapping(4)) >> 3);
        out.chunks_mut(stride)
            .take(8)
            .for_each(|row| row[..8].fill(sample));
        return;
    }
    let mut values = [Wrapping(0); 64];
    for (value, (&coefficient, &step)) in values.iter_mut().zip(block.iter().zip(table)) {
        *value = Wrapping(i32::from(coefficient)) * Wrapping(step);
    }
    let between = transpose(&columns(&values, BITS - BETWEEN));
    // A factor of 8 belongs to the transform of two dimensions.
    let values = transpose(&columns(&between, BITS + BETWEEN + 3));
    for (values, out) in values.as_chunks::<8>().0.iter().zip(out.chunks_mut(stride)) {
        if let Some(out) = out.first_chunk_mut::<8>() {
            *out = values.map(sample);
        }
    }
}

#[inline(always)]
fn sample(value: Int) -> u8 {
    value.0.saturating_add(128).clamp(0, 255) as u8
}

#[inline(always)]
fn transpose(values: &[Int; 64]) -> [Int; 64] {
    std::array::from_fn(|i| values[i % 8 * 8 + i / 8])
}

/// Transforms the eight columns of a block.
#[inline(always)]
fn columns(values: &[Int; 64], shift: usize) -> [Int; 64] {
    let mut out = [Wrapping(0); 64];
    for x in 0..8 {
        let column = std::array::from_fn(|y| values[y * 8 + x]);
        for (y, value) in one_dimension(column, shift).into_iter().enumerate() {
            out[y * 8 + x] = value;
        }
    }
    out
}

/// Transforms 8 values and takes `shift` bits off, rounding.
#[inline(always)]
fn one_dimension(v: [Int; 8], shift: usize) -> [Int; 8] {
    // Even part.
    let turn = (v[2] + v[6]) * fixed(0.541196100);
    let even2 = turn - v[6] * fixed(1.847759065);
    let even3 = turn + v[2] * fixed(0.765366865);
    let even0 = (v[0] + v[4]) << BITS;
    let even1 = (v[0] - v[4]) << BITS;
    let sums = [even0 + even3, even1 + even2, even1 - even2, even0 - even3];

    // Odd part.
    let [a, b, c, d] = [v[7], v[5], v[3], v[1]];
    let turn = (a + c + b + d) * fixed(1.175875602);
    let ad = -(a + d) * fixed(0.899976223);
    let bc = -(b + c) * fixed(2.562915447);
    let ac = turn - (a + c) * fixed(1.961570560);
    let bd = turn - (b + d) * fixed(0.390180644);
    let odds = [
        d * fixed(1.501321110) + ad + bd,
        c * fixed(3.072711026) + bc + ac,
        b * fixed(2.053119869) + bc + bd,
        a * fixed(0.298631336) + ad + ac,
    ];

    let half = Wrapping(1 << (shift - 1));
    std::array::from_fn(|i| {
        let sum = if i < 4 {
            sums[i] + odds[i]
        } else {
            sums[7 - i] - odds[7 - i]
        };
        (sum + half) >> shift
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
        inverse(&[i16::MIN; 64], &[65_535; 64], &mut out, 8);
        inverse(&[i16::MAX; 64], &[65_535; 64], &mut out, 8);
    }
}
