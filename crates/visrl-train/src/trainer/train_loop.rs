//! The loop around any way of training: steps, evaluations, checkpoints, and when to stop.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use visrl_core::Example;
use visrl_data::ExampleSource;
use visrl_vlm::VisionLanguageModel;

use crate::checkpoint::{Checkpoint, CheckpointStore, TrainState};
use crate::error::Error;
use crate::evaluation::EvaluationPoint;
use crate::learner::Learner;
use crate::log::{DiagnosisLog, MetricSink, StepMetrics};

/// Gives the next examples of a run, as many as are asked for.
pub type NextExamples<'a> = dyn FnMut(usize) -> Result<Vec<Example>, Error> + 'a;

/// A way of training: what one step does.
///
/// # Adding one
/// Implement the three methods; evaluation, early stop, checkpoints and resume come with the
/// [`TrainLoop`]. A step must depend on the policy, its number and its examples alone.
pub trait TrainStep<M> {
    /// Makes a step on the next examples.
    ///
    /// # Errors
    /// What any part of a step says; the policy is then as after the last whole step.
    fn train_step(
        &mut self,
        step: usize,
        next: &mut NextExamples<'_>,
    ) -> Result<StepMetrics, Error>;

    /// The policy and its optimizer.
    fn learner(&self) -> &Learner<M>;

    /// The same, for putting a checkpoint's in their place.
    fn learner_mut(&mut self) -> &mut Learner<M>;

    /// Called before the first step, whether or not a checkpoint was put in place: the policy is
    /// new to whoever keeps a copy of it.
    ///
    /// # Errors
    /// What stands in the way of taking it over.
    fn begin(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// Measures a policy on the way, and keeps the best.
pub trait Observer<M> {
    /// Measures the policy after so many steps.
    ///
    /// # Errors
    /// What the measurement says.
    fn evaluate(&mut self, step: usize, policy: &M) -> Result<EvaluationPoint, Error>;

    /// Told of a policy that is better than all before it.
    ///
    /// # Errors
    /// What stands in the way of keeping it.
    fn best(&mut self, policy: &M, point: &EvaluationPoint) -> Result<(), Error>;

    /// Makes what was recorded durable: a checkpoint is about to be written.
    ///
    /// # Errors
    /// What stands in the way.
    fn sync(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// How long a run trains, and what happens on the way. By default nothing does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoopConfig {
    /// Steps of the whole run.
    pub steps: usize,
    /// Steps between two evaluations; 0 for none. The last step is followed by one, too.
    pub evaluate_every: usize,
    /// Evaluations without a new best after which the run stops; 0 never stops it.
    pub patience: usize,
    /// Steps between two checkpoints; 0 for none. The last step is followed by one, too.
    pub checkpoint_every: usize,
    /// Seconds of training after which no further step is begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_seconds: Option<f64>,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// All steps were made.
    Steps,
    /// The evaluations did not get better any more.
    Patience,
    /// The budget of seconds was spent.
    Budget,
}

impl LoopConfig {
    /// Why a run in this state goes no further, if it does not.
    pub fn ended(&self, state: &TrainState) -> Option<StopCause> {
        let spent = self
            .budget_seconds
            .is_some_and(|most| state.seconds >= most);
        if state.step >= self.steps {
            Some(StopCause::Steps)
        } else if self.patience > 0 && state.evaluations_since_best() >= self.patience {
            Some(StopCause::Patience)
        } else {
            spent.then_some(StopCause::Budget)
        }
    }

    fn is_due(&self, every: usize, state: &TrainState) -> bool {
        every > 0 && (state.step.is_multiple_of(every) || self.ended(state).is_some())
    }
}

/// Runs a [`TrainStep`] to its end.
pub struct TrainLoop<'a, M> {
    /// How long, and what on the way.
    pub config: LoopConfig,
    /// Where examples come from.
    pub data: &'a dyn ExampleSource,
    /// Who is told.
    pub sinks: &'a mut [&'a mut dyn MetricSink],
    /// Who measures.
    pub observer: &'a mut dyn Observer<M>,
    /// Where checkpoints go.
    pub store: Option<&'a CheckpointStore>,
}

impl<M> std::fmt::Debug for TrainLoop<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrainLoop")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Where a run begins.
#[derive(Clone, Debug)]
pub enum Start {
    /// At step 0, with this note for its checkpoints.
    New(serde_json::Value),
    /// After a checkpoint.
    From(Box<Checkpoint>),
}

impl<M: VisionLanguageModel> TrainLoop<'_, M> {
    /// Trains until an end is reached, and gives the state there and the reason.
    ///
    /// A run that starts from a checkpoint of another continues to exactly the policy and metrics
    /// of that one, on the same device and with the same settings.
    ///
    /// # Errors
    /// What any part says; the newest checkpoint stays.
    pub fn run(
        mut self,
        method: &mut dyn TrainStep<M>,
        start: Start,
    ) -> Result<(TrainState, StopCause), Error> {
        let mut state = match start {
            Start::New(note) => TrainState {
                note,
                ..TrainState::default()
            },
            Start::From(checkpoint) => {
                let Checkpoint { dir, state } = *checkpoint;
                method.learner_mut().restore_state(&dir, &state.learner)?;
                state
            }
        };
        method.begin()?;
        let mut diagnoses = DiagnosisLog::default();
        let ended = loop {
            if let Some(ended) = self.config.ended(&state) {
                break ended;
            }
            self.step(method, &mut state, &mut diagnoses)?;
        };
        for sink in self.sinks.iter_mut() {
            sink.finish()?;
        }
        Ok((state, ended))
    }

    fn step(
        &mut self,
        method: &mut dyn TrainStep<M>,
        state: &mut TrainState,
        diagnoses: &mut DiagnosisLog,
    ) -> Result<(), Error> {
        let begun = Instant::now();
        let mut dealt = state.dealt;
        let metrics = method.train_step(state.step, &mut |count| {
            let examples = self.data.deal(dealt, count)?;
            dealt += count;
            Ok(examples)
        })?;
        state.dealt = dealt;
        state.step += 1;
        state.seconds += begun.elapsed().as_secs_f64();
        diagnoses.step(&metrics)?;
        for sink in self.sinks.iter_mut() {
            sink.step(&metrics)?;
        }
        if self.config.is_due(self.config.evaluate_every, state) {
            let policy = method.learner().model();
            let point = self.observer.evaluate(state.step, policy)?;
            let better = |best: &EvaluationPoint| point.accuracy > best.accuracy;
            if state.best().is_none_or(better) {
                self.observer.best(policy, &point)?;
            }
            for sink in self.sinks.iter_mut() {
                sink.evaluation(&point)?;
            }
            state.evaluations.push(point);
        }
        if let Some(store) = self.store
            && self.config.is_due(self.config.checkpoint_every, state)
        {
            self.observer.sync()?;
            // What the sinks were told must be on the disk before the checkpoint says so.
            for sink in self.sinks.iter_mut() {
                sink.sync()?;
            }
            store.save(state, method.learner())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_for_the_first_reason_that_holds() {
        let config = LoopConfig {
            steps: 10,
            evaluate_every: 2,
            patience: 2,
            budget_seconds: Some(5.0),
            ..LoopConfig::default()
        };
        let mut state = TrainState::default();
        assert_eq!(config.ended(&state), None);
        state.seconds = 5.0;
        assert_eq!(config.ended(&state), Some(StopCause::Budget));
        for (step, accuracy) in [(2, 0.5), (4, 0.4), (6, 0.5)] {
            state.evaluations.push(EvaluationPoint {
                step,
                accuracy,
                completion_length: 2.0,
            });
        }
        assert_eq!(config.ended(&state), Some(StopCause::Patience));
        state.step = 10;
        assert_eq!(config.ended(&state), Some(StopCause::Steps));
    }

    #[test]
    fn what_is_due_every_so_often_is_due_at_the_end_too() {
        let config = LoopConfig {
            steps: 5,
            ..LoopConfig::default()
        };
        let due = |every| -> Vec<usize> {
            let at = |step| TrainState {
                step,
                ..TrainState::default()
            };
            (1..=5)
                .filter(|&step| config.is_due(every, &at(step)))
                .collect()
        };
        assert_eq!(due(2), [2, 4, 5]);
        assert!(due(0).is_empty());
    }
}
