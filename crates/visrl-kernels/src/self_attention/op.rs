use burn::tensor::Tensor;

use super::plain;
use super::runs::Runs;
use crate::forms::{Form, Operation, run};
use crate::rotary::RotationTable;

/// What a layer of self-attention without a cache does.
#[derive(Clone, Debug)]
pub struct SelfAttention {
    /// The rotation of queries and keys.
    pub rotation: RotationTable,
    /// The tokens that attend to each other.
    pub runs: Runs,
    /// The number of heads.
    pub heads: usize,
}

impl Operation<1> for SelfAttention {
    const FORMS: &'static [Form<Self, 1>] = &[
        #[cfg(feature = "flex")]
        crate::forms::on::<burn::backend::Flex, _, 1>,
        #[cfg(feature = "flex")]
        crate::flex::in_f32::<_, 1>,
        #[cfg(feature = "cubecl")]
        super::cube::where_it_fits,
        #[cfg(feature = "tch")]
        crate::forms::on::<crate::libtorch::LibTorch, _, 1>,
    ];
}

impl SelfAttention {
    /// `softmax(q k^T / sqrt(dim)) v` in each head and run, for queries, keys and values side by
    /// side, `[tokens, 3 width]`; gives `[tokens, width]`.
    pub fn apply(&self, qkv: Tensor<2>) -> Tensor<2> {
        run(self, [qkv.into_dispatch()])
            .unwrap_or_else(|[qkv]| plain::self_attention(self, Tensor::from_dispatch(qkv)))
    }
}
