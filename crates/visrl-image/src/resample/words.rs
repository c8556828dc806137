//! 16-bit samples: two passes in 64-bit floats, each rounded.

use super::filter::Resample;
use super::passes::{Size, vertical_first};
use super::taps::taps;

/// Resizes one channel of 16-bit samples; Pillow works in 64-bit floats here.
pub(crate) fn resize_u16(data: &[u16], from: Size, to: Size, filter: Resample) -> Vec<u16> {
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
