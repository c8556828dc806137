//! The contract between a loss and a learner.

use crate::error::Result;
use crate::loss_batch::LossBatch;
use crate::metrics::LossMetrics;
use crate::normalization::Normalization;
use crate::real::Real;
use crate::shared_options::SharedOptions;

/// A policy loss: log-probabilities in, a loss and its derivatives out. A learner pushes
/// `d loss / d logp` of each token back through its model; it may hold `Box<dyn PolicyLoss<f32>>`.
pub trait PolicyLoss<F: Real>: Send + Sync {
    /// Evaluates the loss, writing `d loss / d logp` into `grad`, and `d loss / d entropy` into
    /// `entropy_grad` where one is given; both `[tokens]`. Every element is written.
    ///
    /// # Errors
    /// A field of the wrong length, a field that the loss needs and the batch lacks, or a
    /// configuration value outside its range.
    fn evaluate_into(
        &self,
        batch: &LossBatch<'_, F>,
        grad: &mut [F],
        entropy_grad: Option<&mut [F]>,
    ) -> Result<LossSummary>;

    /// The options that all families share, for a loss that has them. Default none.
    fn options(&self) -> Option<&SharedOptions> {
        None
    }

    /// The counts of a batch taken whole, to be given to each of its pieces. Only lengths are read,
    /// and `truncated` and `entropies` where an option asks for them.
    ///
    /// # Errors
    /// As [`evaluate_into`](Self::evaluate_into).
    fn normalization(&self, batch: &LossBatch<'_, F>) -> Result<Normalization> {
        match self.options() {
            Some(options) => options.normalization(batch),
            None => batch.validate().map(|()| Normalization::new(batch.rows(), batch.tokens())),
        }
    }

    /// Tells the loss which optimizer step its batches are for, counted from 0, so that
    /// parameters can follow a schedule.
    fn set_step(&mut self, _step: u64) {}

    /// Whether batches need `ref_logps`, at this step or a later one, so that a learner can leave
    /// out the reference forward.
    fn needs_reference(&self) -> bool {
        self.options().is_some_and(SharedOptions::needs_reference)
    }

    /// Whether batches need `entropies`.
    fn needs_entropies(&self) -> bool {
        self.options().is_some_and(SharedOptions::needs_entropies)
    }

    /// Whether `d loss / d entropy` is not zero, so that a learner must backpropagate it.
    fn has_entropy_grad(&self) -> bool {
        self.options().is_some_and(|options| options.entropy_coef != 0.0)
    }

    /// Evaluates the loss into fresh buffers.
    ///
    /// # Errors
    /// As [`evaluate_into`](Self::evaluate_into).
    fn evaluate(&self, batch: &LossBatch<'_, F>) -> Result<LossOutput<F>> {
        let mut grad = vec![F::ZERO; batch.logps.len()];
        let mut entropy_grad = self.has_entropy_grad().then(|| grad.clone());
        let LossSummary { loss, metrics } =
            self.evaluate_into(batch, &mut grad, entropy_grad.as_deref_mut())?;
        Ok(LossOutput { loss, grad, entropy_grad, metrics })
    }
}

/// The value of a loss, without its gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossSummary {
    /// The loss, entropy bonus included.
    pub loss: f64,
    /// What the tokens looked like.
    pub metrics: LossMetrics,
}

/// The value of a loss and its gradients.
#[derive(Debug, Clone, PartialEq)]
pub struct LossOutput<F> {
    /// The loss, entropy bonus included.
    pub loss: f64,
    /// `d loss / d logp`, `[tokens]`.
    pub grad: Vec<F>,
    /// `d loss / d entropy`, `[tokens]`, when the loss has an entropy bonus.
    pub entropy_grad: Option<Vec<F>>,
    /// What the tokens looked like.
    pub metrics: LossMetrics,
}
