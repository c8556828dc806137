use std::path::Path;

use super::loop_config::{LoopConfig, StopCause};
use super::scored_group::ScoredGroup;
use crate::checkpoint::TrainState;
use crate::error::Error;
use crate::evaluation::EvaluationPoint;
use crate::log::StepMetrics;

/// Is told what happens in a run. Every method does nothing unless it is implemented; an error ends
/// the run ([`Error::own`] makes one of any other).
///
/// A list of observers is an observer, and so is a mutable borrow of one, so that it can be looked
/// at after the run.
pub trait Observer {
    /// The run begins, or goes on, in this state.
    ///
    /// # Errors
    /// What ends the run.
    fn started(&mut self, config: &LoopConfig, state: &TrainState) -> Result<(), Error> {
        let _ = (config, state);
        Ok(())
    }

    /// The groups that a step is about to learn from: prompts, completions, the scores of each
    /// rule, advantages. Supervised training has none.
    ///
    /// # Errors
    /// What ends the run.
    fn groups_scored(&mut self, step: usize, groups: &[ScoredGroup]) -> Result<(), Error> {
        let _ = (step, groups);
        Ok(())
    }

    /// A step was made.
    ///
    /// # Errors
    /// What ends the run.
    fn step_done(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
        let _ = metrics;
        Ok(())
    }

    /// The policy was evaluated on the way.
    ///
    /// # Errors
    /// What ends the run.
    fn evaluated(&mut self, point: &EvaluationPoint) -> Result<(), Error> {
        let _ = point;
        Ok(())
    }

    /// A checkpoint of the state after so many steps is on the disk.
    ///
    /// # Errors
    /// What ends the run.
    fn checkpoint_written(&mut self, step: usize, path: &Path) -> Result<(), Error> {
        let _ = (step, path);
        Ok(())
    }

    /// No further step is made.
    ///
    /// # Errors
    /// What ends the run.
    fn ended(&mut self, cause: &StopCause, state: &TrainState) -> Result<(), Error> {
        let _ = (cause, state);
        Ok(())
    }
}

/// Watches nothing.
impl Observer for () {}

impl<O: Observer + ?Sized> Observer for &mut O {
    fn started(&mut self, config: &LoopConfig, state: &TrainState) -> Result<(), Error> {
        (**self).started(config, state)
    }

    fn groups_scored(&mut self, step: usize, groups: &[ScoredGroup]) -> Result<(), Error> {
        (**self).groups_scored(step, groups)
    }

    fn step_done(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
        (**self).step_done(metrics)
    }

    fn evaluated(&mut self, point: &EvaluationPoint) -> Result<(), Error> {
        (**self).evaluated(point)
    }

    fn checkpoint_written(&mut self, step: usize, path: &Path) -> Result<(), Error> {
        (**self).checkpoint_written(step, path)
    }

    fn ended(&mut self, cause: &StopCause, state: &TrainState) -> Result<(), Error> {
        (**self).ended(cause, state)
    }
}

impl Observer for Vec<Box<dyn Observer + '_>> {
    fn started(&mut self, config: &LoopConfig, state: &TrainState) -> Result<(), Error> {
        self.iter_mut()
            .try_for_each(|each| each.started(config, state))
    }

    fn groups_scored(&mut self, step: usize, groups: &[ScoredGroup]) -> Result<(), Error> {
        self.iter_mut()
            .try_for_each(|each| each.groups_scored(step, groups))
    }

    fn step_done(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
        self.iter_mut().try_for_each(|each| each.step_done(metrics))
    }

    fn evaluated(&mut self, point: &EvaluationPoint) -> Result<(), Error> {
        self.iter_mut().try_for_each(|each| each.evaluated(point))
    }

    fn checkpoint_written(&mut self, step: usize, path: &Path) -> Result<(), Error> {
        self.iter_mut()
            .try_for_each(|each| each.checkpoint_written(step, path))
    }

    fn ended(&mut self, cause: &StopCause, state: &TrainState) -> Result<(), Error> {
        self.iter_mut()
            .try_for_each(|each| each.ended(cause, state))
    }
}
