//! The measurements of a run: the base before training, the policy on the way, the fine-tuned model
//! after it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use visrl_data::{Dataset, PromptTemplate};
use visrl_rollout::{EngineConfig, LocalEngine, PolicySync, SamplingParams};
use visrl_train::{Evaluation, Evaluator, Warnings};
use visrl_vlm::{FeatureStore, Pretrained, PromptEncoder, VisionLanguageModel};

use crate::error::Error;
use crate::evaluation_setting::EvaluationSetting;
use crate::fine_tune::FineTune;
use crate::held_out::held_out;
use crate::recipe::Recipe;

/// Accuracy of a policy on test examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Share of right answers when the most likely token is taken, 0 to 1.
    pub greedy: f64,
    /// Share of right answers when sampled at temperature 1.
    pub t1: f64,
    /// As `greedy`, by the paper's lenient matching.
    pub greedy_lenient: f64,
    /// As `t1`, by the paper's lenient matching.
    pub t1_lenient: f64,
    /// As `greedy`, when the answer must be one of the choices; nothing for open questions.
    #[serde(default)]
    pub greedy_guided: Option<f64>,
    /// Mean tokens of a greedy completion, end token included.
    pub completion_length: f64,
}

/// A policy measured greedily and at temperature 1 with no filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The most likely token each time.
    pub greedy: Evaluation,
    /// Sampled.
    pub t1: Evaluation,
}

impl Measured {
    /// The numbers of the summary.
    pub fn accuracy(&self) -> Accuracy {
        Accuracy {
            greedy: self.greedy.accuracy,
            t1: self.t1.accuracy,
            greedy_lenient: self.greedy.lenient_accuracy,
            t1_lenient: self.t1.lenient_accuracy,
            greedy_guided: self.greedy.guided_accuracy,
            completion_length: self.greedy.completion_length,
        }
    }
}

/// What a run measured of its two ends, in `evaluation.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BeforeAfter {
    /// The base.
    pub before: Measured,
    /// The fine-tuned model.
    pub after: Measured,
    /// How both were asked; nothing in files of older versions.
    #[serde(default)]
    pub asked: Option<Asked>,
}

/// How the examples of an evaluation were asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The setting.
    pub setting: EvaluationSetting,
    /// The prompts' template.
    pub template: PromptTemplate,
    /// The settings of the image processor, its pipeline among them.
    pub processor: serde_json::Value,
}

/// Measures the policies of one run.
pub(crate) struct Measurement<M> {
    base: Pretrained<M>,
    setting: EvaluationSetting,
    /// From prompts to the model's input, with the evaluation's pipeline for images.
    encoder: Arc<PromptEncoder>,
    /// Features of images that are asked about in evaluations. Those of training have a store of
    /// their own, so that neither depends on which evaluations there were.
    features: Arc<FeatureStore>,
    /// The test examples.
    pub(crate) test: Evaluator,
    /// The validation examples, where the training data have some that are no test examples.
    pub(crate) validation: Option<Evaluator>,
    max_new_tokens: usize,
    engine: EngineConfig,
}

impl<M: VisionLanguageModel> Measurement<M> {
    /// Measures with a store of at most `capacity` images' features.
    pub(crate) fn new(
        settings: &FineTune,
        base: &Pretrained<M>,
        recipe: &Recipe,
        (train, test): (&dyn Dataset, &dyn Dataset),
        capacity: usize,
        warnings: &Warnings,
    ) -> Result<Self, Error> {
        let test = settings.evaluator(recipe, test)?;
        let validation = match settings.validator(recipe, train)? {
            Some(validation) if settings.evaluate_every > 0 => {
                held_out(validation, &test, warnings)
            }
            validation => validation,
        };
        let asked = |evaluator: &Evaluator| evaluator.examples.len();
        let images = asked(&test) + validation.as_ref().map_or(0, asked);
        // All features or none: a part of them would depend on the order of evaluations.
        let capacity = if images <= capacity { capacity } else { 0 };
        Ok(Self {
            base: base.clone(),
            setting: settings.evaluation.clone(),
            encoder: settings.evaluation.encoder(&base.encoder)?,
            features: Arc::new(FeatureStore::new(capacity)),
            test,
            validation,
            max_new_tokens: settings.sampling.max_new_tokens,
            engine: settings.engine_config(),
        })
    }

    /// What encodes the prompts, and their template.
    pub(crate) fn prompts(&self) -> (&PromptEncoder, &PromptTemplate) {
        (&self.encoder, &self.test.template)
    }

    /// How the examples are asked, for the records of the run.
    pub(crate) fn asked(&self) -> Asked {
        Asked {
            setting: self.setting.clone(),
            template: self.test.template.clone(),
            processor: self.encoder.processor().settings(),
        }
    }

    /// Asks an evaluator's examples.
    pub(crate) fn evaluate(
        &self,
        evaluator: &Evaluator,
        model: &M,
        sampling: &SamplingParams,
    ) -> Result<Evaluation, visrl_train::Error> {
        let mut engine = LocalEngine::new(
            &self.base.model,
            Arc::clone(self.base.encoder.tokenizer()),
            Arc::clone(&self.features),
            self.engine.clone(),
        );
        engine.set_policy(model)?;
        evaluator.run(&mut engine, &self.encoder, model, sampling)
    }

    /// Measures a policy on the way: greedily, on the validation examples or else the test ones.
    pub(crate) fn validate(&self, policy: &M) -> Result<Evaluation, visrl_train::Error> {
        let evaluator = self.validation.as_ref().unwrap_or(&self.test);
        let greedy = SamplingParams::greedy(self.max_new_tokens);
        self.evaluate(evaluator, policy, &greedy)
    }

    /// Measures one of the two ends on the test examples.
    pub(crate) fn measure(&self, model: &M) -> Result<Measured, Error> {
        let t1 = SamplingParams {
            top_k: 0,
            max_new_tokens: self.max_new_tokens,
            ..SamplingParams::default()
        };
        let greedy = SamplingParams::greedy(self.max_new_tokens);
        Ok(Measured {
            greedy: self.evaluate(&self.test, model, &greedy)?,
            t1: self.evaluate(&self.test, model, &t1)?,
        })
    }
}
