//! Supervised fine-tuning as a policy loss.

use crate::error::{Error, Result};
use crate::loss_batch::LossBatch;
use crate::metrics::LossMetrics;
use crate::normalization::guarded;
use crate::policy_loss::{LossSummary, PolicyLoss};
use crate::real::Real;

/// Supervised fine-tuning as a policy loss: minus the log-probability of the target token, as a
/// mean over all tokens.
///
/// Rows hold the right answers as completions; advantages are not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SupervisedLoss;

impl<F: Real> PolicyLoss<F> for SupervisedLoss {
    fn evaluate_into(
        &self,
        batch: &LossBatch<'_, F>,
        grad: &mut [F],
        entropy_grad: Option<&mut [F]>,
    ) -> Result<LossSummary> {
        batch.validate()?;
        let tokens = batch.normalization.map_or(batch.tokens() as f64, |counts| counts.tokens);
        let tokens = guarded(tokens);
        Error::check_length("grad", grad.len(), batch.tokens())?;
        grad.fill(-F::ONE / F::from_f64(tokens));
        if let Some(grad) = entropy_grad {
            Error::check_length("entropy_grad", grad.len(), batch.tokens())?;
            grad.fill(F::ZERO);
        }
        let sum: f64 = batch.logps.iter().map(|logp| -logp.to_f64()).sum();
        let loss = sum / tokens;
        let metrics = LossMetrics {
            rows: batch.rows() as u64,
            tokens: batch.tokens() as u64,
            selected_tokens: batch.tokens() as u64,
            empty_rows: (0..batch.rows()).filter(|row| batch.row(*row).is_empty()).count() as u64,
            policy_loss: loss,
            ..LossMetrics::default()
        };
        Ok(LossSummary { loss, metrics })
    }
}

#[cfg(test)]
#[test]
fn every_token_weighs_the_same() {
    let batch = LossBatch::new(&[2, 3], &[-1.0, -2.0, -4.0f32], &[0.0, 0.0]);
    let output = SupervisedLoss.evaluate(&batch).unwrap();
    assert!((output.loss - 7.0 / 3.0).abs() < 1e-6 && output.grad == [-1.0 / 3.0; 3]);
    let counts = PolicyLoss::<f32>::normalization(&SupervisedLoss, &batch).unwrap();
    let row = batch.slice(1..2).unwrap().with_normalization(counts);
    assert!((SupervisedLoss.evaluate(&row).unwrap().loss - 4.0 / 3.0).abs() < 1e-6);
}
