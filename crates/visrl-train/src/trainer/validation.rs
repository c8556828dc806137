use crate::error::Error;
use crate::evaluation::EvaluationPoint;

/// Measures a policy on the way, and keeps the best.
pub trait Validation<M> {
    /// Measures the policy after so many steps.
    ///
    /// # Errors
    /// What the measurement says.
    fn validate(&mut self, step: usize, policy: &M) -> Result<EvaluationPoint, Error>;

    /// Keeps a policy that is better than all before it.
    ///
    /// # Errors
    /// What stands in the way of keeping it.
    fn keep_best(&mut self, policy: &M, point: &EvaluationPoint) -> Result<(), Error>;

    /// Makes what was recorded durable: a checkpoint is about to be written.
    ///
    /// # Errors
    /// What stands in the way.
    fn sync(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
