//! A policy loss of one's own.

use visrl::grpo::{LossBatch, LossMetrics, LossSummary, Normalization, PolicyLoss, Result};

/// REINFORCE: minus advantage times log-probability, as a mean over tokens.
#[derive(Clone, Copy)]
pub struct Reinforce;

impl PolicyLoss<f32> for Reinforce {
    fn evaluate_into(
        &self,
        batch: &LossBatch<'_, f32>,
        grad: &mut [f32],
        entropy_grad: Option<&mut [f32]>,
    ) -> Result<LossSummary> {
        let tokens = self.normalization(batch)?.tokens.max(1.0);
        let mut loss = 0.0;
        for (row, advantage) in batch.advantages.iter().enumerate() {
            for token in batch.row(row) {
                grad[token] = -advantage / tokens as f32;
                loss += f64::from(grad[token] * batch.logps[token]);
            }
        }
        if let Some(grad) = entropy_grad {
            grad.fill(0.0);
        }
        let mut metrics = LossMetrics::default();
        metrics.rows = batch.rows() as u64;
        metrics.tokens = batch.tokens() as u64;
        metrics.policy_loss = loss;
        Ok(LossSummary { loss, metrics })
    }

    fn normalization(&self, batch: &LossBatch<'_, f32>) -> Result<Normalization> {
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
