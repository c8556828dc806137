//! Products of a few rows with a large matrix, as decoding makes them.
//!
//! Such a product is bound by reading the matrix. A library made for square matrices walks down one
//! strip of columns at a time, a new page of memory with every step; here a few rows of the matrix
//! are read along their whole length.
//!
//! Every number is a sum in the order of the inner dimension, whatever the number of rows and
//! threads: a row's result does not depend on the rows beside it.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::matrix::Matrix;
use crate::linear::FEW_ROWS;
use crate::simd::arch;

/// Rows of the large matrix that are read together. A tile of them and of the sums fits the first
/// cache; the sums are read and written once in as many steps.
const DEPTH: usize = 64;

/// Numbers in a cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 16;

/// Multiplications below which a product stays on its thread.
const PARALLEL: usize = 1 << 17;

/// Whether `a b` is such a product.
pub(super) fn suits(a: &Matrix<'_>, b: &Matrix<'_>) -> bool {
    a.rows() <= FEW_ROWS && b.is_row_major() && b.columns() >= 16
}

/// Writes `a b` to `out`, whose rows begin `stride` numbers apart, or adds it to what is there.
pub(super) fn product(
    a: Matrix<'_>,
    b: Matrix<'_>,
    out: &mut [f32],
    stride: usize,
    add: bool,
    parallel: bool,
) {
    let (columns, depth) = (b.columns(), a.columns());
    let rows = a.rows();
    let (a, a_stride) = a.to_rows();
    let threads = rayon::current_num_threads();
    let work = (rows * depth).saturating_mul(columns);
    let panels = match parallel && work >= PARALLEL {
        true => threads,
        false => 1,
    };
    // Whole cache lines.
    let width = columns.div_ceil(panels).next_multiple_of(64);
    let mut parts: Vec<Vec<&mut [f32]>> = Vec::new();
    for row in out.chunks_mut(stride).take(rows) {
        let row = &mut row[..columns];
        if !add {
            row.fill(0.0);
        }
        for (index, piece) in row.chunks_mut(width).enumerate() {
            match parts.get_mut(index) {
                Some(part) => part.push(piece),
                None => parts.push(vec![piece]),
            }
        }
    }
    let run = |(index, rows): (usize, Vec<&mut [f32]>)| {
        arch().dispatch(Panel {
            a: &a,
            a_stride,
            depth,
            b: b.starting_at(index * width),
            stride: b.row_stride(),
            rows,
        });
    };
    match parts.len() {
        0 | 1 => parts.into_iter().enumerate().for_each(run),
        _ => parts.into_par_iter().enumerate().for_each(run),
    }
}

/// Some columns of a product.
struct Panel<'a> {
    /// `[rows, depth]`, rows `a_stride` numbers apart.
    a: &'a [f32],
    a_stride: usize,
    depth: usize,
    /// The matrix from the panel's first column on.
    b: &'a [f32],
    stride: usize,
    /// The panel's part of each row of the result.
    rows: Vec<&'a mut [f32]>,
}

impl WithSimd for Panel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // As many sums as the processor has registers for.
        match S::F32_LANES >= 16 {
            true => self.run::<S, 4>(simd),
            false => self.run::<S, 2>(simd),
        }
    }
}

impl Panel<'_> {
    #[inline(always)]
    fn run<S: Simd, const V: usize>(&mut self, simd: S) {
        let tile = V * S::F32_LANES;
        let columns = self.rows.first().map_or(0, |row| row.len());
        for first in (0..self.depth).step_by(DEPTH) {
            let deep = DEPTH.min(self.depth - first);
            let mut at = 0;
            while at < columns {
                let width = tile.min(columns - at);
                let mut row = 0;
                while row < self.rows.len() {
                    let place = [row, first, deep, at, width];
                    row += match self.rows.len() - row {
                        1 => self.block::<S, V, 1>(simd, place),
                        2 => self.block::<S, V, 2>(simd, place),
                        3 => self.block::<S, V, 3>(simd, place),
                        4 | 8 => self.block::<S, V, 4>(simd, place),
                        5 | 10 => self.block::<S, V, 5>(simd, place),
                        _ => self.block::<S, V, 6>(simd, place),
                    };
                }
                at += width;
            }
        }
    }

    /// Adds `deep` products to `R` rows of at most `V` vectors.
    #[inline(always)]
    fn block<S: Simd, const V: usize, const R: usize>(
        &mut self,
        simd: S,
        [row, first, deep, at, width]: [usize; 5],
    ) -> usize {
        let a: [&[f32]; R] = std::array::from_fn(
            #[inline(always)]
            |r| &self.a[(row + r) * self.a_stride + first..][..deep],
        );
        let rows = &mut self.rows[row..row + R];
        if width < V * S::F32_LANES {
            for (row, a) in rows.iter_mut().zip(a) {
                let out = &mut row[at..at + width];
                for (k, &x) in a.iter().enumerate() {
                    let b = &self.b[(first + k) * self.stride + at..][..width];
                    for (sum, b) in out.iter_mut().zip(b) {
                        *sum = x.mul_add(*b, *sum);
                    }
                }
            }
            return R;
        }
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        for (sums, row) in sums.iter_mut().zip(&*rows) {
            *sums = vectors::<S, V>(simd, &row[at..]);
        }
        for k in 0..deep {
            if row == 0 {
                // Memory is read ahead while the sums are made.
                announce::<V>(self.b, (first + DEPTH + k) * self.stride + at);
            }
            let b = vectors::<S, V>(simd, &self.b[(first + k) * self.stride + at..]);
            for (sums, a) in sums.iter_mut().zip(&a) {
                let x = simd.splat_f32s(a[k]);
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = simd.mul_add_f32s(x, b, *sum);
                }
            }
        }
        for (sums, row) in sums.iter().zip(rows) {
            let (out, _) = S::as_mut_simd_f32s(&mut row[at..]);
            if let Some(out) = out.first_chunk_mut::<V>() {
                *out = *sums;
            }
        }
        R
    }
}

/// Asks for the next `V` cache lines from a place of a slice on, if it has them.
#[inline(always)]
fn announce<const V: usize>(from: &[f32], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(from) = from.get(at..) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        for line in from.chunks(LINE).take(V) {
            // SAFETY: a hint, which reads nothing that a program can see, at a valid address.
            #[allow(unsafe_code)]
            unsafe {
                _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, at);
}

/// The first `V` vectors of a slice that has them.
#[inline(always)]
fn vectors<S: Simd, const V: usize>(simd: S, from: &[f32]) -> [S::f32s; V] {
    let (vectors, _) = S::as_simd_f32s(from);
    match vectors.first_chunk::<V>() {
        Some(vectors) => *vectors,
        None => [simd.splat_f32s(0.0); V],
    }
}

#[cfg(test)]
mod tests {
    use super::super::gemm::{Threads, product};
    use super::*;
    use crate::testing::{close, numbers};

    #[test]
    fn equals_sums_by_hand_and_does_not_depend_on_other_rows() {
        for (rows, depth, columns) in [
            (1, 1, 16),
            (2, 5, 17),
            (3, 40, 100),
            (7, 64, 261),
            (13, 129, 64),
            (32, 300, 1000),
            (67, 65, 200),
            (96, 130, 136),
            (11, 512, 1408),
        ] {
            let (a, b) = (
                numbers(1, rows * depth, 1.0),
                numbers(2, depth * columns, 1.0),
            );
            let matrix = |data, rows, columns| Matrix::new(data, [rows, columns], [columns, 1]);
            let start = numbers(3, rows * (columns + 3), 1.0);
            let mut out = start.clone();
            let (left, right) = (matrix(&a, rows, depth), matrix(&b, depth, columns));
            assert!(suits(&left, &right));
            product(left, right, &mut out, columns + 3, true, Threads::All);
            let mut expected = start.clone();
            for row in 0..rows {
                for column in 0..columns {
                    let sum: f32 = (0..depth)
                        .map(|k| a[row * depth + k] * b[k * columns + column])
                        .sum();
                    expected[row * (columns + 3) + column] += sum;
                }
            }
            close(&out, &expected, 2e-5);
            for row in 0..rows {
                let mut alone = start[row * (columns + 3)..][..columns].to_vec();
                let left = matrix(&a[row * depth..][..depth], 1, depth);
                product(left, right, &mut alone, columns, true, Threads::One);
                assert_eq!(
                    alone,
                    out[row * (columns + 3)..][..columns],
                    "row {row} of {rows}"
                );
            }
            let mut fresh = vec![f32::NAN; rows * columns];
            product(left, right, &mut fresh, columns, false, Threads::All);
            assert!(fresh.iter().all(|x| x.is_finite()));
        }
    }
}
