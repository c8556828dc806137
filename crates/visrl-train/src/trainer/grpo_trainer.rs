use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use visrl_core::{Domain, Example, Group, SeedStream};
use visrl_data::PromptTemplate;
use visrl_grpo::{Advantage, AdvantageEstimator, GroupMetrics, RewardTable};
use visrl_reward::{RewardSet, Scored};
use visrl_rollout::{GroupRequest, PolicySync, RolloutEngine, SamplingParams};
use visrl_vlm::{ModelInput, PromptEncoder, VisionLanguageModel};

use super::train_loop::{NextExamples, TrainStep};
use crate::error::Error;
use crate::learner::{LearnGroup, Learner};
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

/// A prompt's group with all that was found out about it.
struct Sampled {
    input: Arc<ModelInput>,
    group: Group,
    scored: Vec<Scored>,
}

impl Sampled {
    /// Whether all completions are worth the same, so that nothing tells the better from the worse.
    fn is_even(&self) -> bool {
        let total = |scored: &Scored| scored.total.unwrap_or(0.0);
        let first = self.scored.first().map_or(0.0, total);
        self.scored.iter().all(|s| (total(s) - first).abs() < 1e-6)
    }
}

impl<M, E> TrainStep<M> for GrpoTrainer<M, E>
where
    M: VisionLanguageModel,
    E: RolloutEngine + PolicySync<M>,
{
    #[tracing::instrument(skip(self, next))]
    fn train_step(
        &mut self,
        step: usize,
        next: &mut NextExamples<'_>,
    ) -> Result<StepMetrics, Error> {
        let mut seconds = Seconds::default();
        let wanted = self.config.prompts_per_step;
        let mut batch = self.sample(step, 0, &next(wanted)?, &mut seconds)?;
        // What is put aside stays in the metrics, and fills up the batch if nothing better comes.
        let mut aside = Vec::new();
        let mut asked = batch.len();
        for _ in 0..self.config.resample_rounds {
            let (even, varied): (Vec<_>, Vec<_>) = batch.into_iter().partition(Sampled::is_even);
            batch = varied;
            aside.extend(even);
            let missing = wanted.saturating_sub(batch.len());
            if missing == 0 {
                break;
            }
            let more = self.sample(step, asked, &next(missing)?, &mut seconds)?;
            asked += more.len();
            batch.extend(more);
        }
        let mut metrics = StepMetrics {
            step,
            resampled: asked - wanted.min(asked),
            ..StepMetrics::default()
        };
        self.describe(&mut metrics, batch.iter().chain(&aside))?;
        let missing = wanted.saturating_sub(batch.len());
        batch.extend(aside.into_iter().rev().take(missing));

        let start = Instant::now();
        let advantages = self.advantages(&batch)?;
        let learn: Vec<LearnGroup> = batch
            .into_iter()
            .zip(advantages.chunks(self.config.num_generations))
            .map(|(Sampled { input, group, .. }, advantages)| {
                LearnGroup::sampled(input, group, advantages.to_vec())
            })
            .collect();
        metrics.learning_rate = self.config.schedule.at(step);
        let report = self.learner.update(&learn, metrics.learning_rate)?;
        self.engine.set_policy(self.learner.model())?;
        seconds.learn = start.elapsed().as_secs_f64();
        metrics.seconds = seconds;
        metrics.record_update(&report);
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

impl<M: VisionLanguageModel, E: RolloutEngine> GrpoTrainer<M, E> {
    /// Samples and scores a group for each example; `first` is the number of the first prompt
    /// within the step.
    fn sample(
        &mut self,
        step: usize,
        first: usize,
        examples: &[Example],
        seconds: &mut Seconds,
    ) -> Result<Vec<Sampled>, Error> {
        let start = Instant::now();
        let prompts: Vec<_> = examples
            .iter()
            .map(|example| Arc::new(self.template.render(example)))
            .collect();
        let inputs = self.encoder.encode_all(self.learner.model(), &prompts)?;
        self.learner.keep_features(&inputs)?;
        let stream = SeedStream::new(self.config.seed, Domain::Sampling);
        let requests: Vec<_> = prompts
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
        let groups = self.engine.generate(&requests)?;
        seconds.rollout += start.elapsed().as_secs_f64();

        let start = Instant::now();
        let sampled = groups.into_iter().zip(inputs).zip(examples);
        let sampled = sampled
            .map(|((group, input), example)| {
                let texts: Vec<&str> = group.completions.iter().map(|c| c.text.as_str()).collect();
                let scored = self.rewards.score_group(&texts, example);
                Sampled {
                    input,
                    group,
                    scored,
                }
            })
            .collect();
        seconds.reward += start.elapsed().as_secs_f64();
        Ok(sampled)
    }

    fn advantages(&self, batch: &[Sampled]) -> Result<Vec<f32>, Error> {
        let scores = scores(batch);
        let weights = self.weights();
        let table = self.table(&scores, &weights)?;
        Ok(self.config.advantage.advantages(&table)?)
    }

    fn weights(&self) -> Vec<f32> {
        let rules = self.rewards.rules().iter();
        rules.map(|rule| rule.weight).collect()
    }

    fn table<'a>(
        &self,
        scores: &'a [f32],
        weights: &'a [f32],
    ) -> Result<RewardTable<'a, f32>, Error> {
        let group_size = self.config.num_generations;
        Ok(RewardTable::new(scores, weights.len(), group_size)?.with_weights(weights)?)
    }

    /// What all groups of a step looked like.
    fn describe<'a>(
        &self,
        metrics: &mut StepMetrics,
        sampled: impl Iterator<Item = &'a Sampled> + Clone,
    ) -> Result<(), Error> {
        let (scores, weights) = (scores(sampled.clone()), self.weights());
        let table = self.table(&scores, &weights)?;
        metrics.record_groups(&GroupMetrics::new(&table, self.rewards.range()));
        let scored = || sampled.clone().flat_map(|sampled| &sampled.scored);
        let completions = scored().count();
        let mean = |sum: f64| sum / completions.max(1) as f64;
        let rules = self.rewards.names().enumerate();
        metrics.rewards = rules
            .map(|(rule, name)| {
                let scores = scored().filter_map(|s| s.scores[rule]);
                (name.to_owned(), mean(scores.map(f64::from).sum()))
            })
            .collect();
        let completions = || sampled.clone().flat_map(|s| &s.group.completions);
        metrics.tokens = completions().map(|c| c.tokens.len()).sum();
        metrics.completion_length = mean(metrics.tokens as f64);
        let truncated = completions().filter(|c| c.stop.is_truncated()).count();
        metrics.truncated = mean(truncated as f64);
        Ok(())
    }
}

/// The scores of completions by rule, `[completions, rules]`; NaN where a rule could not score.
fn scores<'a>(sampled: impl IntoIterator<Item = &'a Sampled>) -> Vec<f32> {
    sampled
        .into_iter()
        .flat_map(|sampled| &sampled.scored)
        .flat_map(|scored| scored.scores.iter().map(|score| score.unwrap_or(f32::NAN)))
        .collect()
}
