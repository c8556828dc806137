//! Whole runs: measure, fine-tune, measure again, save.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use visrl_core::{Domain, SeedStream};
use visrl_data::{ChoiceList, ChoiceRule, Dataset, Split};
use visrl_grpo::GrpoLoss;
use visrl_rollout::{EngineConfig, NativeEngine, PolicySync, SamplingParams};
use visrl_train::{
    Evaluation, Evaluator, ExampleDealer, GrpoConfig, GrpoTrainer, JsonLines, LearnGroup, Learner,
    LearnerConfig, MetricSink, Progress, Schedule, Seconds, StepMetrics, SupervisedLoss,
    TokenGroup,
};
use visrl_vlm::{
    FeatureStore, LoraConfig, ModelInput, Pretrained, SaveDtype, Trainable, VisionLanguageModel,
    attach_lora, merge_lora, save_lora,
};

use crate::{Accuracy, Recipe, Summary};

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
    /// The peak learning rate; it falls to 0 in a straight line.
    pub learning_rate: f64,
    /// Prompts per step.
    pub prompts_per_step: usize,
    /// Completions per prompt.
    pub num_generations: usize,
    /// How completions are sampled in training, and their longest length everywhere.
    pub sampling: SamplingParams,
    /// The policy loss.
    pub loss: GrpoLoss,
    /// How the policy is updated.
    pub learner: LearnerConfig,
    /// Train low-rank adapters instead of the weights themselves.
    pub lora: Option<LoraConfig>,
    /// How many names an example's list shows.
    pub choices: ChoiceRule,
    /// Test examples of each class; 0 takes all.
    pub test_per_class: usize,
    /// Where metrics, summary and checkpoint go.
    pub out: PathBuf,
    /// Whether a progress bar is drawn on standard error when that is a terminal.
    #[serde(skip)]
    pub progress: bool,
}

impl Default for FineTune {
    fn default() -> Self {
        Self {
            seed: 100,
            steps: 300,
            learning_rate: 3e-4,
            prompts_per_step: 8,
            num_generations: 16,
            sampling: SamplingParams {
                max_new_tokens: 8,
                ..SamplingParams::default()
            },
            loss: GrpoLoss::default(),
            learner: LearnerConfig {
                trainable: Trainable::language_model(),
                ..LearnerConfig::default()
            },
            lora: None,
            choices: ChoiceRule::All,
            test_per_class: 50,
            out: PathBuf::from("runs/latest"),
            progress: false,
        }
    }
}

impl FineTune {
    /// Reinforcement learning by a recipe: measures the base, trains it on the training split of
    /// `train`, measures it again on the test split of `test`, and writes `metrics.jsonl`,
    /// `summary.json`, `config.json` and the checkpoint `model/` into the output folder. Adapters
    /// are written as `adapter/`, in PEFT's format, and merged in `model/`.
    ///
    /// # Errors
    /// What any part of the run says.
    pub fn reinforce<M: VisionLanguageModel>(
        &self,
        base: Pretrained<M>,
        recipe: &Recipe,
        train: &dyn Dataset,
        test: &dyn Dataset,
    ) -> Result<Summary, Error> {
        let mut run = Run::start(self, base, recipe, test)?;
        let before = run.measure()?;
        let dealer = self.dealer(train)?;
        let features = Arc::clone(&run.features);
        let mut trainer = GrpoTrainer {
            learner: Learner::new(
                run.policy()?,
                Box::new(self.loss),
                features,
                self.learner.clone(),
            ),
            engine: run.engine,
            encoder: Arc::clone(&run.base.encoder),
            template: recipe.template.clone(),
            rewards: recipe.rewards.clone(),
            config: GrpoConfig {
                seed: self.seed,
                prompts_per_step: self.prompts_per_step,
                num_generations: self.num_generations,
                sampling: self.sampling.clone(),
                schedule: Schedule::linear(self.learning_rate, self.steps),
                ..GrpoConfig::default()
            },
        };
        let mut lines = JsonLines::create(self.out.join("metrics.jsonl"))?;
        let mut progress = self.bar();
        let sinks: &mut [&mut dyn MetricSink] = &mut [&mut lines, &mut progress];
        let start = Instant::now();
        trainer.run(
            0..self.steps,
            |step| dealer.deal(step, self.prompts_per_step),
            sinks,
        )?;
        let seconds = start.elapsed().as_secs_f64();
        run.engine = trainer.engine;
        run.base.model = trainer.learner.into_model().valid();
        run.finish(before, seconds)
    }

    /// Supervised fine-tuning on the labels, with the same prompts, steps and files as
    /// [`reinforce`](Self::reinforce).
    ///
    /// # Errors
    /// What any part of the run says.
    pub fn supervise<M: VisionLanguageModel>(
        &self,
        base: Pretrained<M>,
        recipe: &Recipe,
        train: &dyn Dataset,
        test: &dyn Dataset,
    ) -> Result<Summary, Error> {
        let mut run = Run::start(self, base, recipe, test)?;
        let before = run.measure()?;
        let dealer = self.dealer(train)?;
        let mut learner = Learner::new(
            run.policy()?,
            Box::new(SupervisedLoss),
            Arc::clone(&run.features),
            self.learner.clone(),
        );
        let schedule = Schedule::linear(self.learning_rate, self.steps);
        let mut lines = JsonLines::create(self.out.join("metrics.jsonl"))?;
        let mut progress = self.bar();
        let start = Instant::now();
        let encoder = Arc::clone(&run.base.encoder);
        let eos = learner.model().info().eos_token_ids.first().copied();
        for step in 0..self.steps {
            let begun = Instant::now();
            let examples = dealer.deal(step, self.prompts_per_step)?;
            let prompts: Vec<_> = examples
                .iter()
                .map(|e| Arc::new(recipe.template.render(e)))
                .collect();
            let inputs = encoder.encode_all(learner.model(), &prompts)?;
            let mut groups = Vec::with_capacity(examples.len());
            for (example, input) in examples.iter().zip(inputs) {
                let mut target = encoder.tokenizer().encode(&example.label)?;
                target.extend(eos);
                groups.push(supervised(input, target));
            }
            let learning_rate = schedule.at(step);
            let report = learner.update(&groups, learning_rate)?;
            let lengths = groups.iter().map(|g| g.tokens.completions[0].len());
            let metrics = StepMetrics {
                step,
                loss: report.loss,
                grad_norm: report.grad_norm,
                learning_rate,
                completion_length: lengths.sum::<usize>() as f64 / groups.len().max(1) as f64,
                seconds: Seconds {
                    learn: begun.elapsed().as_secs_f64(),
                    ..Seconds::default()
                },
                ..StepMetrics::default()
            };
            lines.step(&metrics)?;
            progress.step(&metrics)?;
        }
        progress.finish()?;
        let seconds = start.elapsed().as_secs_f64();
        run.engine.set_policy(learner.model())?;
        run.base.model = learner.into_model().valid();
        run.finish(before, seconds)
    }

    fn bar(&self) -> Progress {
        if self.progress {
            Progress::new(self.steps)
        } else {
            Progress::hidden()
        }
    }

    fn dealer<'a>(
        &self,
        train: &'a dyn Dataset,
    ) -> Result<ExampleDealer<'a, dyn Dataset + 'a>, Error> {
        let choices = ChoiceList::new(self.choices, self.seed);
        ExampleDealer::new(train, train.records(Split::Train)?, choices, self.seed)
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
        Ok(Evaluator {
            examples,
            template: recipe.template.clone(),
            matcher: recipe.matcher(),
            stream: SeedStream::new(self.seed, Domain::Evaluation),
        })
    }
}

/// A right answer as a group of one, for [`SupervisedLoss`].
pub fn supervised(input: Arc<ModelInput>, target: Vec<u32>) -> LearnGroup {
    LearnGroup {
        tokens: TokenGroup {
            input,
            completions: vec![target],
        },
        advantages: vec![1.0],
        truncated: vec![false],
    }
}

/// What stays the same through a run.
struct Run<'a, M> {
    settings: &'a FineTune,
    recipe: &'a Recipe,
    base: Pretrained<M>,
    features: Arc<FeatureStore>,
    engine: NativeEngine<M>,
    evaluator: Evaluator,
}

/// Image features kept, at the most.
const FEATURES: usize = 4096;

impl<'a, M: VisionLanguageModel> Run<'a, M> {
    fn start(
        settings: &'a FineTune,
        base: Pretrained<M>,
        recipe: &'a Recipe,
        test: &dyn Dataset,
    ) -> Result<Self, Error> {
        // An output folder that cannot be written must show now, not after the training.
        let config = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "model": base.name,
            "processor": base.encoder.processor().settings(),
            "fine_tune": settings,
            "recipe": recipe,
        });
        let path = settings.out.join("config.json");
        let config =
            serde_json::to_vec_pretty(&config).map_err(|source| visrl_vlm::Error::Json {
                path: path.clone(),
                source,
            })?;
        visrl_vlm::write_file_atomically(&path, &config)?;
        let trainable = &settings.learner.trainable;
        let capacity = match trainable.vision_tower || trainable.merger {
            true => 0,
            false => FEATURES,
        };
        let features = Arc::new(FeatureStore::new(capacity));
        let engine = NativeEngine::new(
            &base.model,
            Arc::clone(base.encoder.tokenizer()),
            Arc::clone(&features),
            EngineConfig::default(),
        );
        let evaluator = settings.evaluator(recipe, test)?;
        Ok(Self {
            settings,
            recipe,
            base,
            features,
            engine,
            evaluator,
        })
    }

    /// The model to train: the base, with new adapters where they are asked for.
    fn policy(&self) -> Result<M, Error> {
        let model = self.base.model.clone();
        let Some(lora) = &self.settings.lora else {
            return Ok(model);
        };
        let rng = SeedStream::new(self.settings.seed, Domain::Init).rng();
        Ok(attach_lora(model, lora, rng)?)
    }

    fn evaluate(&mut self, sampling: &SamplingParams) -> Result<Evaluation, Error> {
        self.evaluator.run(
            &mut self.engine,
            &self.base.encoder,
            &self.base.model,
            sampling,
        )
    }

    /// Greedy and at temperature 1 with no filter.
    fn measure(&mut self) -> Result<Accuracy, Error> {
        let most = self.settings.sampling.max_new_tokens;
        let greedy = self.evaluate(&SamplingParams::greedy(most))?;
        let t1 = SamplingParams {
            top_k: 0,
            max_new_tokens: most,
            ..SamplingParams::default()
        };
        let t1 = self.evaluate(&t1)?;
        Ok(Accuracy {
            greedy: greedy.accuracy,
            t1: t1.accuracy,
            completion_length: greedy.completion_length,
        })
    }

    fn finish(mut self, before: Accuracy, seconds: f64) -> Result<Summary, Error> {
        let after = self.measure()?;
        let out = &self.settings.out;
        if let Some(lora) = &self.settings.lora {
            save_lora(&self.base.model, lora, &self.base.name, out.join("adapter"))?;
        }
        let model = merge_lora(self.base.model);
        self.base
            .files
            .save(&model, out.join("model"), SaveDtype::F32)?;
        let summary = Summary {
            recipe: self.recipe.name.clone(),
            matcher: self.evaluator.matcher.name().to_owned(),
            seed: self.settings.seed,
            steps: self.settings.steps,
            seconds,
            test_examples: self.evaluator.examples.len(),
            before,
            after,
        };
        summary.write(out.join("summary.json"))?;
        Ok(summary)
    }
}
