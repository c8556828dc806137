//! What a learner takes: completions of one prompt, and what each is worth.

use std::sync::Arc;

use visrl_core::{Group, TokenRows};
use visrl_vlm::ModelInput;

use crate::error::Error;

/// Completions of one prompt, as token ids: what a learner computes log-probabilities of.
#[derive(Clone, Debug)]
pub struct TokenGroup {
    /// The prompt, held once.
    pub input: Arc<ModelInput>,
    /// The completions' tokens, one row each, none empty.
    pub completions: TokenRows<u32>,
}

/// The completions of one prompt with what each is worth.
#[derive(Clone, Debug)]
pub struct LearnGroup {
    /// Prompt and completions.
    pub tokens: TokenGroup,
    /// One advantage per completion.
    pub advantages: Vec<f32>,
    /// Whether each completion was cut at the length limit.
    pub truncated: Vec<bool>,
    /// The log-probabilities that the sampler reported, in nats, row by row as the tokens; NaN
    /// where it reported none. A loss with an importance correction needs them.
    pub sampler_logps: Option<TokenRows<f32>>,
}

impl LearnGroup {
    /// A sampled group with the advantages of its completions. The sampler's log-probabilities
    /// come along where it reported one for every token.
    pub fn sampled(input: Arc<ModelInput>, group: Group, advantages: Vec<f32>) -> Self {
        let truncated = group.completions.iter().map(|c| c.stop.is_truncated());
        let truncated = truncated.collect();
        let complete = group
            .completions
            .iter()
            .all(|c| c.logprobs.len() == c.tokens.len());
        let (tokens, logps): (Vec<_>, Vec<_>) = group
            .completions
            .into_iter()
            .map(|completion| (completion.tokens, completion.logprobs))
            .unzip();
        Self {
            tokens: TokenGroup {
                input,
                completions: tokens.into(),
            },
            advantages,
            truncated,
            sampler_logps: complete.then(|| logps.into()),
        }
    }

    /// Whether some completion has an advantage.
    pub(crate) fn is_effective(&self) -> bool {
        self.advantages.iter().any(|a| *a != 0.0)
    }

    /// Checks that every field has one value per completion or token.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let completions = &self.tokens.completions;
        let count = completions.rows();
        if self.advantages.len() != count || self.truncated.len() != count {
            return Err(Error::config(
                "advantages",
                format!("and `truncated` must hold one value for each of {count} completions"),
            ));
        }
        match &self.sampler_logps {
            Some(logps) if logps.ends() != completions.ends() => Err(Error::config(
                "sampler_logps",
                "must hold one value for each token of each completion",
            )),
            _ => Ok(()),
        }
    }
}
