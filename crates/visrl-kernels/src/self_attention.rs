//! Attention of patches to those of their own run, from the projection to the mixed values.

use burn::tensor::Tensor;

use super::{Mask, Turn, masked_softmax};

#[cfg(feature = "flex")]
use super::flex;

/// What a layer of self-attention without a cache does.
#[derive(Clone, Debug)]
pub struct SelfAttention {
    /// The rotation of queries and keys.
    pub turn: Turn,
    /// The lengths of the runs, in order.
    pub sizes: Vec<usize>,
    /// The number of heads.
    pub heads: usize,
}

impl SelfAttention {
    /// `softmax(q k^T / sqrt(dim)) v` in each head and run, for queries, keys and values side by
    /// side, `[tokens, 3 width]`; gives `[tokens, width]`.
    pub fn apply(&self, qkv: Tensor<2>) -> Tensor<2> {
        #[cfg(feature = "flex")]
        {
            match flex::run(self, [qkv.into_dispatch()]) {
                Ok(output) => output,
                Err([qkv]) => self.plain(Tensor::from_dispatch(qkv)),
            }
        }
        #[cfg(not(feature = "flex"))]
        self.plain(qkv)
    }

    /// The same in tensor operations.
    pub(super) fn plain(&self, qkv: Tensor<2>) -> Tensor<2> {
        let width = qkv.dims()[1] / 3;
        let (heads, dim) = (self.heads, width / self.heads);
        let part = |index: usize| qkv.clone().narrow(1, index * width, width);
        let queries = self.turn.apply(part(0)) / (dim as f64).sqrt();
        let (keys, values) = (self.turn.apply(part(1)), part(2));
        let mut parts = Vec::new();
        let mut start = 0;
        for run in self.sizes.chunk_by(|a, b| a == b) {
            let (count, size) = (run.len(), run[0]);
            let cut = |tensor: &Tensor<2>| {
                let tensor = tensor.clone().narrow(0, start, count * size);
                tensor.reshape([count, size, heads, dim]).swap_dims(1, 2)
            };
            let scores = cut(&queries).matmul(cut(&keys).swap_dims(2, 3));
            let mixed = masked_softmax(scores, Mask::Full).matmul(cut(&values));
            parts.push(mixed.swap_dims(1, 2).reshape([count * size, width]));
            start += count * size;
        }
        Tensor::cat(parts, 0)
    }
}
