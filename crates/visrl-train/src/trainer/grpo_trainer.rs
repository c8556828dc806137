use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use visrl_core::{Domain, Example, Group, SeedStream};
use visrl_data::PromptTemplate;
use visrl_grpo::Advantage;
use visrl_reward::{Answered, RewardSet};
use visrl_rollout::{GroupRequest, PolicySync, RolloutEngine, SamplingParams};
use visrl_vlm::{ModelInput, PromptEncoder, VisionLanguageModel};

use super::advantages::set_advantages;
use super::dynamic_sampling::{Sampled, dynamic_sampling};
use super::group_summary::summarize;
use super::scored_group::ScoredGroup;
use super::train_step::{StepContext, TrainStep};
use crate::error::Error;
use crate::learner::Learner;
use crate::log::{Seconds, StepMetrics};
use crate::optimizer::LearningRateSchedule;

/// How a [`GrpoTrainer`] runs. The defaults are the paper's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpoConfig {
    /// The seed of everything drawn in the run.
    pub seed: u64,
    /// Prompts per step.
    pub prompts_per_step: usize,
    /// Completions per prompt, G.
    pub num_generations: usize,
    /// How completions are sampled.
    pub sampling: SamplingParams,
    /// Dynamic sampling ("DAPO", arXiv 2503.14476): how often at most, within a step, groups whose
    /// rewards are all equal are replaced by groups of further prompts. 0, the paper's, keeps them.
    /// Groups that are even after the last round fill up the batch.
    pub resample_rounds: usize,
    /// How rewards become advantages.
    pub advantage: Advantage,
    /// The learning rate over the run.
    pub schedule: LearningRateSchedule,
}

impl Default for GrpoConfig {
    fn default() -> Self {
        Self {
            seed: 100,
            prompts_per_step: 16,
            num_generations: 4,
            sampling: SamplingParams::default(),
            resample_rounds: 0,
            advantage: Advantage::default(),
            schedule: LearningRateSchedule::linear(1e-6, 1000),
        }
    }
}

/// Group relative policy optimization: sample groups, score them, compare within the group,
/// update.
#[derive(Debug)]
pub struct GrpoTrainer<M, E> {
    /// The policy and its optimizer.
    pub learner: Learner<M>,
    /// What samples.
    pub engine: E,
    /// Prompts to tokens.
    pub encoder: Arc<PromptEncoder>,
    /// How examples are asked.
    pub template: PromptTemplate,
    /// What completions are worth.
    pub rewards: RewardSet,
    /// The run's settings.
    pub config: GrpoConfig,
}

impl<M, E> TrainStep<M> for GrpoTrainer<M, E>
where
    M: VisionLanguageModel,
    E: RolloutEngine + PolicySync<M>,
{
    #[tracing::instrument(skip_all, fields(step = context.step()))]
    fn train_step(&mut self, context: &mut StepContext<'_>) -> Result<StepMetrics, Error> {
        let step = context.step();
        let mut seconds = Seconds::default();
        let (wanted, rounds) = (self.config.prompts_per_step, self.config.resample_rounds);
        let sampled = dynamic_sampling(wanted, rounds, |first, count| {
            let examples = context.examples(count)?;
            self.sample(step, first, examples, &mut seconds)
        })?;
        let start = Instant::now();
        let mut metrics = self.learn(context, sampled)?;
        self.engine.set_policy(self.learner.model())?;
        seconds.learn = start.elapsed().as_secs_f64();
        metrics.set_seconds(seconds);
        Ok(metrics)
    }

    fn learner(&self) -> &Learner<M> {
        &self.learner
    }

    fn learner_mut(&mut self) -> &mut Learner<M> {
        &mut self.learner
    }

    fn begin(&mut self) -> Result<(), Error> {
        Ok(self.engine.set_policy(self.learner.model())?)
    }
}

/// Prompts that are asked.
#[derive(Debug)]
pub(super) struct Asked {
    examples: Vec<Example>,
    inputs: Vec<Arc<ModelInput>>,
}

impl<M: VisionLanguageModel, E: RolloutEngine> GrpoTrainer<M, E> {
    /// Samples and scores a group for each example; `first` is the number of the first prompt
    /// within the step.
    fn sample(
        &mut self,
        step: usize,
        first: usize,
        examples: Vec<Example>,
        seconds: &mut Seconds,
    ) -> Result<Vec<ScoredGroup>, Error> {
        let start = Instant::now();
        let (asked, requests) = self.requests(step, first, examples)?;
        let groups = self.engine.generate(&requests)?;
        seconds.rollout += start.elapsed().as_secs_f64();
        let start = Instant::now();
        let scored = self.score(asked, groups)?;
        seconds.reward += start.elapsed().as_secs_f64();
        Ok(scored)
    }
}

impl<M: VisionLanguageModel, E> GrpoTrainer<M, E> {
    /// What an engine is asked for these examples.
    pub(super) fn requests(
        &mut self,
        step: usize,
        first: usize,
        examples: Vec<Example>,
    ) -> Result<(Asked, Vec<GroupRequest>), Error> {
        let prompts: Vec<_> = examples
            .iter()
            .map(|example| Arc::new(self.template.render(example)))
            .collect();
        let inputs = self.encoder.encode_all(self.learner.model(), &prompts)?;
        self.learner.keep_features(&inputs)?;
        let stream = SeedStream::new(self.config.seed, Domain::Sampling);
        let requests = prompts
            .into_iter()
            .zip(&inputs)
            .zip(first as u32..)
            .map(|((prompt, input), index)| GroupRequest {
                prompt,
                input: Arc::clone(input),
                num_generations: self.config.num_generations,
                sampling: self.config.sampling.clone(),
                stream,
                step: step as u32,
                index,
                choices: None,
                cancel: Default::default(),
            })
            .collect();
        Ok((Asked { examples, inputs }, requests))
    }

    /// Scores the groups that an engine gave.
    pub(super) fn score(
        &self,
        asked: Asked,
        groups: Vec<Group>,
    ) -> Result<Vec<ScoredGroup>, Error> {
        let answered = groups.iter().zip(&asked.examples);
        let answered = answered.flat_map(|(group, example)| {
            let texts = group.completions.iter().map(|c| c.text.as_str());
            texts.map(move |completion| Answered {
                completion,
                example,
            })
        });
        let answered: Vec<_> = answered.collect();
        let mut scores = self.rewards.score_batch(&answered)?.into_iter();
        let scored = groups.into_iter().zip(asked.inputs).map(|(group, input)| {
            let scores = scores.by_ref().take(group.completions.len()).collect();
            ScoredGroup {
                input,
                group,
                scores,
                advantages: Vec::new(),
            }
        });
        Ok(scored.collect())
    }

    /// Updates the policy by the groups of a step, and tells what they were like.
    pub(super) fn learn(
        &mut self,
        context: &mut StepContext<'_>,
        sampled: Sampled<ScoredGroup>,
    ) -> Result<StepMetrics, Error> {
        let step = context.step();
        let (wanted, size) = (self.config.prompts_per_step, self.config.num_generations);
        let asked: Vec<_> = sampled.all().collect();
        let mut metrics = StepMetrics {
            step,
            resampled: asked.len().saturating_sub(wanted),
            ..StepMetrics::default()
        };
        summarize(&mut metrics, &asked, &self.rewards, size)?;
        let mut batch = sampled.into_batch(wanted);
        set_advantages(&self.config.advantage, &self.rewards, &mut batch, size)?;
        context.groups_scored(&batch)?;
        let groups = batch.into_iter().map(ScoredGroup::into_learn_group);
        let groups: Vec<_> = groups.collect();
        metrics.learning_rate = self.config.schedule.at(step);
        let report = self.learner.update(&groups, metrics.learning_rate)?;
        metrics.record_update(&report);
        Ok(metrics)
    }
}
