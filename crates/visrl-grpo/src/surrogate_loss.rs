//! A surrogate, made a complete policy loss.

use crate::batch::TokenBatch;
use crate::error::Result;
use crate::kernel;
use crate::loss::{Aggregation, Surrogate};
use crate::normalization::Normalization;
use crate::policy_loss::{LossSummary, PolicyLoss};
use crate::real::Real;
use crate::terms::Terms;

/// A [`Surrogate`] with an [`Aggregation`] and the shared [`Terms`]: a complete
/// [`PolicyLoss`]. This is how a loss of your own joins those of the crate; see [`Surrogate`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SurrogateLoss<S> {
    /// What one token is worth.
    pub surrogate: S,
    /// How tokens are averaged.
    pub aggregation: Aggregation,
    /// The options that all losses share.
    pub terms: Terms,
}

impl<F: Real, S: Surrogate<F>> PolicyLoss<F> for SurrogateLoss<S> {
    fn evaluate_into(
        &self,
        batch: &TokenBatch<'_, F>,
        grad: &mut [F],
        entropy_grad: Option<&mut [F]>,
    ) -> Result<LossSummary> {
        kernel::evaluate(
            &self.surrogate,
            self.aggregation,
            &self.terms,
            batch,
            grad,
            entropy_grad,
        )
    }

    fn normalization(&self, batch: &TokenBatch<'_, F>) -> Result<Normalization> {
        self.terms.check(batch)?;
        Ok(self.terms.count(batch))
    }

    fn set_step(&mut self, step: u64) {
        self.terms.set_step(step);
    }

    fn needs_reference(&self) -> bool {
        self.terms.needs_reference()
    }

    fn needs_entropies(&self) -> bool {
        self.terms.needs_entropies()
    }

    fn has_entropy_grad(&self) -> bool {
        self.terms.entropy_coef != 0.0
    }
}
