//! The loop around any way of training: steps, evaluations, checkpoints, and when to stop.

use std::time::Instant;

use visrl_data::ExampleSource;
use visrl_vlm::VisionLanguageModel;

use super::interrupt::Interrupt;
use super::loop_config::{LoopConfig, StopCause};
use super::observer::Observer;
use super::train_step::{StepContext, TrainStep};
use super::validation::Validation;
use crate::checkpoint::{Checkpoint, CheckpointStore, TrainState};
use crate::error::Error;
use crate::evaluation::EvaluationPoint;
use crate::log::{MetricSink, StepMetrics, Warnings};

/// Whether a run ends after the step with these metrics.
pub type StopCondition<'a> = dyn FnMut(&StepMetrics) -> bool + 'a;

/// Runs a [`TrainStep`] to its end.
pub struct TrainLoop<'a, M> {
    /// How long, and what on the way.
    pub config: LoopConfig,
    /// Where examples come from.
    pub data: &'a dyn ExampleSource,
    /// Who records.
    pub sinks: &'a mut [&'a mut dyn MetricSink],
    /// Who watches; `&mut ()` is nobody.
    pub observer: &'a mut dyn Observer,
    /// Who measures.
    pub validation: &'a mut dyn Validation<M>,
    /// Where checkpoints go.
    pub store: Option<&'a CheckpointStore>,
    /// Ends the run after a step when it says so.
    pub stop_when: Option<&'a mut StopCondition<'a>>,
    /// Ends the run after a step, with a checkpoint, when it is triggered.
    pub interrupt: Interrupt,
    /// What was warned of before the first step; what is warned of on the way joins it.
    pub warnings: Warnings,
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
                self.warnings.resume(state.step, &state.warnings);
                state
            }
        };
        method.begin()?;
        self.observer.started(&self.config, &state)?;
        let cause = loop {
            if let Some(cause) = self.end(&state) {
                break cause;
            }
            if self.step(method, &mut state)? {
                break StopCause::Interrupted;
            }
        };
        for sink in self.sinks.iter_mut() {
            sink.finish()?;
        }
        self.observer.ended(&cause, &state)?;
        Ok((state, cause))
    }

    /// Why the run goes no further, if it does not.
    fn end(&self, state: &TrainState) -> Option<StopCause> {
        let met = state.condition_met && self.stop_when.is_some();
        let ended = self.config.ended(state);
        ended.or(met.then_some(StopCause::Condition))
    }

    /// Makes a step; whether the run was interrupted in it, and has a checkpoint to go on from.
    fn step(
        &mut self,
        method: &mut dyn TrainStep<M>,
        state: &mut TrainState,
    ) -> Result<bool, Error> {
        let begun = Instant::now();
        let mut dealt = state.dealt + method.dealt_ahead();
        let mut metrics = {
            let mut next = |count| {
                let examples = self.data.deal(dealt, count)?;
                dealt += count;
                Ok(examples)
            };
            let context = StepContext::new(state.step, &mut next);
            method.train_step(&mut context.with_observer(&mut *self.observer))?
        };
        state.dealt = dealt - method.dealt_ahead();
        state.step += 1;
        state.seconds += begun.elapsed().as_secs_f64();
        self.warnings.set_step(state.step);
        state.watch.step(&metrics, &self.warnings);
        metrics.warnings = self.warnings.take();
        state.warnings = self.warnings.list();
        for sink in self.sinks.iter_mut() {
            sink.step(&metrics)?;
        }
        self.observer.step_done(&metrics)?;
        if let Some(condition) = &mut self.stop_when {
            state.condition_met = condition(&metrics);
        }
        // An evaluation may end the run: `end` is asked again after it.
        let at_end = self.end(state).is_some();
        if LoopConfig::is_due(self.config.evaluate_every, state, at_end) {
            let policy = method.learner().model();
            let point = self.validation.validate(state.step, policy)?;
            let better = |best: &EvaluationPoint| point.accuracy > best.accuracy;
            if state.best().is_none_or(better) {
                self.validation.keep_best(policy, &point)?;
            }
            for sink in self.sinks.iter_mut() {
                sink.evaluation(&point)?;
            }
            self.observer.evaluated(&point)?;
            state.evaluations.push(point);
        }
        let at_end = self.end(state).is_some();
        let interrupted = !at_end && self.interrupt.is_triggered();
        let due = LoopConfig::is_due(self.config.checkpoint_every, state, at_end);
        if let Some(store) = self.store
            && (due || interrupted)
        {
            self.validation.sync()?;
            // What the sinks were told must be on the disk before the checkpoint says so.
            for sink in self.sinks.iter_mut() {
                sink.sync()?;
            }
            let path = store.save(state, method.learner())?;
            self.observer.checkpoint_written(state.step, &path)?;
        }
        Ok(interrupted)
    }
}
