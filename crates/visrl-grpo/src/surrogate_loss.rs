//! A surrogate, made a complete policy loss.

use crate::error::Result;
use crate::evaluation::evaluate;
use crate::loss::aggregation::Aggregation;
use crate::loss::surrogate::Surrogate;
use crate::loss_batch::LossBatch;
use crate::policy_loss::{LossSummary, PolicyLoss};
use crate::real::Real;
use crate::shared_options::SharedOptions;

/// A [`Surrogate`] with an [`Aggregation`] and the [`SharedOptions`]: a complete [`PolicyLoss`].
/// This is how a loss of your own joins those of the crate; see [`Surrogate`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SurrogateLoss<S> {
    /// What one token is worth.
    pub surrogate: S,
    /// How tokens are averaged.
    pub aggregation: Aggregation,
    /// The options that all losses share.
    pub terms: SharedOptions,
}

impl<F: Real, S: Surrogate<F>> PolicyLoss<F> for SurrogateLoss<S> {
    fn evaluate_into(
        &self,
        batch: &LossBatch<'_, F>,
        grad: &mut [F],
        entropy_grad: Option<&mut [F]>,
    ) -> Result<LossSummary> {
        let how = self.aggregation;
        evaluate(&self.surrogate, how, &self.terms, batch, grad, entropy_grad)
    }

    fn options(&self) -> Option<&SharedOptions> {
        Some(&self.terms)
    }

    fn set_step(&mut self, step: u64) {
        self.terms.set_step(step);
    }
}
