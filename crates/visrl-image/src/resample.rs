//! Resizing 8-bit and 16-bit images with Pillow's arithmetic.
//!
//! The filters, their supports, the windows of taps, the fixed-point weights (22 fractional bits),
//! the order of the two passes and the rounding after each are those of `Resample.c` of Pillow 13,
//! so that a resized image equals Pillow's in every byte. (Older versions always ran the horizontal
//! pass first, which differs by 1 or 2 levels in images whose height shrinks most.)

use serde::{Deserialize, Serialize};

use super::wide::wide;

/// Fractional bits of a fixed-point weight: 32 less 8 for the sample and 2 for overshoot.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// A resampling filter, by Pillow's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resample {
    /// The sample whose cell holds the centre of the new one.
    Nearest,
    /// Sinc windowed by a sinc, 3 lobes: the filter of the paper's resize to 384 x 384.
    Lanczos,
    /// A triangle.
    Bilinear,
    /// Keys' cubic with a = -0.5: the filter of Qwen2-VL's processor.
    #[default]
    Bicubic,
    /// The mean of the covered samples.
    Box,
    /// A raised cosine window of half-width 1.
    Hamming,
}

impl Resample {
    /// The number that Pillow and Hugging Face configurations use.
    pub fn code(self) -> u8 {
        match self {
            Self::Nearest => 0,
            Self::Lanczos => 1,
            Self::Bilinear => 2,
            Self::Bicubic => 3,
            Self::Box => 4,
            Self::Hamming => 5,
        }
    }

    /// The filter of a number, if there is one.
    pub fn from_code(code: u64) -> Option<Self> {
        [
            Self::Nearest,
            Self::Lanczos,
            Self::Bilinear,
            Self::Bicubic,
            Self::Box,
            Self::Hamming,
        ]
        .into_iter()
        .find(|filter| u64::from(filter.code()) == code)
    }

    /// Half-width of the filter in samples, at scale 1.
    fn support(self) -> f64 {
        match self {
            Self::Nearest => 0.0,
            Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Nearest | Self::Box => {
                if x > -0.5 && x <= 0.5 {
                    1.0
                } else {
                    0.0
                }
            }
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Hamming => {
                let x = x.abs();
                if x == 0.0 {
                    1.0
                } else if x >= 1.0 {
                    0.0
                } else {
                    let x = x * std::f64::consts::PI;
                    x.sin() / x * (0.54 + 0.46 * x.cos())
                }
            }
            Self::Bicubic => {
                const A: f64 = -0.5;
                let x = x.abs();
                if x < 1.0 {
                    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
                } else if x < 2.0 {
                    (((x - 5.0) * x + 8.0) * x - 4.0) * A
                } else {
                    0.0
                }
            }
            Self::Lanczos => {
                if (-3.0..3.0).contains(&x) {
                    sinc(x) * sinc(x / 3.0)
                } else {
                    0.0
                }
            }
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * std::f64::consts::PI;
    x.sin() / x
}

/// The taps of every output sample of one axis.
struct Taps<W> {
    /// First input sample and number of taps, per output sample.
    windows: Vec<(usize, usize)>,
    /// `stride` weights per output sample, those beyond its taps unused.
    weights: Vec<W>,
    stride: usize,
}

impl<W> Taps<W> {
    /// First input sample and weights of output sample `i`.
    fn at(&self, i: usize) -> (usize, &[W]) {
        let (first, len) = self.windows[i];
        (first, &self.weights[i * self.stride..i * self.stride + len])
    }

    /// The input samples that any output sample reads.
    fn span(&self) -> (usize, usize) {
        let first = self.windows.first().map_or(0, |w| w.0);
        let last = self.windows.last().map_or(0, |w| w.0 + w.1);
        (first, last)
    }
}

fn taps(filter: Resample, input: usize, output: usize) -> Taps<f64> {
    let scale = input as f64 / output as f64;
    let filter_scale = scale.max(1.0);
    let support = filter.support() * filter_scale;
    let stride = support.ceil() as usize * 2 + 1;
    let mut windows = Vec::with_capacity(output);
    let mut weights = vec![0.0; output * stride];
    let inverse = 1.0 / filter_scale;
    for (i, own) in weights.chunks_exact_mut(stride).enumerate() {
        let center = (i as f64 + 0.5) * scale;
        // Casts to unsigned saturate at 0, where Pillow clamps.
        let first = (center - support + 0.5) as usize;
        let end = ((center + support + 0.5) as usize).min(input);
        let len = end.saturating_sub(first).min(stride);
        let mut sum = 0.0;
        for (j, weight) in own[..len].iter_mut().enumerate() {
            *weight = filter.weight(((j + first) as f64 - center + 0.5) * inverse);
            sum += *weight;
        }
        if sum != 0.0 {
            for weight in &mut own[..len] {
                *weight /= sum;
            }
        }
        windows.push((first, len));
    }
    Taps {
        windows,
        weights,
        stride,
    }
}

fn fixed_point(taps: Taps<f64>) -> Taps<i32> {
    let one = f64::from(1u32 << PRECISION_BITS);
    let round = |w: f64| (w * one + if w < 0.0 { -0.5 } else { 0.5 }) as i32;
    Taps {
        windows: taps.windows,
        weights: taps.weights.into_iter().map(round).collect(),
        stride: taps.stride,
    }
}

fn clip8(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Width and height in samples.
pub(super) type Size = (usize, usize);

/// Whether rows are combined before columns: where the height shrinks by more than twice as many
/// samples as the width.
fn vertical_first(from: Size, to: Size) -> bool {
    let shrinks = |from: usize, to: usize| from as i64 - to as i64;
    let rows = shrinks(from.1, to.1);
    rows > 0 && rows > 2 * shrinks(from.0, to.0)
}

/// Resizes interleaved 8-bit samples with `C` channels.
pub(super) fn resize_u8<const C: usize>(
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

wide! {
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

/// Resizes one channel of 16-bit samples; Pillow works in 64-bit floats here.
pub(super) fn resize_u16(data: &[u16], from: Size, to: Size, filter: Resample) -> Vec<u16> {
    if vertical_first(from, to) {
        let high = vertical_u16(data, from.0, from.1, to.1, filter);
        horizontal_u16(&high, from.0, to.0, filter)
    } else {
        let wide = horizontal_u16(data, from.0, to.0, filter);
        vertical_u16(&wide, to.0, from.1, to.1, filter)
    }
}

fn horizontal_u16(data: &[u16], from: usize, to: usize, filter: Resample) -> Vec<u16> {
    if from == to {
        return data.to_vec();
    }
    let taps = taps(filter, from, to);
    let mut out = Vec::with_capacity(data.len() / from * to);
    for row in data.chunks_exact(from) {
        out.extend((0..to).map(|i| {
            let (first, weights) = taps.at(i);
            let samples = row[first..].iter().zip(weights);
            round16(samples.map(|(&s, &w)| f64::from(s) * w).sum())
        }));
    }
    out
}

fn vertical_u16(data: &[u16], row: usize, from: usize, to: usize, filter: Resample) -> Vec<u16> {
    if from == to {
        return data.to_vec();
    }
    let taps = taps(filter, from, to);
    let mut out = Vec::with_capacity(to * row);
    for i in 0..to {
        let (first, weights) = taps.at(i);
        out.extend((0..row).map(|x| {
            let samples = data[first * row + x..].iter().step_by(row).zip(weights);
            round16(samples.map(|(&s, &w)| f64::from(s) * w).sum())
        }));
    }
    out
}

/// Rounds half away from zero and clips.
fn round16(sum: f64) -> u16 {
    sum.round() as u16
}

/// Picks samples of `C` bytes without mixing them. Where the centre of a new sample falls on the
/// border of two old ones, rounding decides: Pillow adds up positions, but computes each anew for
/// 16-bit samples (`summed` false).
pub(super) fn nearest<const C: usize>(data: &[u8], from: Size, to: Size, summed: bool) -> Vec<u8> {
    let columns = nearest_indices(from.0, to.0, summed);
    let mut out = Vec::with_capacity(to.0 * to.1 * C);
    for y in nearest_indices(from.1, to.1, summed) {
        let (row, _) = data[y * from.0 * C..(y + 1) * from.0 * C].as_chunks::<C>();
        for &x in &columns {
            out.extend_from_slice(&row[x]);
        }
    }
    out
}

fn nearest_indices(input: usize, output: usize, summed: bool) -> Vec<usize> {
    let step = input as f64 / output as f64;
    let mut sum = step * 0.5;
    (0..output)
        .map(|i| {
            let position = if summed { sum } else { (i as f64 + 0.5) * step };
            sum += step;
            (position as usize).min(input - 1)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Resample; 6] = [
        Resample::Nearest,
        Resample::Lanczos,
        Resample::Bilinear,
        Resample::Bicubic,
        Resample::Box,
        Resample::Hamming,
    ];

    #[test]
    fn codes_round_trip() {
        for filter in ALL {
            assert_eq!(Resample::from_code(u64::from(filter.code())), Some(filter));
        }
        assert_eq!(Resample::from_code(6), None);
    }

    #[test]
    fn a_constant_image_stays_constant_at_any_size() {
        for filter in &ALL[1..] {
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

    #[test]
    fn rows_go_first_where_the_height_shrinks_most() {
        assert!(vertical_first((97, 131), (64, 48)));
        assert!(!vertical_first((97, 131), (64, 65)));
        assert!(vertical_first((10, 100), (20, 99)));
        assert!(!vertical_first((10, 100), (20, 100)));
    }

    #[test]
    fn nearest_takes_cell_centres() {
        for summed in [false, true] {
            assert_eq!(nearest_indices(4, 2, summed), [1, 3]);
            assert_eq!(nearest_indices(2, 5, summed), [0, 0, 1, 1, 1]);
            assert_eq!(
                nearest::<2>(&[1, 2, 3, 4], (2, 1), (1, 2), summed),
                [3, 4, 3, 4]
            );
        }
    }
}
