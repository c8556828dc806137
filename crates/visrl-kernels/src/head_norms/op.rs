use std::sync::OnceLock;

use burn::nn::RmsNorm;
use burn::tensor::Tensor;

use super::plain;
use crate::forms::tell;
use crate::heads::Heads;

/// RMS norms of the heads of queries and of those of keys, where nothing is recorded.
#[derive(Clone, Debug)]
pub struct HeadNorms {
    pub(super) heads: Heads,
    pub(super) norms: [RmsNorm; 2],
    /// The weights of each head of queries and keys; made by the form that asks first.
    weights: OnceLock<Tensor<2>>,
}

/// The norms; the tensor as it was where a form does not take it.
type Form = fn(&HeadNorms, Tensor<2>) -> Result<Tensor<2>, Tensor<2>>;

const FORMS: &[Form] = &[
    #[cfg(feature = "tch")]
    super::tch::run,
];

impl HeadNorms {
    /// Of the norms of queries and of keys, `[dim]` each, with one epsilon.
    pub fn new(heads: Heads, norms: [RmsNorm; 2]) -> Self {
        Self {
            heads,
            norms,
            weights: OnceLock::new(),
        }
    }

    /// Queries, keys and values side by side, `[tokens, (query + 2 kv heads) * dim]`, after the
    /// norms.
    pub fn apply(&self, mut qkv: Tensor<2>) -> Tensor<2> {
        for form in FORMS {
            match form(self, qkv) {
                Ok(normed) => {
                    tell::<Self>(true);
                    return normed;
                }
                Err(back) => qkv = back,
            }
        }
        tell::<Self>(false);
        plain::run(self, qkv)
    }

    /// A row of weights for each head of queries and keys, `[query + kv heads, dim]`.
    #[cfg_attr(not(feature = "tch"), allow(dead_code))] // Forms read it.
    pub(super) fn weights(&self) -> &Tensor<2> {
        self.weights.get_or_init(|| {
            let [queries, keys] = self.norms.each_ref().map(|norm| norm.gamma.val());
            let row = |gamma: Tensor<1>, heads: usize| gamma.unsqueeze::<2>().repeat_dim(0, heads);
            let rows = vec![row(queries, self.heads.query), row(keys, self.heads.kv)];
            Tensor::cat(rows, 0)
        })
    }
}
