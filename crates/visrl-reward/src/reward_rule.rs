use std::sync::Arc;

use rayon::prelude::*;
use visrl_core::Example;

/// From this many bytes of text on a batch is scored in parallel; below it, handing out the work
/// takes longer than doing it.
const PARALLEL_BYTES: usize = 1 << 18;

/// A completion's text and the example that it answers.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// What the policy wrote.
    pub completion: &'a str,
    /// What it was asked.
    pub example: &'a Example,
}

/// Why a rule could not score a batch, in the rule's own words.
pub type RuleFailure = Box<dyn std::error::Error + Send + Sync>;

/// Scores the text of a completion against the example it answers.
///
/// A rule is a pure function of the two: it sees neither tokens nor the other completions of the
/// group, and it is called from several threads at once.
///
/// # A judge that is a service or a model
/// Training asks for the scores of a step in one call of [`score_batch`](Self::score_batch). A rule
/// that pays for each call, or that can fail, implements it, and [`score`](Self::score) as a batch
/// of one:
///
/// ```
/// use visrl_core::Example;
/// use visrl_reward::{Answered, RewardRule, RuleFailure};
///
/// struct Judge;
///
/// impl RewardRule for Judge {
///     fn name(&self) -> &str {
///         "judge"
///     }
///     fn score(&self, completion: &str, example: &Example) -> Option<f32> {
///         let one = [Answered { completion, example }];
///         self.score_batch(&one).ok()?.pop()?
///     }
///     fn score_batch(&self, batch: &[Answered<'_>]) -> Result<Vec<Option<f32>>, RuleFailure> {
///         // Here the batch would go to the service.
///         let replies = batch.iter().map(|answered| format!("0.{}", answered.completion.len() % 10));
///         replies.map(|reply| Ok(Some(reply.parse()?))).collect()
///     }
/// }
/// # let example = visrl_core::Example { id: "1".into(), image: visrl_core::ImageSource::path("a"),
/// #     question: "".into(), choices: vec![], label: "".into(), row: Default::default() };
/// assert_eq!(Judge.score("coat", &example), Some(0.4));
/// ```
pub trait RewardRule: Send + Sync {
    /// What to call the rule in metrics and reports.
    fn name(&self) -> &str;

    /// The score of `completion`, or `None` if the rule cannot judge it: a missing label, say, or
    /// a measure that does not apply. An unscored completion is not a wrong one.
    fn score(&self, completion: &str, example: &Example) -> Option<f32>;

    /// The scores of a batch, one for each completion, in order. Without an implementation of the
    /// rule's own it is [`score`](Self::score) of each, in parallel when there is enough text to
    /// pay for it.
    ///
    /// # Errors
    /// What kept the rule from scoring. It stops the run, with the rule's name.
    fn score_batch(&self, batch: &[Answered<'_>]) -> Result<Vec<Option<f32>>, RuleFailure> {
        let score = |answered: &Answered<'_>| self.score(answered.completion, answered.example);
        let bytes: usize = batch.iter().map(|answered| answered.completion.len()).sum();
        Ok(if batch.len() > 1 && bytes >= PARALLEL_BYTES {
            batch.par_iter().map(score).collect()
        } else {
            batch.iter().map(score).collect()
        })
    }

    /// The least and the greatest score that the rule gives.
    fn range(&self) -> (f32, f32) {
        (0.0, 1.0)
    }
}

impl<R: RewardRule + ?Sized> RewardRule for Arc<R> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn score(&self, completion: &str, example: &Example) -> Option<f32> {
        (**self).score(completion, example)
    }

    fn score_batch(&self, batch: &[Answered<'_>]) -> Result<Vec<Option<f32>>, RuleFailure> {
        (**self).score_batch(batch)
    }

    fn range(&self) -> (f32, f32) {
        (**self).range()
    }
}

/// The score of a rule that says yes or no.
pub(crate) fn verdict(right: bool) -> Option<f32> {
    Some(if right { 1.0 } else { 0.0 })
}
