//! Loops over rows of numbers: in parallel where there are many, with the processor's widest
//! vectors.

use rayon::prelude::*;

use crate::simd::vectorized;

/// Below this many numbers a loop stays on its thread.
const PARALLEL: usize = 1 << 15;

/// Rows of `width` that one task takes.
fn rows_per_task(len: usize, width: usize) -> usize {
    let rows = len / width.max(1);
    if len < PARALLEL {
        return rows.max(1);
    }
    rows.div_ceil(4 * rayon::current_num_threads()).max(1)
}

/// Calls `work(first row, rows)` for runs of whole rows.
pub(crate) fn for_rows(width: usize, a: &mut [f32], work: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = rows_per_task(a.len(), width);
    let run = |(index, a): (usize, &mut [f32])| {
        vectorized(
            #[inline(always)]
            || work(index * rows, a),
        )
    };
    let size = (rows * width).max(1);
    if size >= a.len() {
        return run((0, a));
    }
    a.par_chunks_mut(size).enumerate().for_each(run);
}

/// As [`for_rows`] with one number for each row, which is written.
pub(crate) fn for_rows_into(
    width: usize,
    a: &mut [f32],
    b: &mut [f32],
    work: impl Fn(&mut [f32], &mut [f32]) + Sync,
) {
    debug_assert_eq!(a.len(), b.len() * width);
    let rows = rows_per_task(a.len(), width);
    a.par_chunks_mut((rows * width).max(1))
        .zip(b.par_chunks_mut(rows))
        .for_each(|(a, b)| {
            vectorized(
                #[inline(always)]
                || work(a, b),
            )
        });
}

/// As [`for_rows`] with a second slice of equal length, which is read.
pub(crate) fn for_rows_with(
    width: usize,
    a: &mut [f32],
    b: &[f32],
    work: impl Fn(usize, &mut [f32], &[f32]) + Sync,
) {
    debug_assert_eq!(a.len(), b.len());
    for_rows(
        width,
        a,
        #[inline(always)]
        |row, a| {
            let start = row * width;
            work(row, a, &b[start..start + a.len()]);
        },
    );
}

/// As [`for_rows_with`] with two slices that are written.
pub(crate) fn for_row_pairs_with(
    width: usize,
    a: &mut [f32],
    b: &mut [f32],
    c: &[f32],
    work: impl Fn(usize, &mut [f32], &mut [f32], &[f32]) + Sync,
) {
    debug_assert!(a.len() == b.len() && b.len() == c.len());
    let rows = rows_per_task(a.len(), width);
    let size = (rows * width).max(1);
    if size >= a.len() {
        return vectorized(
            #[inline(always)]
            || work(0, a, b, c),
        );
    }
    a.par_chunks_mut(size)
        .zip(b.par_chunks_mut(size))
        .zip(c.par_chunks(size))
        .enumerate()
        .for_each(|(index, ((a, b), c))| {
            vectorized(
                #[inline(always)]
                || work(index * rows, a, b, c),
            )
        });
}

/// Calls `work` for pieces of four slices of equal length, three of which are written.
pub(crate) fn for_triples_with(
    a: &mut [f32],
    b: &mut [f32],
    c: &mut [f32],
    d: &[f32],
    work: impl Fn(&mut [f32], &mut [f32], &mut [f32], &[f32]) + Sync,
) {
    debug_assert!(a.len() == b.len() && b.len() == c.len() && c.len() == d.len());
    let size = rows_per_task(a.len(), 1);
    a.par_chunks_mut(size)
        .zip(b.par_chunks_mut(size))
        .zip(c.par_chunks_mut(size))
        .zip(d.par_chunks(size))
        .for_each(|(((a, b), c), d)| {
            vectorized(
                #[inline(always)]
                || work(a, b, c, d),
            )
        });
}

/// Sums over the rows of `a`: `work(sums, row of a, number of the row)` adds a row to the sums.
///
/// Rows are added in runs of a fixed length, so the result does not depend on the number of
/// threads.
pub(crate) fn column_sums(
    width: usize,
    a: &[f32],
    work: impl Fn(&mut [f32], &[f32], usize) + Sync,
) -> Vec<f32> {
    const ROWS: usize = 64;
    let add = |(index, rows): (usize, &[f32])| {
        let mut sums = vec![0.0; width];
        vectorized(
            #[inline(always)]
            || {
                for (row, values) in (index * ROWS..).zip(rows.chunks_exact(width)) {
                    work(&mut sums, values, row);
                }
            },
        );
        sums
    };
    let size = (ROWS * width).max(1);
    let parts: Vec<Vec<f32>> = match a.len() < PARALLEL {
        true => a.chunks(size).enumerate().map(add).collect(),
        false => a.par_chunks(size).enumerate().map(add).collect(),
    };
    let mut parts = parts.into_iter();
    let mut sums = parts.next().unwrap_or_else(|| vec![0.0; width]);
    for part in parts {
        for (sum, x) in sums.iter_mut().zip(part) {
            *sum += x;
        }
    }
    sums
}

/// Adds a row to sums, for [`column_sums`].
#[inline(always)]
pub(crate) fn add_row(sums: &mut [f32], row: &[f32], _: usize) {
    for (sum, x) in sums.iter_mut().zip(row) {
        *sum += x;
    }
}

/// A copy; many numbers are copied in parallel, so that the system hands out memory in parallel.
pub(crate) fn copy(values: &[f32]) -> Vec<f32> {
    if values.len() < PARALLEL {
        return values.to_vec();
    }
    let mut out = vec![0.0; values.len()];
    let size = rows_per_task(values.len(), 1);
    let pieces = out.par_chunks_mut(size).zip(values.par_chunks(size));
    pieces.for_each(|(out, values)| out.copy_from_slice(values));
    out
}

/// Each number converted.
pub(crate) fn map<A: Copy + Sync, B: Copy + Default + Send>(
    values: &[A],
    convert: impl Fn(A) -> B + Sync,
) -> Vec<B> {
    let mut out = vec![B::default(); values.len()];
    let run = |out: &mut [B], values: &[A]| {
        vectorized(
            #[inline(always)]
            || {
                for (out, &value) in out.iter_mut().zip(values) {
                    *out = convert(value);
                }
            },
        );
    };
    let size = rows_per_task(values.len(), 1);
    match values.len() < PARALLEL {
        true => run(&mut out, values),
        false => out
            .par_chunks_mut(size)
            .zip(values.par_chunks(size))
            .for_each(|(out, values)| run(out, values)),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_visited_once_with_its_number() {
        for (rows, width) in [(0, 3), (1, 7), (5, 1), (1000, 37), (3, 40_000)] {
            let mut a = vec![1.0; rows * width];
            let b: Vec<f32> = (0..rows * width).map(|i| (i / width) as f32).collect();
            for_rows_with(width, &mut a, &b, |first, a, b| {
                for (i, (a, b)) in a.iter_mut().zip(b).enumerate() {
                    *a += *b - (first + i / width) as f32;
                }
            });
            assert!(a.iter().all(|&x| x == 1.0), "{rows} x {width}");
        }
    }

    #[test]
    fn columns_are_summed_over_all_runs() {
        for (rows, width) in [(0, 3), (1, 7), (65, 5), (1000, 37)] {
            let a: Vec<f32> = (0..rows * width).map(|i| (i % width) as f32).collect();
            let sums = column_sums(width, &a, |sums, values, row| {
                for (sum, x) in sums.iter_mut().zip(values) {
                    *sum += x + (row % 2) as f32;
                }
            });
            let expected = (0..width).map(|i| (i * rows + rows / 2) as f32);
            assert!(sums.into_iter().eq(expected), "{rows} x {width}");
        }
    }
}
