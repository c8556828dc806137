//! Positions that are learnt: a square table, resampled to the grid of each frame.

use burn::nn::Embedding;
use burn::tensor::{DType, Tensor, TensorData};

use crate::model::index_tensor::index_tensor;

/// What patches read of the table: four places each, and the weight of each.
struct Taps {
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

impl Taps {
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

/// The table's values at patches, `[patches, embed]`: interpolated linearly along both sides, in
/// f32, as transformers' Qwen3-VL has it.
pub(super) fn interpolate(
    table: &Embedding,
    positions: &[[u32; 2]],
    frames: &[[usize; 2]],
    side: usize,
) -> Tensor<2> {
    let table = table.weight.val();
    let (device, dtype) = (table.device(), table.dtype());
    let wide = if dtype == DType::F64 {
        dtype
    } else {
        DType::F32
    };
    let taps = Taps::new(positions, frames, side);
    let parts = taps.places.into_iter().zip(taps.weights);
    let parts = parts.map(|(places, weights)| {
        let count = weights.len();
        let weights = Tensor::<2>::from_data(TensorData::new(weights, [count, 1]), &device);
        let rows = table.clone().select(0, index_tensor(places, &device));
        rows.cast(wide) * weights.cast(wide)
    });
    let sum = parts.reduce(|sum, part| sum + part);
    sum.map_or_else(|| table.clone().narrow(0, 0, 0), |sum| sum.cast(dtype))
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
        let taps = Taps::new(&positions, &[[3, 2]], 4);
        for patch in 0..positions.len() {
            let sum: f32 = taps.weights.iter().map(|weights| weights[patch]).sum();
            assert!((sum - 1.0).abs() < 1e-6);
        }
        // The middle of three rows lies between the second and the third of four.
        assert_eq!(taps.places[0][2], 4);
        assert_eq!(taps.weights[0][2], 0.5);
    }
}
