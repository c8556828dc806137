use super::step_metrics::StepMetrics;
use crate::error::Error;
use crate::evaluation::EvaluationPoint;

/// Receives the metrics of a run.
pub trait MetricSink {
    /// Takes the metrics of a finished step.
    ///
    /// # Errors
    /// What stands in the way of recording them.
    fn step(&mut self, metrics: &StepMetrics) -> Result<(), Error>;

    /// Takes an evaluation on the way.
    ///
    /// # Errors
    /// What stands in the way of recording it.
    fn evaluation(&mut self, point: &EvaluationPoint) -> Result<(), Error> {
        let _ = point;
        Ok(())
    }

    /// Makes what was recorded durable: a checkpoint is about to be written.
    ///
    /// # Errors
    /// What stands in the way.
    fn sync(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Called once after the last step.
    ///
    /// # Errors
    /// What stands in the way of finishing the record.
    fn finish(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
