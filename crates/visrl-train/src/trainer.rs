use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use visrl_core::{Domain, Example, Group, SeedStream};
use visrl_data::PromptTemplate;
use visrl_grpo::{Advantage, AdvantageEstimator, RewardTable};
use visrl_reward::{RewardSet, Scored};
use visrl_rollout::{GroupRequest, PolicySync, RolloutEngine, SamplingParams};
use visrl_vlm::{ModelInput, PromptEncoder, VisionLanguageModel};

use crate::{Error, LearnGroup, Learner, MetricSink, Schedule, Seconds, StepMetrics, TokenGroup};

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
    /// How rewards become advantages.
    pub advantage: Advantage,
    /// The learning rate over the run.
    pub schedule: Schedule,
}

impl Default for GrpoConfig {
    fn default() -> Self {
        Self {
            seed: 100,
            prompts_per_step: 16,
            num_generations: 4,
            sampling: SamplingParams::default(),
            advantage: Advantage::default(),
            schedule: Schedule::linear(1e-6, 1000),
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

impl<M: VisionLanguageModel, E: RolloutEngine + PolicySync<M>> GrpoTrainer<M, E> {
    /// Runs steps `from..to`; `deal` gives the examples of a step, whose number is the number of
    /// prompts.
    ///
    /// # Errors
    /// What any part of a step says; the policy is then as after the last whole step.
    pub fn run(
        &mut self,
        steps: std::ops::Range<usize>,
        mut deal: impl FnMut(usize) -> Result<Vec<Example>, Error>,
        sinks: &mut [&mut dyn MetricSink],
    ) -> Result<(), Error> {
        self.engine.set_policy(self.learner.model())?;
        for step in steps {
            let metrics = self.step(step, &deal(step)?)?;
            for sink in sinks.iter_mut() {
                sink.step(&metrics)?;
            }
        }
        for sink in sinks {
            sink.finish()?;
        }
        Ok(())
    }

    /// One step on these examples.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    #[tracing::instrument(skip(self, examples))]
    pub fn step(&mut self, step: usize, examples: &[Example]) -> Result<StepMetrics, Error> {
        let start = Instant::now();
        let (inputs, groups) = self.rollout(step, examples)?;
        let rollout = start.elapsed().as_secs_f64();

        let start = Instant::now();
        let scored: Vec<Vec<Scored>> = groups
            .iter()
            .zip(examples)
            .map(|(group, example)| {
                let texts: Vec<&str> = group.completions.iter().map(|c| c.text.as_str()).collect();
                self.rewards.score_group(&texts, example)
            })
            .collect();
        let advantages = self.advantages(&scored)?;
        let reward = start.elapsed().as_secs_f64();

        let start = Instant::now();
        let size = self.config.num_generations;
        let learn: Vec<LearnGroup> = inputs
            .into_iter()
            .zip(&groups)
            .zip(advantages.chunks(size))
            .map(|((input, group), advantages)| LearnGroup {
                tokens: TokenGroup {
                    input,
                    completions: group.completions.iter().map(|c| c.tokens.clone()).collect(),
                },
                advantages: advantages.to_vec(),
                truncated: group
                    .completions
                    .iter()
                    .map(|c| c.stop.is_truncated())
                    .collect(),
            })
            .collect();
        let learning_rate = self.config.schedule.at(step);
        let report = self.learner.update(&learn, learning_rate)?;
        self.engine.set_policy(self.learner.model())?;
        let seconds = Seconds {
            rollout,
            reward,
            learn: start.elapsed().as_secs_f64(),
        };

        let mut metrics = StepMetrics {
            step,
            learning_rate,
            seconds,
            ..Default::default()
        };
        self.describe(&mut metrics, &groups, &scored);
        metrics.loss = report.loss;
        metrics.kl = report.metrics.kl().unwrap_or(0.0);
        metrics.entropy = report.metrics.entropy().unwrap_or(0.0);
        metrics.grad_norm = report.grad_norm;
        Ok(metrics)
    }

    fn rollout(
        &mut self,
        step: usize,
        examples: &[Example],
    ) -> Result<(Vec<Arc<ModelInput>>, Vec<Group>), Error> {
        let prompts: Vec<_> = examples
            .iter()
            .map(|example| Arc::new(self.template.render(example)))
            .collect();
        let inputs = self.encoder.encode_all(self.learner.model(), &prompts)?;
        let stream = SeedStream::new(self.config.seed, Domain::Sampling);
        let requests: Vec<_> = prompts
            .into_iter()
            .zip(&inputs)
            .zip(0u32..)
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
        Ok((inputs, groups))
    }

    fn advantages(&self, scored: &[Vec<Scored>]) -> Result<Vec<f32>, Error> {
        let rules = self.rewards.rules();
        let rewards: Vec<f32> = scored
            .iter()
            .flatten()
            .flat_map(|scored| scored.scores.iter().map(|score| score.unwrap_or(f32::NAN)))
            .collect();
        let weights: Vec<f32> = rules.iter().map(|rule| rule.weight).collect();
        let table = RewardTable::new(&rewards, rules.len(), self.config.num_generations)?
            .with_weights(&weights)?;
        Ok(self.config.advantage.advantages(&table)?)
    }

    fn describe(&self, metrics: &mut StepMetrics, groups: &[Group], scored: &[Vec<Scored>]) {
        let (least, greatest) = self.rewards.range();
        let share = |count: usize, of: usize| count as f64 / of.max(1) as f64;
        let total = |scored: &Scored| scored.total.unwrap_or(0.0);
        let all = |group: &&Vec<Scored>, value: f32| {
            group
                .iter()
                .all(|scored| (total(scored) - value).abs() < 1e-6)
        };
        let count = |value: f32| scored.iter().filter(|group| all(group, value)).count();
        metrics.all_right = share(count(greatest), scored.len());
        metrics.all_wrong = share(count(least), scored.len());
        let same = scored
            .iter()
            .filter(|group| group.first().is_some_and(|f| all(group, total(f))));
        metrics.no_variance = share(same.count(), scored.len());
        let completions = scored.iter().map(Vec::len).sum::<usize>();
        let mean = |sum: f64| sum / completions.max(1) as f64;
        metrics.reward = mean(scored.iter().flatten().map(|s| f64::from(total(s))).sum());
        metrics.rewards = self
            .rewards
            .names()
            .enumerate()
            .map(|(rule, name)| {
                let scores = scored.iter().flatten().filter_map(|s| s.scores[rule]);
                (name.to_owned(), mean(scores.map(f64::from).sum()))
            })
            .collect();
        let completions = || groups.iter().flat_map(|group| &group.completions);
        metrics.completion_length = mean(completions().map(|c| c.tokens.len() as f64).sum());
        let truncated = completions().filter(|c| c.stop.is_truncated()).count();
        metrics.truncated = mean(truncated as f64);
    }
}
