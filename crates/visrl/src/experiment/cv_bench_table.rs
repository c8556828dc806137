use std::sync::Arc;

use serde::{Deserialize, Serialize};
use visrl_data::CvBench;
use visrl_image::ImagePipeline;
use visrl_reward::rules::CvBenchScore;
use visrl_rollout::SamplingParams;
use visrl_train::{Answer, CvBenchAccuracy, Evaluation, Evaluator};
use visrl_vlm::{Pretrained, VisionLanguageModel};

use super::evaluate::run_evaluator;
use crate::error::Error;
use crate::fine_tune::FineTune;
use crate::label_check::check_once;
use crate::recipe::Recipe;
use crate::written_dataset::{Vocabulary, WrittenDataset};

/// Measures a model on CV-Bench, all of it, and counts by task. The recipe should ask for letters,
/// as [`Recipe::for_cv_bench`] does. Right is, strictly, the letter to the letter, such as `(B)`,
/// and leniently what the paper's own evaluation takes for it. Images are as they are, without the
/// resize of the paper's classification programs, unless the settings'
/// [`evaluation`](FineTune::evaluation) names a pipeline.
///
/// # Errors
/// As [`evaluate`](crate::experiment::evaluate).
pub fn cv_bench<M: VisionLanguageModel>(
    base: &Pretrained<M>,
    recipe: &Recipe,
    settings: &FineTune,
    bench: &CvBench,
    sampling: &SamplingParams,
) -> Result<CvBenchEvaluation, Error> {
    let mut all = FineTune {
        test_per_class: 0,
        ..settings.clone()
    };
    all.evaluation.pipeline.get_or_insert(ImagePipeline::Plain);
    let encoder = all.evaluation.encoder(&base.encoder)?;
    let words = Vocabulary::of(base);
    let written = WrittenDataset::new(bench, &words)?;
    check_once(base, recipe, settings, &written)?;
    let evaluator = Evaluator {
        lenient: Arc::new(CvBenchScore::default()),
        ..all.evaluator(recipe, &written)?
    };
    let evaluation = run_evaluator(base, &encoder, &evaluator, sampling)?;
    let of = |right: fn(&Answer) -> bool| {
        CvBenchAccuracy::new(&evaluation.answers, bench.facts(), right)
    };
    Ok(CvBenchEvaluation {
        strict: of(|answer| answer.right),
        lenient: of(|answer| answer.lenient),
        evaluation,
    })
}

/// A model on CV-Bench.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CvBenchEvaluation {
    /// By the strict rule.
    pub strict: CvBenchAccuracy,
    /// By the paper's.
    pub lenient: CvBenchAccuracy,
    /// The evaluation as of any data set.
    pub evaluation: Evaluation,
}
