//! The contract of a way of training.

use visrl_core::Example;

use super::observer::Observer;
use super::scored_group::ScoredGroup;
use crate::error::Error;
use crate::learner::Learner;
use crate::log::StepMetrics;

/// Gives the next examples of a run, as many as are asked for.
pub type NextExamples<'a> = dyn FnMut(usize) -> Result<Vec<Example>, Error> + 'a;

/// What a step works on.
pub struct StepContext<'a> {
    step: usize,
    next: &'a mut NextExamples<'a>,
    observer: Option<&'a mut (dyn Observer + 'a)>,
}

impl std::fmt::Debug for StepContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StepContext")
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

impl<'a> StepContext<'a> {
    /// The step of this number, from 0, on examples that `next` gives.
    pub fn new(step: usize, next: &'a mut NextExamples<'a>) -> Self {
        Self {
            step,
            next,
            observer: None,
        }
    }

    /// The same step, watched.
    pub fn with_observer(mut self, observer: &'a mut (dyn Observer + 'a)) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The number of the step, from 0.
    pub fn step(&self) -> usize {
        self.step
    }

    /// The next `count` examples of the run.
    ///
    /// # Errors
    /// What stands in the way of making one.
    pub fn examples(&mut self, count: usize) -> Result<Vec<Example>, Error> {
        (self.next)(count)
    }

    /// Tells the run's observers what is about to be learnt from.
    ///
    /// # Errors
    /// What an observer says.
    pub fn groups_scored(&mut self, groups: &[ScoredGroup]) -> Result<(), Error> {
        match &mut self.observer {
            Some(observer) => observer.groups_scored(self.step, groups),
            None => Ok(()),
        }
    }
}

/// A way of training: what one step does.
///
/// # Adding one
/// Implement the three methods; evaluation, early stop, checkpoints and resume come with the
/// [`TrainLoop`](super::TrainLoop). A step must depend on the policy, its number and its examples alone.
pub trait TrainStep<M> {
    /// Makes a step on the next examples.
    ///
    /// # Errors
    /// What any part of a step says; the policy is then as after the last whole step.
    fn train_step(&mut self, context: &mut StepContext<'_>) -> Result<StepMetrics, Error>;

    /// The policy and its optimizer.
    fn learner(&self) -> &Learner<M>;

    /// The same, for putting a checkpoint's in their place.
    fn learner_mut(&mut self) -> &mut Learner<M>;

    /// The examples that were asked for in steps so far and are to be learnt from in later ones: a
    /// run that goes on after a checkpoint asks for them again. Default none.
    fn dealt_ahead(&self) -> usize {
        0
    }

    /// Called before the first step, whether or not a checkpoint was put in place: the policy is
    /// new to whoever keeps a copy of it.
    ///
    /// # Errors
    /// What stands in the way of taking it over.
    fn begin(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
