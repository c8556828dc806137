//! Positions that are learnt: a square table, resampled to the grid of each frame.

use burn::nn::Embedding;
use burn::tensor::{DType, Int, Tensor, TensorData};

use super::patches::like;
use crate::model::index_tensor::index_tensor;

/// What patches read of the table: four places each, and the weight of each, `[patches]` and
/// `[patches, 1]`.
#[derive(Debug)]
pub(super) struct Taps([(Tensor<1, Int>, Tensor<2>); 4]);

/// The same in host memory.
struct HostTaps {
    places: [Vec<i64>; 4],
    weights: [Vec<f32>; 4],
}

/// Where one side of a grid reads a side of the table: the place before, the place behind, and the
/// weight of the latter. Corners are aligned: the first and the last of the grid are those of the
/// table.
fn along(index: u32, count: usize, side: usize) -> (usize, usize, f32) {
    let last = side - 1;
    let at = match count {
        0 | 1 => 0.0,
        _ => index as f32 * last as f32 / (count - 1) as f32,
    };
    let before = (at as usize).min(last);
    (before, (before + 1).min(last), at - before as f32)
}

impl HostTaps {
    /// For patches of frames of `[height, width]` patches, at `[row, column]` each.
    fn new(positions: &[[u32; 2]], frames: &[[usize; 2]], side: usize) -> Self {
        let mut taps = Self {
            places: Default::default(),
            weights: Default::default(),
        };
        let mut left = positions;
        for &[height, width] in frames {
            let (own, rest) = left.split_at((height * width).min(left.len()));
            left = rest;
            for &[row, column] in own {
                let (top, bottom, down) = along(row, height, side);
                let (before, behind, right) = along(column, width, side);
                let corners = [
                    (top, before, (1.0 - down) * (1.0 - right)),
                    (top, behind, (1.0 - down) * right),
                    (bottom, before, down * (1.0 - right)),
                    (bottom, behind, down * right),
                ];
                for (tap, (row, column, weight)) in corners.into_iter().enumerate() {
                    taps.places[tap].push((row * side + column) as i64);
                    taps.weights[tap].push(weight);
                }
            }
        }
        taps
    }
}

impl Taps {
    /// For patches of frames of `[height, width]` patches, at `[row, column]` each, of a table of
    /// `side` by `side` places, on the device of a plain weight.
    pub(super) fn new(
        positions: &[[u32; 2]],
        frames: &[[usize; 2]],
        side: usize,
        weight: &Tensor<2>,
    ) -> Self {
        let (device, wide) = (weight.device(), wide(weight.dtype()));
        let HostTaps { places, weights } = HostTaps::new(positions, frames, side);
        let mut weights = weights.into_iter();
        Self(places.map(|places| {
            let weights = weights.next().unwrap_or_default();
            let weights = TensorData::new(weights, [places.len(), 1]);
            let weights = Tensor::<2>::from_data(weights, &device).cast(wide);
            (index_tensor(places, &device), weights)
        }))
    }
}

/// The format that is interpolated in.
fn wide(dtype: DType) -> DType {
    match dtype {
        DType::F64 => dtype,
        _ => DType::F32,
    }
}

/// The table's values at patches, `[patches, embed]`: interpolated linearly along both sides, in
/// f32, as transformers' Qwen3-VL has it.
pub(super) fn interpolate(table: &Embedding, taps: &Taps) -> Tensor<2> {
    let table = table.weight.val();
    let dtype = table.dtype();
    let parts = taps.0.each_ref().map(|(places, weights)| {
        let rows = table.clone().select(0, like(places, &table));
        rows.cast(wide(dtype)) * like(weights, &table)
    });
    let [first, second, third, fourth] = parts;
    (first + second + third + fourth).cast(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_are_aligned_and_the_middle_lies_between() {
        assert_eq!(along(0, 5, 9), (0, 1, 0.0));
        assert_eq!(along(4, 5, 9), (8, 8, 0.0));
        assert_eq!(along(1, 4, 3), (0, 1, 2.0 / 3.0));
        assert_eq!(along(0, 1, 9), (0, 1, 0.0));
    }

    #[test]
    fn weights_of_a_patch_sum_to_one() {
        let positions = [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]];
        let taps = HostTaps::new(&positions, &[[3, 2]], 4);
        for patch in 0..positions.len() {
            let sum: f32 = taps.weights.iter().map(|weights| weights[patch]).sum();
            assert!((sum - 1.0).abs() < 1e-6);
        }
        // The middle of three rows lies between the second and the third of four.
        assert_eq!(taps.places[0][2], 4);
        assert_eq!(taps.weights[0][2], 0.5);
    }
}
