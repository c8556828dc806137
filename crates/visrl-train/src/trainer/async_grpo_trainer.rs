//! Sampling ahead while the policy learns.

use std::collections::VecDeque;
use std::time::Instant;

use visrl_rollout::BackgroundEngine;
use visrl_vlm::VisionLanguageModel;

use super::dynamic_sampling::Sampled;
use super::grpo_trainer::{Asked, GrpoTrainer};
use super::train_step::{StepContext, TrainStep};
use crate::error::Error;
use crate::learner::Learner;
use crate::log::{Seconds, StepMetrics};

/// A [`GrpoTrainer`] whose engine samples on a thread of its own, up to `max_staleness` steps ahead of
/// the learner.
///
/// The samples of step `s` come from the policy after `s - max_staleness` optimizer steps (from the
/// base in the first steps), whatever the timing: none is older, none has to be dropped, and a run
/// depends on its seed alone. With 0 it does what the [`GrpoTrainer`] does, bit for bit. Older
/// samples are from another distribution than the policy's: set an importance correction in the
/// loss, for which the engine's log-probabilities are at hand.
///
/// A run that is resumed samples what was on its way anew, from the checkpoint's policy, and so goes on
/// otherwise than one that was not interrupted, but with 0.
#[derive(Debug)]
pub struct AsyncGrpoTrainer<M> {
    /// Everything but the sampling ahead. `resample_rounds` must be 0: what a step samples must be
    /// known before it is scored.
    pub trainer: GrpoTrainer<M, BackgroundEngine<M>>,
    /// Optimizer steps that the sampling policy may be behind.
    pub max_staleness: usize,
    /// Steps of the run: nothing is sampled beyond them.
    pub steps: usize,
    /// What is sampled, oldest first.
    ahead: VecDeque<Asked>,
}

impl<M: VisionLanguageModel> AsyncGrpoTrainer<M> {
    /// Samples ahead for `trainer` in a run of so many steps.
    ///
    /// # Errors
    /// [`Error::Config`] for a trainer that resamples.
    pub fn new(
        trainer: GrpoTrainer<M, BackgroundEngine<M>>,
        max_staleness: usize,
        steps: usize,
    ) -> Result<Self, Error> {
        if trainer.config.resample_rounds > 0 {
            let message = "must be 0 where samples are made ahead: what a step samples must be known \
                           before it is scored";
            return Err(Error::config("resample_rounds", message));
        }
        Ok(Self {
            trainer,
            max_staleness,
            steps,
            ahead: VecDeque::new(),
        })
    }

    /// Asks for the samples of all steps that the policy handed over last may sample for.
    fn ask_ahead(&mut self, context: &mut StepContext<'_>) -> Result<(), Error> {
        let count = self.trainer.config.prompts_per_step;
        loop {
            let step = context.step() + self.ahead.len();
            if step >= self.steps.max(context.step() + 1)
                || step > context.step() + self.max_staleness
            {
                return Ok(());
            }
            let examples = context.examples(count)?;
            let (asked, requests) = self.trainer.requests(step, 0, examples)?;
            self.trainer.engine.ask(requests);
            self.ahead.push_back(asked);
        }
    }
}

impl<M: VisionLanguageModel> TrainStep<M> for AsyncGrpoTrainer<M> {
    #[tracing::instrument(skip_all, fields(step = context.step()))]
    fn train_step(&mut self, context: &mut StepContext<'_>) -> Result<StepMetrics, Error> {
        let start = Instant::now();
        self.ask_ahead(context)?;
        let sampled = self.trainer.engine.receive()?;
        let asked = self.ahead.pop_front();
        let asked = asked.ok_or_else(|| Error::config("steps", "are fewer than are made"))?;
        let rollout = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let kept = self.trainer.score(asked, sampled.groups)?;
        let reward = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let aside = Vec::new();
        let mut metrics = self.trainer.learn(context, Sampled { kept, aside })?;
        self.begin()?;
        metrics.staleness = self.max_staleness.min(context.step());
        metrics.set_seconds(Seconds {
            rollout,
            reward,
            learn: start.elapsed().as_secs_f64(),
            engine: Some(sampled.worked),
            engine_idle: Some(sampled.waited),
            ..Seconds::default()
        });
        Ok(metrics)
    }

    fn learner(&self) -> &Learner<M> {
        &self.trainer.learner
    }

    fn learner_mut(&mut self) -> &mut Learner<M> {
        &mut self.trainer.learner
    }

    fn begin(&mut self) -> Result<(), Error> {
        let policy = self.trainer.learner.model().valid();
        self.trainer.engine.hand_over(policy);
        Ok(())
    }

    fn dealt_ahead(&self) -> usize {
        self.ahead.len() * self.trainer.config.prompts_per_step
    }
}
