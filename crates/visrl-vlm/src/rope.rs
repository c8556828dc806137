//! Rotary position embeddings with several axes.

use burn::tensor::{Tensor, TensorData};

/// Cosines and sines for a batch of tokens, `[tokens, 1, head_dim]` each.
#[derive(Clone, Debug)]
pub(crate) struct Rotary {
    cos: Tensor<3>,
    sin: Tensor<3>,
}

impl Rotary {
    /// From the angles of the first half of each head; the second half turns by the same. The
    /// tables are of the device and float type of `like`.
    fn new(angles: &[f32], half: usize, like: &Tensor<2>) -> Self {
        let (device, dtype) = (like.device(), like.dtype());
        let tokens = angles.len() / half.max(1);
        let table = |f: fn(f32) -> f32| {
            let mut values = Vec::with_capacity(angles.len() * 2);
            for row in angles.chunks(half) {
                values.extend(row.iter().map(|&angle| f(angle)));
                values.extend_from_within(values.len() - half..);
            }
            let data = TensorData::new(values, [tokens, 1, half * 2]);
            Tensor::<3>::from_data(data, &device).cast(dtype)
        };
        Self {
            cos: table(f32::cos),
            sin: table(f32::sin),
        }
    }

    /// M-RoPE of Qwen2-VL (arXiv 2409.12191, section 2.1): the frequencies are split into
    /// consecutive sections that turn with time, height and width.
    pub(crate) fn sections(
        positions: &[[u32; 3]],
        sections: [usize; 3],
        theta: f64,
        like: &Tensor<2>,
    ) -> Self {
        let half: usize = sections.iter().sum();
        let axes: Vec<usize> = (0..3)
            .flat_map(|axis| std::iter::repeat_n(axis, sections[axis]))
            .collect();
        let inverse = inverse_frequencies(half, theta);
        let angles: Vec<f32> = positions
            .iter()
            .flat_map(|p| {
                inverse
                    .iter()
                    .zip(&axes)
                    .map(move |(f, &axis)| f * p[axis] as f32)
            })
            .collect();
        Self::new(&angles, half, like)
    }

    /// Two-dimensional positions (row, column): half of the frequencies turn with each.
    pub(crate) fn plane(positions: &[[u32; 2]], head_dim: usize, like: &Tensor<2>) -> Self {
        let quarter = head_dim / 4;
        let inverse = inverse_frequencies(quarter, 10_000.0);
        let angles: Vec<f32> = positions
            .iter()
            .flat_map(|p| {
                p.map(|x| inverse.iter().map(move |f| f * x as f32))
                    .into_iter()
                    .flatten()
            })
            .collect();
        Self::new(&angles, quarter * 2, like)
    }

    /// Turns the heads of `x` `[tokens, heads * head_dim]`.
    pub(crate) fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        let [tokens, width] = x.dims();
        let dim = self.cos.dims()[2];
        let x = x.reshape([tokens, width / dim, dim]);
        let left = x.clone().narrow(2, 0, dim / 2);
        let right = x.clone().narrow(2, dim / 2, dim / 2);
        let turned = Tensor::cat(vec![right.neg(), left], 2);
        (x * self.cos.clone() + turned * self.sin.clone()).reshape([tokens, width])
    }
}

/// `theta^(-2i / (2 half))` for i below `half`, in f32 as the reference computes it.
fn inverse_frequencies(half: usize, theta: f64) -> Vec<f32> {
    (0..half)
        .map(|i| 1.0 / (theta as f32).powf(i as f32 / half as f32))
        .collect()
}
