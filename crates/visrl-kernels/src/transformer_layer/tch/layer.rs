//! The layer, forward and backward.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use tch::Tensor as Native;

use super::dense::{dense, dense_onto, gradients, joined, projection_gradients};
use super::feed_forward::{self, feed_forward};
use super::norm::{SavedNorm, norm};
use crate::forms::Fused;
use crate::head_norms::SavedHeadNorms;
use crate::libtorch::attention::SavedAttention;
use crate::libtorch::shim::BelowAutograd;
use crate::libtorch::{self, LibTorch, Torch};
use crate::transformer_layer::attention::LayerAttention;
use crate::transformer_layer::op::WholeLayer;
use crate::transformer_layer::weights::LayerWeights;

/// What the gradient needs.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    norms: [SavedNorm; 2],
    /// The rows after both norms.
    normed: [Torch; 2],
    /// The weight of queries, keys and values side by side.
    projections: Torch,
    head_norms: Option<SavedHeadNorms>,
    attention: Mixed,
    mixed: Torch,
    /// The weight of the attention's output.
    output: Torch,
    feed_forward: feed_forward::Saved,
}

/// What the gradient of the attention needs.
#[derive(Clone, Debug)]
enum Mixed {
    /// Of prompts and of rows, segment by segment.
    Prompts(Vec<[SavedAttention; 2]>),
    /// Of runs of equal length.
    Runs(Vec<SavedAttention>),
}

impl LayerAttention {
    /// Turns queries and keys in place.
    fn turn(&self, qkv: &Native, tokens: i64) {
        match self {
            Self::Prompts(attention) => attention.turn(qkv, tokens, false),
            Self::Runs(attention) => attention.turn(qkv, tokens, false),
        }
    }

    /// The attention of all tokens, `[tokens, query heads * dim]`.
    fn mix(&self, qkv: &Native, tokens: i64, keep: bool) -> (Native, Mixed) {
        match self {
            Self::Prompts(attention) => {
                let (mixed, saved) = attention.mix(qkv, tokens, keep);
                (mixed, Mixed::Prompts(saved))
            }
            Self::Runs(attention) => {
                let (mixed, saved) = attention.mix(qkv, keep);
                (mixed, Mixed::Runs(saved))
            }
        }
    }

    /// The gradient of queries, keys and values side by side, before their rotation.
    fn unmix(&self, saved: &Mixed, grad: &Native, tokens: i64) -> Native {
        match (self, saved) {
            (Self::Prompts(attention), Mixed::Prompts(saved)) => {
                attention.unmix(saved, grad, tokens)
            }
            (Self::Runs(attention), Mixed::Runs(saved)) => attention.unmix(saved, grad, tokens),
            _ => unreachable!("what another attention kept"),
        }
    }

    /// The widths of queries, keys and values.
    fn widths(&self) -> [i64; 3] {
        let heads = self.heads();
        [heads.query, heads.kv, heads.kv].map(|count| (count * heads.dim) as i64)
    }
}

impl WholeLayer {
    fn run_layer<const N: usize>(&self, inputs: [Torch; N], keep: bool) -> (Torch, Option<Saved>) {
        let _below = BelowAutograd::new();
        let (attention, epsilon) = (&self.layer.attention, self.layer.epsilon);
        let mut inputs = inputs.into_iter();
        let x = inputs.next();
        let x = x.unwrap_or_else(|| unreachable!("the states, which come first"));
        let weights = self.parts.of_list(inputs);
        let tokens = x.tensor.size()[0];

        let (normed_1, norm_1) = norm(&x, &weights.norms[0], epsilon, keep);
        let projections = joined(&weights.projections);
        let mut qkv = dense(&normed_1, &projections);
        let mut head_norms = None;
        if let Some(gammas) = &weights.head_norms {
            (qkv, head_norms) =
                SavedHeadNorms::run(attention.heads(), qkv, gammas.each_ref(), epsilon, keep);
        }
        attention.turn(&qkv, tokens);
        let (mixed, saved_attention) = attention.mix(&qkv, tokens, keep);
        let middle = libtorch::fresh(dense_onto(&x.tensor, &mixed, &weights.output));

        let (normed_2, norm_2) = norm(&middle, &weights.norms[1], epsilon, keep);
        let (output, feed_forward) =
            feed_forward(&normed_2, &weights.feed_forward, &middle.tensor, keep);
        let saved = norm_1.zip(norm_2).zip(feed_forward);
        let saved = saved.map(|((norm_1, norm_2), feed_forward)| Saved {
            norms: [norm_1, norm_2],
            normed: [normed_1, normed_2].map(libtorch::fresh),
            projections: projections.weight,
            head_norms,
            attention: saved_attention,
            mixed: libtorch::fresh(mixed),
            output: weights.output.weight,
            feed_forward,
        });
        (libtorch::fresh(output), saved)
    }
}

impl<const N: usize> Fused<LibTorch, N> for WholeLayer {
    type Saved = Saved;

    fn forward(&self, inputs: [Torch; N]) -> Torch {
        self.run_layer(inputs, false).0
    }

    fn forward_saving(&self, inputs: [Torch; N]) -> (Torch, Saved) {
        let (output, saved) = self.run_layer(inputs, true);
        let saved = saved.unwrap_or_else(|| unreachable!("what was to be kept"));
        (output, saved)
    }

    fn backward(&self, saved: Saved, grad: Torch, wanted: [bool; N]) -> [Option<Torch>; N] {
        let _below = BelowAutograd::new();
        let attention = &self.layer.attention;
        let (of_states, wanted) = (wanted[0], self.parts.of_list(wanted.into_iter().skip(1)));
        let grad = grad.tensor;
        let tokens = grad.size()[0];
        let [normed_1, normed_2] = saved.normed.each_ref().map(|of| &of.tensor);

        let (d_normed, of_feed_forward) =
            saved
                .feed_forward
                .backward(normed_2, &grad, &wanted.feed_forward);
        let (mut d_middle, of_norm_2) = saved.norms[1].backward(&d_normed, &wanted.norms[1]);
        let _ = d_middle.g_add_(&grad);

        let of_output = gradients(&wanted.output, &saved.mixed.tensor, &d_middle);
        let d_mixed = d_middle.mm(&saved.output.tensor.tr());
        let d_qkv = attention.unmix(&saved.attention, &d_mixed, tokens);
        let of_heads = wanted.head_norms.map(|wanted| match &saved.head_norms {
            Some(saved) => saved.backward(attention.heads(), &d_qkv, wanted),
            None => unreachable!("what the norms of heads kept"),
        });
        let of_projections =
            projection_gradients(&wanted.projections, normed_1, &d_qkv, attention.widths());
        let d_normed = d_qkv.mm(&saved.projections.tensor.tr());
        let (mut d_x, of_norm_1) = saved.norms[0].backward(&d_normed, &wanted.norms[0]);
        let _ = d_x.g_add_(&d_middle);

        let (_, list) = LayerWeights {
            norms: [of_norm_1, of_norm_2],
            projections: of_projections,
            head_norms: of_heads,
            output: of_output,
            feed_forward: of_feed_forward,
        }
        .into_list();
        let of_states = of_states.then(|| libtorch::fresh(d_x));
        let mut found = [of_states].into_iter().chain(list);
        std::array::from_fn(|_| found.next().flatten())
    }
}
