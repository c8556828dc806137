//! Which samples make a new one, and how much each counts.

use super::filter::Resample;

/// Fractional bits of a fixed-point weight: 32 less 8 for the sample and 2 for overshoot.
pub(super) const PRECISION_BITS: u32 = 32 - 8 - 2;

/// The taps of every output sample of one axis.
pub(super) struct Taps<W> {
    /// First input sample and number of taps, per output sample.
    windows: Vec<(usize, usize)>,
    /// `stride` weights per output sample, those beyond its taps unused.
    weights: Vec<W>,
    stride: usize,
}

impl<W> Taps<W> {
    /// First input sample and weights of output sample `i`.
    pub(super) fn at(&self, i: usize) -> (usize, &[W]) {
        let (first, len) = self.windows[i];
        (first, &self.weights[i * self.stride..i * self.stride + len])
    }

    /// The input samples that any output sample reads.
    pub(super) fn span(&self) -> (usize, usize) {
        let first = self.windows.first().map_or(0, |w| w.0);
        let last = self.windows.last().map_or(0, |w| w.0 + w.1);
        (first, last)
    }
}

/// The taps of an axis of `input` samples that gets `output`.
pub(super) fn taps(filter: Resample, input: usize, output: usize) -> Taps<f64> {
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

/// The same weights with [`PRECISION_BITS`] fractional bits.
pub(super) fn fixed_point(taps: Taps<f64>) -> Taps<i32> {
    let one = f64::from(1u32 << PRECISION_BITS);
    let round = |w: f64| (w * one + if w < 0.0 { -0.5 } else { 0.5 }) as i32;
    Taps {
        windows: taps.windows,
        weights: taps.weights.into_iter().map(round).collect(),
        stride: taps.stride,
    }
}
