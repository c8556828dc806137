//! From hidden states to log-probabilities and back, in chunks, so that the logits of a long batch
//! never exist whole.

use std::ops::Range;

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use visrl_kernels::{self as kernels, RowGradients};
use visrl_vlm::VisionLanguageModel;

use crate::error::Error;
use crate::optimizer::{Gradients, widened};

/// Log-probabilities kept for the backward pass are bounded by this many values per call.
const KEPT_VALUES: usize = 1 << 26;

/// The forward pass through the head.
pub(crate) struct HeadPass {
    /// Log-probability of each target, in nats.
    pub(crate) logps: Vec<f32>,
    /// Entropy of each distribution, in nats.
    pub(crate) entropies: Vec<f32>,
    chunks: Vec<(Range<usize>, Option<Tensor<2>>)>,
}

/// Computes log-probabilities of `targets` under the softmax of `hidden` times the model's head.
///
/// `hidden` is `[tokens, hidden]` without gradient tracking. The softmax is computed in f32, or in
/// f64 where the parameters are.
pub(crate) fn forward<M: VisionLanguageModel>(
    model: &M,
    hidden: &Tensor<2>,
    targets: &[u32],
    chunk: usize,
    keep: bool,
) -> Result<HeadPass, Error> {
    let head = model.head().without_autodiff();
    let mut pass = HeadPass {
        logps: Vec::with_capacity(targets.len()),
        entropies: Vec::with_capacity(targets.len()),
        chunks: Vec::new(),
    };
    let mut kept = 0;
    for start in (0..targets.len()).step_by(chunk.max(1)) {
        let range = start..(start + chunk.max(1)).min(targets.len());
        let logits = chunk_logits(hidden, &head, &range);
        let found = kernels::log_softmax(logits, &targets[range.clone()])?;
        pass.logps.extend(found.chosen);
        pass.entropies.extend(found.entropies);
        kept += range.len() * model.info().vocab_size;
        let keep = keep && kept <= KEPT_VALUES;
        pass.chunks.push((range, keep.then_some(found.logps)));
    }
    Ok(pass)
}

/// What a loss asks of each token: its derivatives, `[tokens]`.
pub(crate) struct Coefficients {
    /// d loss / d logp of the target.
    pub(crate) logp: Vec<f32>,
    /// d loss / d entropy of the distribution, where the loss has an entropy term.
    pub(crate) entropy: Option<Vec<f32>>,
}

impl Coefficients {
    /// Whether the loss asks nothing.
    pub(crate) fn are_zero(&self) -> bool {
        let mut all = self.logp.iter().chain(self.entropy.iter().flatten());
        all.all(|c| *c == 0.0)
    }
}

impl HeadPass {
    /// The gradient of `sum_t (c_t logp_t + e_t entropy_t)` with respect to `hidden`; the head's
    /// own is added to `gradients`.
    ///
    /// With p the softmax, H its entropy and t the target,
    /// `d logp_t / d logits = onehot(t) - p` and `d H / d logits = -p (log p + H)`.
    pub(crate) fn backward<M: VisionLanguageModel>(
        self,
        model: &M,
        hidden: &Tensor<2>,
        targets: &[u32],
        coefficients: &Coefficients,
        gradients: &mut Gradients,
    ) -> Result<Tensor<2>, Error> {
        let head = model.head().without_autodiff();
        let entropy = coefficients.entropy.as_deref();
        let mut parts = Vec::with_capacity(self.chunks.len());
        for (range, logps) in self.chunks {
            let logps =
                logps.unwrap_or_else(|| log_softmax(chunk_logits(hidden, &head, &range), 1));
            let rows = RowGradients {
                logp: &coefficients.logp[range.clone()],
                entropy: entropy.map(|e| (&e[range.clone()], &self.entropies[range.clone()])),
            };
            let d_logits = kernels::log_softmax_backward(logps, &targets[range.clone()], rows)?;
            let d_logits = d_logits.cast(head.dtype());
            let states = hidden.clone().narrow(0, range.start, range.len());
            if let Some((name, gradient)) = model.head_gradient(states, d_logits.clone()) {
                gradients.add(name, gradient);
            }
            parts.push(kernels::matmul(d_logits, head.clone().transpose()));
        }
        Ok(Tensor::cat(parts, 0))
    }
}

fn chunk_logits(hidden: &Tensor<2>, head: &Tensor<2>, range: &Range<usize>) -> Tensor<2> {
    let states = hidden.clone().narrow(0, range.start, range.len());
    widened(kernels::matmul(states, head.clone()))
}
