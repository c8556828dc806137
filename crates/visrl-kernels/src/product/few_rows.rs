//! Products of a few rows with a large matrix, as decoding makes them.
//!
//! Such a product is bound by reading the matrix. A library made for square matrices walks down one
//! strip of columns at a time, a new page of memory with every step; here a few rows of the matrix
//! are read along their whole length.
//!
//! Every number is a sum in the order of the inner dimension, whatever the number of rows and
//! threads: a row's result does not depend on the rows beside it.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::matrix::Matrix;
use crate::linear::FEW_ROWS;
use crate::simd::arch;

/// Numbers of a row of the large matrix that are read together: four cache lines.
const STRIP: usize = 4 * LINE;

/// Numbers in a cache line.
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
    with(arch(), a, b, out, stride, add, parallel);
}

/// [`product`] with these vectors; the result does not depend on them.
fn with(
    arch: Arch,
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
        arch.dispatch(Panel {
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
        // Measured: as many sums as the processor has registers for, and as many rows of the large
        // matrix as stay in its first cache even where they lie a power of two apart.
        match S::F32_LANES >= 16 {
            true => self.run::<S, 64>(simd),
            false => self.run::<S, 32>(simd),
        }
    }
}

impl Panel<'_> {
    /// `DEPTH` rows of the large matrix are read at a time, a strip of columns after the other. The
    /// sums are read and written once in as many steps.
    #[inline(always)]
    fn run<S: Simd, const DEPTH: usize>(&mut self, simd: S) {
        let columns = self.rows.first().map_or(0, |row| row.len());
        for first in (0..self.depth).step_by(DEPTH) {
            let deep = DEPTH.min(self.depth - first);
            for at in (0..columns).step_by(STRIP) {
                let width = STRIP.min(columns - at);
                let mut row = 0;
                while row < self.rows.len() {
                    let strip = Strip {
                        row,
                        first,
                        deep,
                        at,
                        width,
                        ahead: DEPTH,
                    };
                    let left = self.rows.len() - row;
                    row += match S::F32_LANES >= 16 {
                        true => self.wide::<S>(simd, strip, left),
                        false => self.narrow::<S>(simd, strip, left),
                    };
                }
            }
        }
    }

    /// Some of the `left` rows with 32 vectors at hand; returns how many.
    #[inline(always)]
    fn wide<S: Simd>(&mut self, simd: S, strip: Strip, left: usize) -> usize {
        match left {
            1 => self.rows_of::<S, 4, 1>(simd, strip),
            2 => self.rows_of::<S, 4, 2>(simd, strip),
            3 => self.rows_of::<S, 4, 3>(simd, strip),
            4 | 8 => self.rows_of::<S, 4, 4>(simd, strip),
            5 | 10 => self.rows_of::<S, 4, 5>(simd, strip),
            _ => self.rows_of::<S, 4, 6>(simd, strip),
        }
    }

    /// Some of the `left` rows with 16 vectors at hand; returns how many.
    #[inline(always)]
    fn narrow<S: Simd>(&mut self, simd: S, strip: Strip, left: usize) -> usize {
        match left {
            1 => self.rows_of::<S, 8, 1>(simd, strip),
            2 => self.rows_of::<S, 4, 2>(simd, strip),
            3 => self.rows_of::<S, 4, 3>(simd, strip),
            4 | 8 => self.rows_of::<S, 2, 4>(simd, strip),
            5 | 10 => self.rows_of::<S, 2, 5>(simd, strip),
            _ => self.rows_of::<S, 2, 6>(simd, strip),
        }
    }

    /// `R` rows of a strip in tiles of `V` vectors, of two where fewer are left, and one by one.
    #[inline(always)]
    fn rows_of<S: Simd, const V: usize, const R: usize>(&mut self, simd: S, strip: Strip) -> usize {
        let mut done = 0;
        while done + V * S::F32_LANES <= strip.width {
            self.tile::<S, V, R>(simd, strip.from(done));
            done += V * S::F32_LANES;
        }
        while V > 2 && done + 2 * S::F32_LANES <= strip.width {
            self.tile::<S, 2, R>(simd, strip.from(done));
            done += 2 * S::F32_LANES;
        }
        if done < strip.width {
            self.rest::<R>(strip.from(done));
        }
        R
    }

    /// Adds `deep` products to the last numbers of `R` rows of a strip.
    #[inline(always)]
    fn rest<const R: usize>(&mut self, strip: Strip) {
        let Strip {
            row,
            first,
            deep,
            at,
            width,
            ..
        } = strip;
        for (index, out) in self.rows[row..row + R].iter_mut().enumerate() {
            let out = &mut out[at..at + width];
            let a = &self.a[(row + index) * self.a_stride + first..][..deep];
            for (k, &x) in a.iter().enumerate() {
                let b = &self.b[(first + k) * self.stride + at..][..width];
                for (sum, b) in out.iter_mut().zip(b) {
                    *sum = x.mul_add(*b, *sum);
                }
            }
        }
    }

    /// Adds `deep` products to `V` vectors of `R` rows.
    #[inline(always)]
    fn tile<S: Simd, const V: usize, const R: usize>(&mut self, simd: S, strip: Strip) {
        let Strip {
            row,
            first,
            deep,
            at,
            ahead,
            ..
        } = strip;
        let a: [&[f32]; R] = std::array::from_fn(
            #[inline(always)]
            |r| &self.a[(row + r) * self.a_stride + first..][..deep],
        );
        let rows = &mut self.rows[row..row + R];
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        for (sums, row) in sums.iter_mut().zip(&*rows) {
            *sums = vectors::<S, V>(simd, &row[at..]);
        }
        for k in 0..deep {
            if row == 0 {
                // Memory is read ahead while the sums are made.
                let place = (first + ahead + k) * self.stride + at;
                announce(self.b, place, (V * S::F32_LANES).div_ceil(LINE));
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
    }
}

/// A strip of the large matrix and rows that are multiplied with it.
#[derive(Clone, Copy)]
struct Strip {
    /// The first row of the result.
    row: usize,
    /// The first row of the large matrix, and how many are read.
    first: usize,
    deep: usize,
    /// The first column, and how many.
    at: usize,
    width: usize,
    /// How many rows further on the memory lies that is read ahead.
    ahead: usize,
}

impl Strip {
    /// The strip without its first columns.
    #[inline(always)]
    fn from(self, columns: usize) -> Self {
        Self {
            at: self.at + columns,
            width: self.width - columns,
            ..self
        }
    }
}

/// Asks for some cache lines from a place of a slice on, if it has them.
#[inline(always)]
fn announce(from: &[f32], at: usize, lines: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(from) = from.get(at..) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        for line in from.chunks(LINE).take(lines) {
            // SAFETY: a hint, which reads nothing that a program can see, at a valid address.
            #[allow(unsafe_code)]
            unsafe {
                _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, at, lines);
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
            let mut narrower = vec![Arch::Scalar];
            #[cfg(target_arch = "x86_64")]
            narrower.extend(pulp::x86::V3::try_new().map(Arch::V3));
            for arch in narrower {
                let mut same = start.clone();
                with(arch, left, right, &mut same, columns + 3, true, false);
                assert_eq!(same, out, "{arch:?}");
            }
            let mut fresh = vec![f32::NAN; rows * columns];
            product(left, right, &mut fresh, columns, false, Threads::All);
            assert!(fresh.iter().all(|x| x.is_finite()));
        }
    }
}
