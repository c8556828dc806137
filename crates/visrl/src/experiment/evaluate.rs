use std::sync::Arc;

use visrl_data::Dataset;
use visrl_rollout::{EngineConfig, LocalEngine, SamplingParams};
use visrl_train::{Evaluation, Evaluator};
use visrl_vlm::{FeatureStore, Pretrained, PromptEncoder, VisionLanguageModel};

use crate::error::Error;
use crate::fine_tune::FineTune;
use crate::label_check::check_once;
use crate::recipe::Recipe;
use crate::written_dataset::{Vocabulary, WrittenDataset};

/// Measures a model on a data set's test split, greedily, asked as a recipe asks or as the
/// settings' [`evaluation`](FineTune::evaluation) says.
///
/// # Errors
/// What data, encoding or sampling say.
pub fn evaluate<M: VisionLanguageModel>(
    base: &Pretrained<M>,
    recipe: &Recipe,
    settings: &FineTune,
    test: &dyn Dataset,
) -> Result<Evaluation, Error> {
    let sampling = SamplingParams::greedy(settings.sampling.max_new_tokens);
    evaluate_with(base, recipe, settings, test, &sampling)
}

/// As [`evaluate`], with a sampling of one's own.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_with<M: VisionLanguageModel>(
    base: &Pretrained<M>,
    recipe: &Recipe,
    settings: &FineTune,
    test: &dyn Dataset,
    sampling: &SamplingParams,
) -> Result<Evaluation, Error> {
    let words = Vocabulary::of(base);
    let test = WrittenDataset::new(test, &words)?;
    check_once(base, recipe, settings, &test)?;
    let encoder = settings.evaluation.encoder(&base.encoder)?;
    let evaluator = settings.evaluator(recipe, &test)?;
    run_evaluator(base, &encoder, &evaluator, sampling)
}

pub(super) fn run_evaluator<M: VisionLanguageModel>(
    base: &Pretrained<M>,
    encoder: &PromptEncoder,
    evaluator: &Evaluator,
    sampling: &SamplingParams,
) -> Result<Evaluation, Error> {
    let tokenizer = Arc::clone(base.encoder.tokenizer());
    // Every image is asked about once.
    let features = Arc::new(FeatureStore::new(0));
    let mut engine = LocalEngine::new(&base.model, tokenizer, features, EngineConfig::default());
    Ok(evaluator.run(&mut engine, encoder, &base.model, sampling)?)
}
