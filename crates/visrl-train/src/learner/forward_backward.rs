//! From completions to the loss and its gradients, in five steps.

use visrl_grpo::{LossMetrics, Normalization};
use visrl_vlm::VisionLanguageModel;

use super::batch::{Batch, MicroBatch};
use super::clock::Clock;
use super::decoder::{Activations, DecoderPass};
use super::head::{self, Coefficients, HeadPass};
use super::learner::Learner;
use super::loss_inputs::LossInputs;
use super::report::LearnTimes;
use crate::error::Error;
use crate::optimizer::Gradients;

/// The loss of a batch and its gradients.
#[derive(Default)]
pub(super) struct BatchGradients {
    /// The loss.
    pub(super) loss: f64,
    /// What the loss saw.
    pub(super) metrics: LossMetrics,
    /// Of the trained parameters; empty when the loss asked nothing.
    pub(super) gradients: Gradients,
}

impl<M: VisionLanguageModel> Learner<M> {
    /// The loss and its gradients, summed over micro-batches. Each micro-batch goes through the
    /// decoder and the head to log-probabilities, from there through the loss to coefficients, and
    /// back through head and decoder to gradients.
    ///
    /// The policy's log-probabilities stand in `inputs` afterwards.
    pub(super) fn forward_backward(
        &self,
        batch: &Batch<'_>,
        inputs: &mut LossInputs<'_>,
        times: &mut LearnTimes,
    ) -> Result<BatchGradients, Error> {
        let mut clock = Clock::start();
        inputs.normalization = self.normalization(batch, inputs)?;
        let mut sum = BatchGradients::default();
        for part in batch.micro_batches() {
            let decoder = self.decoder_forward(part, inputs)?;
            let head = self.head_forward(part, &decoder)?;
            inputs.set(part, &head);
            let coefficients = self.coefficients(part, inputs, &mut sum)?;
            clock.lap(&mut times.forward);
            if coefficients.are_zero() {
                decoder.discard();
            } else {
                let (hidden, gradients) = (&decoder.hidden, &mut sum.gradients);
                let d_hidden =
                    head.backward(&self.model, hidden, &part.targets, &coefficients, gradients)?;
                decoder.backward(&self.model, self.kept_features(), d_hidden, gradients)?;
            }
            clock.lap(&mut times.backward);
        }
        // A batch that asks nothing leaves the policy as it is.
        if !sum.gradients.is_empty() {
            sum.gradients.complete(&self.model);
        }
        Ok(sum)
    }

    /// From completions to hidden states.
    fn decoder_forward(
        &self,
        part: &MicroBatch<'_>,
        inputs: &LossInputs<'_>,
    ) -> Result<DecoderPass, Error> {
        let only_advantages = !self.loss.needs_reference() && !self.loss.has_entropy_grad();
        let mut activations = Activations::new(self.config.recompute);
        if only_advantages && inputs.is_even(part) {
            activations = activations.unlikely(self.model.info().layers);
        }
        DecoderPass::forward(&self.model, self.kept_features(), part, activations)
    }

    /// From hidden states to log-probabilities and entropies.
    fn head_forward(
        &self,
        part: &MicroBatch<'_>,
        decoder: &DecoderPass,
    ) -> Result<HeadPass, Error> {
        let chunk = self.config.head_chunk;
        head::forward(&self.model, &decoder.hidden, &part.targets, chunk, true)
    }

    /// From log-probabilities to the loss and its derivatives.
    fn coefficients(
        &self,
        part: &MicroBatch<'_>,
        inputs: &LossInputs<'_>,
        sum: &mut BatchGradients,
    ) -> Result<Coefficients, Error> {
        let output = self.loss.evaluate(&inputs.micro_batch(part)?)?;
        sum.loss += output.loss;
        sum.metrics.merge(&output.metrics);
        Ok(Coefficients {
            logp: output.grad,
            entropy: output.entropy_grad,
        })
    }

    /// The counts of a batch that is evaluated in pieces.
    fn normalization(
        &self,
        batch: &Batch<'_>,
        inputs: &mut LossInputs<'_>,
    ) -> Result<Option<Normalization>, Error> {
        if batch.micro_batches().len() < 2 {
            return Ok(None);
        }
        if self.loss.needs_entropies() {
            inputs.entropies = self.log_probs_of(&self.model.valid(), batch)?.1;
        }
        inputs.normalization = None;
        Ok(Some(self.loss.normalization(&inputs.batch())?))
    }
}
