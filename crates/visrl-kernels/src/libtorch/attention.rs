//! LibTorch's fused attention and its gradient.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use tch::{Kind, Tensor as Native};

use super::shim::{self, written};
use super::tensors::{Torch, fresh};

/// What is added to the scores of the last `len` tokens of sequences, each of which sees `past`
/// others and those up to itself, `[sequences, heads, times * len, past + len]`: the same for all
/// heads and sequences, and `times` over for queries of several heads one after another.
pub(crate) fn causal_bias(
    like: &Native,
    [sequences, heads, times]: [i64; 3],
    len: i64,
    past: i64,
) -> Native {
    let all = past + len;
    // CUDA's attention wants rows that begin at multiples of eight numbers.
    let options = (like.kind(), like.device());
    let mut unseen = Native::full([len, (all + 7) / 8 * 8], f64::NEG_INFINITY, options);
    let _ = unseen.triu_(past + 1);
    let unseen = unseen.repeat([times, 1]).narrow(1, 0, all);
    unseen.expand([sequences, heads, times * len, all], false)
}

/// Queries, keys and values, `[batch, heads, tokens, dim]` each, and what is added to their scores,
/// `[batch, heads, queries, keys]`.
pub(crate) struct Attention {
    pub(crate) queries: Native,
    pub(crate) keys: Native,
    pub(crate) values: Native,
    pub(crate) bias: Option<Native>,
}

/// What the gradient needs of an attention, its inputs among it.
#[derive(Clone, Debug)]
pub struct SavedAttention {
    inputs: [Torch; 3],
    bias: Option<Torch>,
    /// Whether it is CUDA's flash attention.
    flash: bool,
    result: Torch,
    log_sums: Torch,
    /// The numbers of a dropout that there is not, which CUDA's form wants back.
    dropout: Option<[Torch; 2]>,
}

impl Attention {
    /// `softmax(q k^T / sqrt(dim) + bias) v`, `[batch, heads, queries, dim]`, and what its gradient
    /// needs.
    pub(crate) fn run(self, keep: bool) -> (Native, Option<SavedAttention>) {
        let Self {
            queries,
            keys,
            values,
            bias,
        } = self;
        let cuda = queries.device().is_cuda();
        let flash = cuda && bias.is_none() && queries.kind() == Kind::BFloat16;
        let (result, log_sums, dropout) = if flash {
            let [result, log_sums, seed, offset] =
                shim::flash_attention([&queries, &keys, &values]).map(written);
            (result, log_sums, Some([seed, offset]))
        } else if cuda {
            let (result, log_sums, seed, offset) =
                Native::internal_scaled_dot_product_efficient_attention(
                    &queries,
                    &keys,
                    &values,
                    bias.as_ref(),
                    keep,
                    0.0,
                    false,
                    None,
                );
            (result, log_sums, Some([seed, offset]))
        } else {
            let (result, log_sums) = Native::internal_scaled_dot_product_flash_attention_for_cpu(
                &queries,
                &keys,
                &values,
                0.0,
                false,
                bias.as_ref(),
                None,
            );
            (result, log_sums, None)
        };
        let saved = keep.then(|| SavedAttention {
            inputs: [queries, keys, values].map(fresh),
            bias: bias.map(fresh),
            flash,
            result: fresh(result.shallow_clone()),
            log_sums: fresh(log_sums),
            dropout: dropout.map(|pair| pair.map(fresh)),
        });
        (result, saved)
    }
}

impl SavedAttention {
    /// The gradients of queries, keys and values from that of the result.
    pub(crate) fn backward(&self, grad: &Native) -> [Native; 3] {
        let [queries, keys, values] = self.inputs.each_ref().map(|of| &of.tensor);
        let bias = self.bias.as_ref().map(|bias| &bias.tensor);
        let (result, log_sums) = (&self.result.tensor, &self.log_sums.tensor);
        let Some([seed, offset]) = &self.dropout else {
            let (queries, keys, values) =
                Native::internal_scaled_dot_product_flash_attention_for_cpu_backward(
                    grad, queries, keys, values, result, log_sums, 0.0, false, bias, None,
                );
            return [queries, keys, values];
        };
        let saved = [result, log_sums, &seed.tensor, &offset.tensor];
        let inputs = [queries, keys, values];
        match self.flash {
            true => shim::flash_attention_backward(grad, inputs, saved),
            false => shim::efficient_attention_backward(grad, inputs, bias, saved),
        }
        .map(written)
    }
}
