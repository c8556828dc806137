//! Whole runs: measure, fine-tune, measure again, save.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use visrl_core::{Domain, Example, SeedStream};
use visrl_data::{ChoiceList, ChoiceRule, Dataset, Split};
use visrl_grpo::{Advantage, GrpoLoss};
use visrl_reward::rules::LenientEvaluation;
use visrl_rollout::SamplingParams;
use visrl_train::{
    Evaluator, ExampleDealer, GrpoConfig, GrpoTrainer, JsonLines, Learner, LearnerConfig,
    LearningRateSchedule, LoopConfig, MemoryPlan, MetricSink, Progress, SftTrainer, Start,
    StopCause, SupervisedLoss, TensorBoard, TrainLoop, TrainState, TrainStep, resident_memory,
};
use visrl_vlm::{LoraConfig, Pretrained, Trainable, VisionLanguageModel};

use crate::run::{Run, RunData};
use crate::{Objective, Recipe, Summary};

pub use visrl_train::supervised;

/// What can go wrong in a run.
pub use visrl_train::Error;

/// The numbers of a run. The defaults suit the embedded model and data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FineTune {
    /// The seed of everything drawn in the run.
    pub seed: u64,
    /// Optimizer steps.
    pub steps: usize,
    /// Epochs over the training examples, in place of `steps` when not 0.
    pub epochs: usize,
    /// The peak learning rate; it falls to 0 in a straight line.
    pub learning_rate: f64,
    /// Prompts per step.
    pub prompts_per_step: usize,
    /// Completions per prompt.
    pub num_generations: usize,
    /// How completions are sampled in training, and their longest length everywhere.
    pub sampling: SamplingParams,
    /// How often at most, within a step, groups whose completions are all worth the same are
    /// replaced by groups of further prompts; 0, the paper's, keeps them.
    pub resample_rounds: usize,
    /// How rewards become advantages.
    pub advantage: Advantage,
    /// The policy loss.
    pub loss: GrpoLoss,
    /// How the policy is updated.
    pub learner: LearnerConfig,
    /// Train low-rank adapters instead of the weights themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// How many names an example's list shows.
    pub choices: ChoiceRule,
    /// Test examples of each class; 0 takes all.
    pub test_per_class: usize,
    /// Steps between two evaluations on the way; 0 for none. They are made on the validation
    /// split of the training data where there is one, and otherwise on the test examples, which
    /// the summary then says.
    pub evaluate_every: usize,
    /// Evaluations without a new best after which the run stops; 0 never stops it.
    pub patience: usize,
    /// Seconds of training after which no further step is begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_seconds: Option<f64>,
    /// Steps between two checkpoints; 0 for none.
    pub checkpoint_every: usize,
    /// The newest checkpoints that are kept.
    pub keep_checkpoints: usize,
    /// Examples whose completions are written down at every evaluation.
    pub samples: usize,
    /// Whether metrics are written for TensorBoard, too.
    pub tensorboard: bool,
    /// Where metrics, summary and checkpoints go.
    pub out: PathBuf,
    /// Whether to go on after the newest checkpoint in the output folder. Without one the run
    /// begins anew; without this flag, checkpoints that are there are removed.
    #[serde(skip)]
    pub resume: bool,
    /// Whether a progress bar is drawn on standard error when that is a terminal.
    #[serde(skip)]
    pub progress: bool,
}

impl Default for FineTune {
    fn default() -> Self {
        Self {
            seed: 100,
            steps: 300,
            epochs: 0,
            learning_rate: 3e-4,
            prompts_per_step: 8,
            num_generations: 16,
            sampling: SamplingParams {
                max_new_tokens: 8,
                ..SamplingParams::default()
            },
            resample_rounds: 0,
            advantage: Advantage::default(),
            loss: GrpoLoss::default(),
            learner: LearnerConfig {
                trainable: Trainable::language_model(),
                ..LearnerConfig::default()
            },
            lora: None,
            choices: ChoiceRule::All,
            test_per_class: 50,
            evaluate_every: 0,
            patience: 0,
            budget_seconds: None,
            checkpoint_every: 0,
            keep_checkpoints: 2,
            samples: 6,
            tensorboard: true,
            out: PathBuf::from("runs/latest"),
            resume: false,
            progress: false,
        }
    }
}

impl FineTune {
    /// Fine-tuning by a recipe: measures the base, trains it on the training split of `train`,
    /// measures it again on the test split of `test`. Into the output folder go
    ///
    /// * `config.json`, `summary.json`, `evaluation.json` (before and after, by class, with
    ///   confusion matrices), `metrics.jsonl` (a line per step), `events.out.tfevents` (the same
    ///   for TensorBoard), `samples.jsonl` with the images in `samples/`,
    /// * the fine-tuned checkpoint `model/`, the best one of the evaluations on the way `best/`,
    ///   and adapters as `adapter/`, in PEFT's format; adapters are merged in the other two,
    /// * `checkpoints/step-N`, to resume from.
    ///
    /// # Errors
    /// What any part of the run says.
    pub fn run<M: VisionLanguageModel>(
        &self,
        base: Pretrained<M>,
        recipe: &Recipe,
        train: &dyn Dataset,
        test: &dyn Dataset,
    ) -> Result<Summary, Error> {
        let (summary, _) = self.run_and_keep(base, recipe, train, test)?;
        Ok(summary)
    }

    /// As [`run`](Self::run), and gives the fine-tuned model, too; adapters are merged.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_and_keep<M: VisionLanguageModel>(
        &self,
        base: Pretrained<M>,
        recipe: &Recipe,
        train: &dyn Dataset,
        test: &dyn Dataset,
    ) -> Result<(Summary, Pretrained<M>), Error> {
        let data = RunData { train, test };
        match recipe.objective {
            Objective::Reinforce => self.reinforced(base, recipe, data),
            Objective::Supervise => self.supervised(base, recipe, data),
        }
    }

    /// Reinforcement learning by a recipe, whatever its objective; see [`run`](Self::run).
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn reinforce<M: VisionLanguageModel>(
        &self,
        base: Pretrained<M>,
        recipe: &Recipe,
        train: &dyn Dataset,
        test: &dyn Dataset,
    ) -> Result<Summary, Error> {
        let (summary, _) = self.reinforced(base, recipe, RunData { train, test })?;
        Ok(summary)
    }

    /// Supervised fine-tuning on the labels, whatever the recipe's objective, with the same
    /// prompts, steps and files as [`reinforce`](Self::reinforce).
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn supervise<M: VisionLanguageModel>(
        &self,
        base: Pretrained<M>,
        recipe: &Recipe,
        train: &dyn Dataset,
        test: &dyn Dataset,
    ) -> Result<Summary, Error> {
        let (summary, _) = self.supervised(base, recipe, RunData { train, test })?;
        Ok(summary)
    }

    fn reinforced<M: VisionLanguageModel>(
        &self,
        base: Pretrained<M>,
        recipe: &Recipe,
        data: RunData<'_>,
    ) -> Result<(Summary, Pretrained<M>), Error> {
        let run = Run::start(self, base, recipe, data)?;
        let dealer = self.dealer(data.train)?;
        let steps = self.total_steps(dealer.len());
        let mut trainer = GrpoTrainer {
            learner: Learner::new(
                run.policy()?,
                Box::new(self.loss),
                Arc::clone(&run.features),
                self.learner.clone(),
            ),
            engine: run.engine(),
            encoder: Arc::clone(&run.base.encoder),
            template: recipe.template.clone(),
            rewards: recipe.rewards.clone(),
            config: GrpoConfig {
                seed: self.seed,
                prompts_per_step: self.prompts_per_step,
                num_generations: self.num_generations,
                sampling: self.sampling.clone(),
                resample_rounds: self.resample_rounds,
                advantage: self.advantage,
                schedule: LearningRateSchedule::linear(self.learning_rate, steps),
            },
        };
        let (run, outcome) = self.train(run, &mut trainer, &dealer, steps)?;
        run.finish(trainer.learner.into_model().valid(), outcome)
    }

    fn supervised<M: VisionLanguageModel>(
        &self,
        base: Pretrained<M>,
        recipe: &Recipe,
        data: RunData<'_>,
    ) -> Result<(Summary, Pretrained<M>), Error> {
        let run = Run::start(self, base, recipe, data)?;
        let dealer = self.dealer(data.train)?;
        let steps = self.total_steps(dealer.len());
        let mut trainer = SftTrainer {
            learner: Learner::new(
                run.policy()?,
                Box::new(SupervisedLoss),
                Arc::clone(&run.features),
                self.learner.clone(),
            ),
            encoder: Arc::clone(&run.base.encoder),
            template: recipe.template.clone(),
            prompts_per_step: self.prompts_per_step,
            schedule: LearningRateSchedule::linear(self.learning_rate, steps),
        };
        let (run, outcome) = self.train(run, &mut trainer, &dealer, steps)?;
        run.finish(trainer.learner.into_model().valid(), outcome)
    }

    /// The part of a run that is the same for every way of training.
    fn train<'a, M: VisionLanguageModel>(
        &self,
        mut run: Run<'a, M>,
        trainer: &mut dyn TrainStep<M>,
        dealer: &ExampleDealer<'_>,
        steps: usize,
    ) -> Result<(Run<'a, M>, Outcome), Error> {
        let first = dealer.deal(0, self.prompts_per_step)?;
        let plan = run.plan(trainer.learner(), &first)?;
        let held = resident_memory();
        let start = run.begin()?;
        let path = self.out.join("metrics.jsonl");
        let (mut lines, done) = match &start {
            Start::New(_) => (JsonLines::create(path)?, 0),
            Start::From(checkpoint) => {
                let step = checkpoint.state.step;
                (JsonLines::resume(path, step)?, step)
            }
        };
        let mut progress = match self.progress {
            true => Progress::new(steps, done),
            false => Progress::hidden(),
        };
        progress.say(&format!("memory, estimated: {plan}"));
        let mut sinks: Vec<&mut dyn MetricSink> = vec![&mut lines, &mut progress];
        let mut events = self.events(&start)?;
        if let Some(events) = &mut events {
            sinks.push(events);
        }
        let store = run.store.clone();
        let config = LoopConfig {
            steps,
            evaluate_every: self.evaluate_every,
            patience: self.patience,
            checkpoint_every: self.checkpoint_every,
            budget_seconds: self.budget_seconds,
        };
        let looped = TrainLoop {
            config,
            data: dealer,
            sinks: &mut sinks,
            observer: &mut run,
            store: Some(&store),
        };
        let (state, ended) = looped.run(trainer, start)?;
        let outcome = Outcome {
            state,
            ended,
            plan,
            held,
        };
        Ok((run, outcome))
    }

    /// The event file, where there shall be one.
    fn events(&self, start: &Start) -> Result<Option<TensorBoard>, Error> {
        let path = self.out.join("events.out.tfevents");
        let events = match (self.tensorboard, start) {
            (false, _) => return Ok(None),
            (true, Start::New(_)) => TensorBoard::create(path)?,
            (true, Start::From(checkpoint)) => TensorBoard::resume(path, checkpoint.state.step)?,
        };
        Ok(Some(events))
    }

    /// Steps of the whole run, over this many training examples.
    pub fn total_steps(&self, examples: usize) -> usize {
        match self.epochs {
            0 => self.steps,
            epochs => (epochs * examples).div_ceil(self.prompts_per_step.max(1)),
        }
    }

    fn dealer<'a>(&self, train: &'a dyn Dataset) -> Result<ExampleDealer<'a>, Error> {
        let choices = ChoiceList::new(self.choices, self.seed);
        let records = train.records(Split::Train)?;
        Ok(ExampleDealer::new(train, records, choices, self.seed)?)
    }

    /// The test examples: the first `test_per_class` of each class, each with its own list, the
    /// same for every run of a seed.
    ///
    /// # Errors
    /// What the data set says.
    pub fn evaluator(&self, recipe: &Recipe, test: &dyn Dataset) -> Result<Evaluator, Error> {
        let choices = ChoiceList::new(self.choices, self.seed);
        let mut examples = test.examples(Split::Test, &choices, 0)?;
        if self.test_per_class > 0 {
            let mut seen = std::collections::HashMap::new();
            examples.retain(|example| {
                let count = seen.entry(example.label.clone()).or_insert(0usize);
                *count += 1;
                *count <= self.test_per_class
            });
        }
        Ok(self.evaluator_of(recipe, examples))
    }

    /// The examples of evaluations on the way, when the training data have a validation split.
    pub(crate) fn validator(
        &self,
        recipe: &Recipe,
        train: &dyn Dataset,
    ) -> Result<Option<Evaluator>, Error> {
        if train.records(Split::Val).unwrap_or_default().is_empty() {
            return Ok(None);
        }
        let choices = ChoiceList::new(self.choices, self.seed);
        let examples = train.examples(Split::Val, &choices, 0)?;
        Ok(Some(self.evaluator_of(recipe, examples)))
    }

    fn evaluator_of(&self, recipe: &Recipe, examples: Vec<Example>) -> Evaluator {
        Evaluator {
            examples,
            template: recipe.template.clone(),
            strict: recipe.matcher(),
            lenient: Arc::new(LenientEvaluation::default()),
            tagged: recipe.tagged,
            stream: SeedStream::new(self.seed, Domain::Evaluation),
        }
    }
}

/// How training ended.
pub(crate) struct Outcome {
    pub(crate) state: TrainState,
    pub(crate) ended: StopCause,
    pub(crate) plan: MemoryPlan,
    pub(crate) held: Option<u64>,
}
