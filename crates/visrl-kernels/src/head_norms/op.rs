use burn::nn::RmsNorm;
use burn::tensor::Tensor;

use super::plain;
use crate::forms::tell;
use crate::heads::Heads;

/// The norms, as it is told which form they run in.
struct HeadNorms;

type Norms<'a> = [&'a RmsNorm; 2];

/// The norms where nothing is recorded; the tensor as it was where a form does not take it.
type Form = fn(Heads, Tensor<2>, Norms<'_>) -> Result<Tensor<2>, Tensor<2>>;

const FORMS: &[Form] = &[
    #[cfg(feature = "tch")]
    super::tch::run,
];

/// Queries, keys and values side by side, `[tokens, (query + 2 kv heads) * dim]`, after the norms of
/// the heads of queries and of keys.
pub fn head_norms(heads: Heads, mut qkv: Tensor<2>, norms: [&RmsNorm; 2]) -> Tensor<2> {
    for form in FORMS {
        match form(heads, qkv, norms) {
            Ok(normed) => {
                tell::<HeadNorms>(true);
                return normed;
            }
            Err(back) => qkv = back,
        }
    }
    tell::<HeadNorms>(false);
    plain::run(heads, qkv, norms)
}
