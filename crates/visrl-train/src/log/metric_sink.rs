use super::step_metrics::StepMetrics;
use crate::error::Error;
use crate::evaluation::EvaluationPoint;

/// Receives the metrics of a run. A mutable borrow of a sink is a sink, so that it can be looked at
/// after the run.
pub trait MetricSink {
    /// Takes the metrics of a finished step.
    ///
    /// # Errors
    /// [`Error::Files`] when a file cannot be written; a sink of another kind has its own.
    fn step(&mut self, metrics: &StepMetrics) -> Result<(), Error>;

    /// Takes an evaluation on the way.
    ///
    /// # Errors
    /// [`Error::Files`] when a file cannot be written; a sink of another kind has its own.
    fn evaluation(&mut self, point: &EvaluationPoint) -> Result<(), Error> {
        let _ = point;
        Ok(())
    }

    /// Makes what was recorded durable: a checkpoint is about to be written.
    ///
    /// # Errors
    /// [`Error::Files`] when a file cannot be written; a sink of another kind has its own.
    fn sync(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Called once after the last step.
    ///
    /// # Errors
    /// [`Error::Files`] when a file cannot be written; a sink of another kind has its own.
    fn finish(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

impl<S: MetricSink + ?Sized> MetricSink for &mut S {
    fn step(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
        (**self).step(metrics)
    }

    fn evaluation(&mut self, point: &EvaluationPoint) -> Result<(), Error> {
        (**self).evaluation(point)
    }

    fn sync(&mut self) -> Result<(), Error> {
        (**self).sync()
    }

    fn finish(&mut self) -> Result<(), Error> {
        (**self).finish()
    }
}
