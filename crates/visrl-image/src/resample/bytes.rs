//! 8-bit samples: two passes in fixed point, each rounded.

use super::filter::Resample;
use super::passes::{Size, vertical_first};
use super::taps::{PRECISION_BITS, Taps, fixed_point, taps};
use crate::multiversion::multiversion;

fn clip8(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Resizes interleaved 8-bit samples with `C` channels.
pub(crate) fn resize_u8<const C: usize>(
    data: &[u8],
    from: Size,
    to: Size,
    filter: Resample,
) -> Vec<u8> {
    let columns = (from.0 != to.0).then(|| fixed_point(taps(filter, from.0, to.0)));
    let rows = (from.1 != to.1).then(|| fixed_point(taps(filter, from.1, to.1)));
    match (columns, rows) {
        (Some(columns), Some(rows)) if vertical_first(from, to) => {
            let high = vertical(data, from.0 * C, 0, to.1, &rows);
            horizontal::<C>(&high, from.0, to.0, &columns)
        }
        (Some(columns), Some(rows)) => {
            // Only the rows that the second pass reads go through the first.
            let (first, end) = rows.span();
            let data = &data[first * from.0 * C..end * from.0 * C];
            let wide = horizontal::<C>(data, from.0, to.0, &columns);
            vertical(&wide, to.0 * C, first, to.1, &rows)
        }
        (Some(columns), None) => horizontal::<C>(data, from.0, to.0, &columns),
        (None, Some(rows)) => vertical(data, to.0 * C, 0, to.1, &rows),
        (None, None) => data.to_vec(),
    }
}

/// Rows that are resized together, so that one weight meets many samples.
const ROWS: usize = 16;

/// Adds weighted samples to sums.
#[inline(always)]
fn accumulate(sums: &mut [i32], samples: &[u8], weight: i32) {
    for (sum, &sample) in sums.iter_mut().zip(samples) {
        *sum += i32::from(sample) * weight;
    }
}

fn horizontal<const C: usize>(data: &[u8], from: usize, to: usize, taps: &Taps<i32>) -> Vec<u8> {
    let height = data.len() / (from * C);
    let mut out = vec![0; height * to * C];
    // Column by column, the pixels of several rows.
    let mut columns = vec![[[0; C]; ROWS]; from];
    let rows = data.chunks(ROWS * from * C);
    for (rows, out) in rows.zip(out.chunks_mut(ROWS * to * C)) {
        for (r, row) in rows.chunks_exact(from * C).enumerate() {
            for (column, pixel) in columns.iter_mut().zip(row.as_chunks::<C>().0) {
                column[r] = *pixel;
            }
        }
        combine_columns(&columns, out, to, taps);
    }
    out
}

multiversion! {
    /// Resizes the rows whose pixels stand side by side in `columns`.
    fn combine_columns<const C: usize>(
        columns: &[[[u8; C]; ROWS]],
        out: &mut [u8],
        to: usize,
        taps: &Taps<i32>,
    ) {
        let (out, _) = out.as_chunks_mut::<C>();
        for i in 0..to {
            let (first, weights) = taps.at(i);
            let mut sums = [[1 << (PRECISION_BITS - 1); C]; ROWS];
            for (column, &weight) in columns[first..].iter().zip(weights) {
                accumulate(sums.as_flattened_mut(), column.as_flattened(), weight);
            }
            let pixels = out[i..].iter_mut().step_by(to);
            for (pixel, sums) in pixels.zip(sums) {
                *pixel = sums.map(clip8);
            }
        }
    }

    /// Combines rows of `row` samples; `data` begins with row `offset`.
    fn combine_rows(data: &[u8], row: usize, offset: usize, out: &mut [u8], taps: &Taps<i32>) {
        const WIDTH: usize = 64;
        for (i, out) in out.chunks_exact_mut(row).enumerate() {
            let (first, weights) = taps.at(i);
            let data = &data[(first - offset) * row..];
            let (chunks, rest) = out.as_chunks_mut::<WIDTH>();
            for (chunk, out) in chunks.iter_mut().enumerate() {
                let mut sums = [1 << (PRECISION_BITS - 1); WIDTH];
                let rows = data[chunk * WIDTH..].chunks(row);
                for (samples, &weight) in rows.zip(weights) {
                    if let Some(samples) = samples.first_chunk::<WIDTH>() {
                        accumulate(&mut sums, samples, weight);
                    }
                }
                *out = sums.map(clip8);
            }
            let done = row - rest.len();
            for (x, out) in rest.iter_mut().enumerate() {
                let samples = data[done + x..].iter().step_by(row).zip(weights);
                let products = samples.map(|(&sample, &weight)| i32::from(sample) * weight);
                *out = clip8(products.sum::<i32>() + (1 << (PRECISION_BITS - 1)));
            }
        }
    }
}

fn vertical(data: &[u8], row: usize, offset: usize, to: usize, taps: &Taps<i32>) -> Vec<u8> {
    let mut out = vec![0; to * row];
    combine_rows(data, row, offset, &mut out, taps);
    out
}

#[cfg(test)]
mod tests {
    use super::super::words::resize_u16;
    use super::*;

    const MIXING: [Resample; 5] = [
        Resample::Lanczos,
        Resample::Bilinear,
        Resample::Bicubic,
        Resample::Box,
        Resample::Hamming,
    ];

    #[test]
    fn a_constant_image_stays_constant_at_any_size() {
        for filter in &MIXING {
            for (from, to) in [((7, 5), (3, 11)), ((1, 1), (9, 4)), ((64, 3), (5, 3))] {
                let out = resize_u8::<1>(&vec![201; from.0 * from.1], from, to, *filter);
                assert_eq!(out, vec![201; to.0 * to.1], "{filter:?} {from:?} {to:?}");
                let out = resize_u16(&vec![51_234; from.0 * from.1], from, to, *filter);
                assert_eq!(out, vec![51_234; to.0 * to.1], "{filter:?} {from:?} {to:?}");
            }
        }
    }

    #[test]
    fn channels_do_not_mix() {
        let gray: Vec<u8> = (0..60u32).map(|i| (i * 37 % 251) as u8).collect();
        let rgb: Vec<u8> = gray.iter().flat_map(|&g| [g, 255 - g, 0]).collect();
        let one = resize_u8::<1>(&gray, (10, 6), (7, 9), Resample::Lanczos);
        let three = resize_u8::<3>(&rgb, (10, 6), (7, 9), Resample::Lanczos);
        assert!(
            three
                .chunks(3)
                .zip(&one)
                .all(|(rgb, &g)| rgb[0] == g && rgb[2] == 0)
        );
    }
}
