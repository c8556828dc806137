//! An engine without a model.

use std::sync::Arc;

use visrl_core::{Completion, Group, StopReason};
use visrl_vlm::Tokenizer;

use crate::completion_text::CompletionText;
use crate::engine::RolloutEngine;
use crate::error::Error;
use crate::request::GroupRequest;

/// An engine without a model, for tests of what comes after sampling: it answers with texts from a
/// function.
///
/// Completions end with the tokenizer's end token, as far as `max_new_tokens` allows; every token has
/// log-probability 0.
pub struct ScriptedEngine<F> {
    tokenizer: Arc<Tokenizer>,
    answer: F,
}

impl<F> std::fmt::Debug for ScriptedEngine<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptedEngine").finish_non_exhaustive()
    }
}

impl<F: FnMut(&GroupRequest, usize) -> String> ScriptedEngine<F> {
    /// An engine whose completion of a request's sample is `answer(request, sample)`.
    pub fn new(tokenizer: Arc<Tokenizer>, answer: F) -> Self {
        Self { tokenizer, answer }
    }

    fn complete(&mut self, request: &GroupRequest, sample: usize) -> Result<Completion, Error> {
        let mut tokens = self.tokenizer.encode(&(self.answer)(request, sample))?;
        tokens.push(self.tokenizer.eos_id());
        let most = request.sampling.max_new_tokens;
        let stop = match tokens.len() > most {
            true => StopReason::MaxTokens,
            false => StopReason::Eos,
        };
        tokens.truncate(most);
        let text = CompletionText::new(&self.tokenizer, &[]);
        Ok(Completion {
            logprobs: vec![0.0; tokens.len()],
            text: text.text(&tokens),
            tokens,
            stop,
        })
    }
}

impl<F: FnMut(&GroupRequest, usize) -> String> RolloutEngine for ScriptedEngine<F> {
    fn generate_each(&mut self, requests: &[GroupRequest]) -> Vec<Result<Group, Error>> {
        let group = |request: &GroupRequest| {
            request.validate()?;
            let samples = 0..request.num_generations;
            let completions = samples.map(|sample| self.complete(request, sample));
            Ok(Group {
                completions: completions.collect::<Result<_, Error>>()?,
                prompt: Arc::clone(&request.prompt),
            })
        };
        requests.iter().map(group).collect()
    }
}
