//! The numbers of a run.

use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use visrl_core::{Domain, Example, SeedStream};
use visrl_data::{ChoiceList, ChoiceRule, Dataset, ListSchedule, Split};
use visrl_grpo::Advantage;
use visrl_rollout::{EngineConfig, EngineKind, RemoteConfig, SamplingParams};
use visrl_train::{
    Decay, Evaluator, ExampleDealer, LearnerConfig, LearningRateSchedule, LoopConfig,
};
use visrl_vlm::{LoraConfig, Pretrained, Trainable, VisionLanguageModel};

use crate::error::Error;
use crate::evaluation_setting::EvaluationSetting;
use crate::loss_setting::LossSetting;
use crate::over_default::OverDefault;
use crate::recipe::Recipe;
use crate::summary::Summary;
use crate::trainer::Trainer;

/// The numbers of a run. The defaults suit the embedded model and data.
///
/// In a file each table, at any depth, takes what it leaves out from these defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct FineTune {
    /// The seed of everything drawn in the run.
    pub seed: u64,
    /// Optimizer steps.
    pub steps: usize,
    /// Epochs over the training examples, in place of `steps` when not 0.
    pub epochs: usize,
    /// The peak learning rate.
    pub learning_rate: f64,
    /// How the learning rate changes over the run: by default it falls to 0 in a straight line, as
    /// in the paper.
    pub decay: Decay,
    /// Prompts per step.
    pub prompts_per_step: usize,
    /// Completions per prompt.
    pub num_generations: usize,
    /// How completions are sampled in training, and their longest length everywhere.
    pub sampling: SamplingParams,
    /// How often at most, within a step, groups whose completions are all worth the same are
    /// replaced by groups of further prompts; 0, the paper's, keeps them.
    pub resample_rounds: usize,
    /// Which engine samples: by default the native one in host memory and the one for devices
    /// elsewhere.
    #[serde(skip_serializing_if = "is_auto")]
    pub engine: EngineKind,
    /// A vLLM server that samples in training, in place of an engine in this process; its folder of
    /// weights is `handed-over` in the run's, if none is named. Needs the feature `remote`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteConfig>,
    /// Optimizer steps that the policy which samples may be behind the one that learns: samples are
    /// then made on a thread of their own, ahead of the learner. 0, the default, samples and learns
    /// in turn.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_staleness: usize,
    /// How rewards become advantages.
    pub advantage: Advantage,
    /// The policy loss.
    pub loss: LossSetting,
    /// How the policy is updated.
    pub learner: LearnerConfig,
    /// Train low-rank adapters instead of the weights themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// How many names an example's list shows.
    pub choices: ChoiceRule,
    /// Whether an example gets a new list in each epoch or keeps one, as the paper's do.
    pub lists: ListSchedule,
    /// How evaluations ask, on which rows, and how they prepare images.
    pub evaluation: EvaluationSetting,
    /// Test examples of each class; 0 takes all.
    pub test_per_class: usize,
    /// Steps between two evaluations on the way; 0 for none. They are made on the validation
    /// split of the training data where there is one, without pictures that are among the test
    /// ones, and otherwise on the test examples, which the summary then says.
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
    /// Whether to go on after the newest checkpoint in the output folder. A run that was ended before
    /// its first one begins anew, and a folder without a run is refused; without this flag,
    /// checkpoints that are there are removed.
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
            decay: Decay::default(),
            prompts_per_step: 8,
            num_generations: 16,
            sampling: SamplingParams {
                max_new_tokens: 8,
                ..SamplingParams::default()
            },
            resample_rounds: 0,
            engine: EngineKind::Auto,
            remote: None,
            max_staleness: 0,
            advantage: Advantage::default(),
            loss: LossSetting::default(),
            learner: LearnerConfig {
                trainable: Trainable::language_model(),
                ..LearnerConfig::default()
            },
            lora: None,
            choices: ChoiceRule::All,
            lists: ListSchedule::default(),
            evaluation: EvaluationSetting::default(),
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

/// Whether nothing is said of the engine.
fn is_auto(engine: &EngineKind) -> bool {
    *engine == EngineKind::Auto
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Serialize for FineTune {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for FineTune {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let default = serde_json::to_value(Self::default()).map_err(D::Error::custom)?;
        Self::deserialize(OverDefault::new(deserializer, default))
    }
}

impl FineTune {
    /// The settings of the engine that samples.
    pub(crate) fn engine_config(&self) -> EngineConfig {
        EngineConfig {
            engine: self.engine,
            ..EngineConfig::default()
        }
    }

    /// The server that samples, with the folder that weights are handed over in.
    pub(crate) fn remote_config(&self) -> Option<RemoteConfig> {
        let mut remote = self.remote.clone()?;
        if remote.weights.as_os_str().is_empty() {
            remote.weights = self.out.join("handed-over");
        }
        Some(remote)
    }

    /// Fine-tunes by a recipe on the training split of `train` and measures on the test split of
    /// `test`: a [`Trainer`](crate::Trainer) with these settings and nothing of one's own.
    ///
    /// # Errors
    /// As [`Trainer::launch`](crate::Trainer::launch).
    pub fn run<M: VisionLanguageModel>(
        &self,
        base: Pretrained<M>,
        recipe: &Recipe,
        train: &dyn Dataset,
        test: &dyn Dataset,
    ) -> Result<Summary, Error> {
        let trainer = Trainer::new(base, recipe, train).test(test);
        Ok(trainer.settings(self.clone()).launch()?.summary)
    }

    /// Steps of the whole run, over this many training examples.
    pub fn total_steps(&self, examples: usize) -> usize {
        match self.epochs {
            0 => self.steps,
            epochs => {
                let all = epochs.saturating_mul(examples);
                all.div_ceil(self.prompts_per_step.max(1))
            }
        }
    }

    /// How long a run of so many steps goes, and what is done on the way.
    pub(crate) fn loop_config(&self, steps: usize) -> LoopConfig {
        LoopConfig {
            steps,
            evaluate_every: self.evaluate_every,
            patience: self.patience,
            checkpoint_every: self.checkpoint_every,
            budget_seconds: self.budget_seconds,
        }
    }

    /// The learning rate over a run of so many steps.
    pub(crate) fn schedule(&self, steps: usize) -> LearningRateSchedule {
        LearningRateSchedule {
            decay: self.decay,
            ..LearningRateSchedule::linear(self.learning_rate, steps)
        }
    }

    /// What deals the training examples.
    pub(crate) fn dealer<'a>(&self, train: &'a dyn Dataset) -> Result<ExampleDealer<'a>, Error> {
        let choices = ChoiceList::new(self.choices, self.seed);
        let records = train.records(Split::Train)?;
        let dealer = ExampleDealer::new(train, records, choices, self.seed)?;
        Ok(dealer.with_lists(self.lists))
    }

    /// The test examples: the first `test_per_class` of each class, each with its own list, the
    /// same for every run of a seed.
    ///
    /// # Errors
    /// [`Error::Setting`] when there are none; what the data set says; [`Error::Data`] when the
    /// evaluation has no words for the recipe.
    pub fn evaluator(&self, recipe: &Recipe, test: &dyn Dataset) -> Result<Evaluator, Error> {
        let choices = ChoiceList::new(self.choices, self.seed);
        let mut examples = self.evaluation.examples(test, &choices)?;
        if self.test_per_class > 0 {
            let mut seen = std::collections::HashMap::new();
            examples.retain(|example| {
                let count = seen.entry(example.label.clone()).or_insert(0usize);
                *count += 1;
                *count <= self.test_per_class
            });
        }
        if examples.is_empty() {
            let message = format!(
                "has no example: the test split of `{}` is empty, and nothing could be measured",
                test.name()
            );
            return Err(Error::setting("test", message));
        }
        self.evaluator_of(recipe, examples)
    }

    /// The examples of evaluations on the way, when the training data have a validation split.
    pub(crate) fn validator(
        &self,
        recipe: &Recipe,
        train: &dyn Dataset,
    ) -> Result<Option<Evaluator>, Error> {
        if train
            .records_if_any(Split::Val)?
            .is_none_or(<[_]>::is_empty)
        {
            return Ok(None);
        }
        let choices = ChoiceList::new(self.choices, self.seed);
        let examples = train.examples(Split::Val, &choices, 0)?;
        Ok(Some(self.evaluator_of(recipe, examples)?))
    }

    fn evaluator_of(&self, recipe: &Recipe, examples: Vec<Example>) -> Result<Evaluator, Error> {
        Ok(Evaluator {
            examples,
            template: self.evaluation.template(recipe)?,
            strict: recipe.strict_rule(),
            lenient: self.evaluation.lenient(),
            answer_in_tags: recipe.answer_in_tags,
            stream: SeedStream::new(self.seed, Domain::Evaluation),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Every table, and every option of it with the options around it, as `a = { b = { c = 1 } }`.
    fn parts(value: &Value, found: &mut Vec<Value>) {
        let Value::Object(fields) = value else {
            return found.push(value.clone());
        };
        // What tells its kind by a tag stands as a whole.
        if fields.contains_key("type") || fields.contains_key("kind") {
            return found.push(value.clone());
        }
        found.push(json!({}));
        for (name, value) in fields {
            let mut below = Vec::new();
            parts(value, &mut below);
            found.extend(below.into_iter().map(|part| json!({ name.as_str(): part })));
        }
    }

    #[test]
    fn a_table_that_names_one_option_leaves_the_others_as_they_are() {
        let default = serde_json::to_value(FineTune::default()).unwrap();
        let mut found = Vec::new();
        parts(&default, &mut found);
        assert!(found.len() > 40, "{}", found.len());
        for mut part in found {
            remove_null(&mut part);
            let text = toml::to_string(&part).unwrap();
            let read: FineTune = toml::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(read, FineTune::default(), "{text}");
            assert_eq!(
                serde_json::from_value::<FineTune>(part).unwrap(),
                FineTune::default()
            );
        }
        let hot: FineTune = toml::from_str("sampling.temperature = 0.9").unwrap();
        assert_eq!(
            (hot.sampling.max_new_tokens, hot.sampling.temperature),
            (8, 0.9)
        );
        let tower = "learner.trainable = { vision_tower = true }";
        let tower: FineTune = toml::from_str(tower).unwrap();
        let expected = Trainable {
            vision_tower: true,
            ..Trainable::language_model()
        };
        assert_eq!(tower.learner.trainable, expected);
    }

    /// A file of TOML has no null: what is null is left out.
    fn remove_null(value: &mut Value) {
        if let Value::Object(fields) = value {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(remove_null);
        }
    }

    #[test]
    fn a_name_that_is_none_is_refused_at_any_depth() {
        for text in [
            "step = 1",
            "sampling = { temp = 1.0 }",
            "learner = { adamw = { beta = 0.9 } }",
            "learner = { trainable = { head = true } }",
            "loss = { terms = { betta = 0.1 } }",
        ] {
            let error = toml::from_str::<FineTune>(text).unwrap_err().to_string();
            assert!(
                error.contains("unknown field") && error.contains("line 1"),
                "{error}"
            );
        }
    }
}
