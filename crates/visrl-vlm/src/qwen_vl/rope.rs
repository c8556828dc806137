//! Rotary position embeddings with several axes.

use burn::tensor::Tensor;
use visrl_kernels::RotationTable;

/// The rotation of a batch of tokens.
#[derive(Clone, Debug)]
pub(crate) struct Rotary(RotationTable);

impl Rotary {
    /// M-RoPE (arXiv 2409.12191, section 2.1): each frequency turns with one of the axes time,
    /// height and width; `axes` says with which.
    pub(crate) fn multimodal(positions: &[[u32; 3]], axes: &[usize], theta: f64) -> Self {
        let inverse = inverse_frequencies(axes.len(), theta);
        let angles: Vec<f32> = positions
            .iter()
            .flat_map(|p| {
                inverse
                    .iter()
                    .zip(axes)
                    .map(move |(f, &axis)| f * p[axis] as f32)
            })
            .collect();
        Self(RotationTable::new(&angles, axes.len()))
    }

    /// Two-dimensional positions (row, column): half of the frequencies turn with each.
    pub(crate) fn plane(positions: &[[u32; 2]], head_dim: usize, theta: f64) -> Self {
        let quarter = head_dim / 4;
        let inverse = inverse_frequencies(quarter, theta);
        let angles: Vec<f32> = positions
            .iter()
            .flat_map(|p| {
                p.map(|x| inverse.iter().map(move |f| f * x as f32))
                    .into_iter()
                    .flatten()
            })
            .collect();
        Self(RotationTable::new(&angles, quarter * 2))
    }

    /// The bytes that tables of it take on a device, about.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// The angles themselves.
    pub(crate) fn table(&self) -> &RotationTable {
        &self.0
    }

    /// Turns the heads of `x` `[tokens, heads * head_dim]`.
    pub(crate) fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        self.0.apply(x)
    }
}

/// `theta^(-2i / (2 half))` for i below `half`, in f32 as the reference computes it.
pub(super) fn inverse_frequencies(half: usize, theta: f64) -> Vec<f32> {
    (0..half)
        .map(|i| 1.0 / (theta as f32).powf(i as f32 / half as f32))
        .collect()
}
