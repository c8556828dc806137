use visrl_grpo::{LossMetrics, LossSummary, Normalization, PolicyLoss, TokenBatch};

/// Supervised fine-tuning as a policy loss: the mean over all tokens of minus the log-probability
/// of the target token.
///
/// Groups hold the right answers as completions; advantages are not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SupervisedLoss;

impl PolicyLoss<f32> for SupervisedLoss {
    fn evaluate_into(
        &self,
        batch: &TokenBatch<'_, f32>,
        grad: &mut [f32],
        entropy_grad: Option<&mut [f32]>,
    ) -> visrl_grpo::Result<LossSummary> {
        let tokens = self.normalization(batch)?.tokens.max(1.0);
        let mut sum = 0.0;
        for ((out, &counted), &logp) in grad.iter_mut().zip(batch.mask).zip(batch.logps) {
            *out = if counted { -1.0 / tokens as f32 } else { 0.0 };
            if counted {
                sum -= f64::from(logp);
            }
        }
        if let Some(entropy_grad) = entropy_grad {
            entropy_grad.fill(0.0);
        }
        let mut metrics = LossMetrics::default();
        metrics.rows = batch.rows() as u64;
        metrics.tokens = batch.tokens() as u64;
        metrics.policy_loss = sum / tokens;
        Ok(LossSummary {
            loss: sum / tokens,
            metrics,
        })
    }

    fn normalization(&self, batch: &TokenBatch<'_, f32>) -> visrl_grpo::Result<Normalization> {
        batch.validate()?;
        let counts = Normalization::new(batch.rows(), batch.tokens());
        Ok(batch.normalization.unwrap_or(counts))
    }

    fn needs_reference(&self) -> bool {
        false
    }

    fn needs_entropies(&self) -> bool {
        false
    }

    fn has_entropy_grad(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counted_token_weighs_the_same() {
        let logps = [-1.0, -2.0, -4.0, 9.0];
        let batch = TokenBatch::new(2, &logps, &[true, true, true, false], &[0.0, 0.0]);
        let output = SupervisedLoss.evaluate(&batch).unwrap();
        assert!((output.loss - 7.0 / 3.0).abs() < 1e-6);
        assert_eq!(output.grad, [-1.0 / 3.0, -1.0 / 3.0, -1.0 / 3.0, 0.0]);
    }
}
