//! From a server's answer to a completion, and what it may not answer.

use visrl_core::{Completion, StopReason};
use visrl_vlm::{ModelInfo, Tokenizer};

use super::server::{Answer, Ended};
use crate::completion_text::CompletionText;
use crate::request::GroupRequest;
use crate::stop::StopRules;

/// Tokens around the first that differ which an error shows.
const AROUND: usize = 8;

/// What answers are held to.
#[derive(Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) info: &'a ModelInfo,
    pub(super) tokenizer: &'a Tokenizer,
}

impl Expected<'_> {
    /// The completion.
    ///
    /// # Errors
    /// What in the answer cannot be, or that the server reads another prompt.
    pub(super) fn completion(
        &self,
        request: &GroupRequest,
        answer: Answer,
    ) -> Result<Completion, String> {
        same_prompt(&request.input.ids, &answer.prompt)?;
        let Answer {
            tokens,
            logprobs,
            ended,
            ..
        } = answer;
        let most = request.sampling.max_new_tokens;
        if tokens.is_empty() || tokens.len() > most {
            return Err(format!(
                "gives {} tokens, 1 to {most} asked for",
                tokens.len()
            ));
        }
        if logprobs.len() != tokens.len() {
            let (logprobs, tokens) = (logprobs.len(), tokens.len());
            return Err(format!(
                "gives {logprobs} log-probabilities for {tokens} tokens"
            ));
        }
        let outside = |id: &&u32| **id as usize >= self.info.vocab_size;
        if let Some(id) = tokens.iter().find(outside) {
            let size = self.info.vocab_size;
            return Err(format!("gives token {id}, beyond the vocabulary of {size}"));
        }
        if let Some(id) = tokens.iter().find(|id| self.info.banned_ids.contains(id)) {
            return Err(format!("gives token {id}, which is never sampled"));
        }
        if let Some(logprob) = logprobs.iter().find(|x| x.is_nan() || **x > 1e-4) {
            return Err(format!("gives a log-probability of {logprob}"));
        }
        let rules = StopRules {
            eos_token_ids: &self.info.eos_token_ids,
            tokenizer: self.tokenizer,
        };
        let stop = rules.reason(&tokens, &request.sampling);
        let stop = match (stop, ended) {
            (Some(StopReason::MaxTokens), Ended::Length) => StopReason::MaxTokens,
            (Some(stop @ (StopReason::Eos | StopReason::StopString(_))), _) => stop,
            (_, ended) => {
                let tokens = tokens.len();
                return Err(format!(
                    "ends ({ended:?}) after {tokens} tokens without a reason"
                ));
            }
        };
        let text = CompletionText::new(self.tokenizer, &self.info.eos_token_ids);
        Ok(Completion {
            text: text.text(&tokens),
            // Rounding may lift a certain token above 0.
            logprobs: logprobs
                .into_iter()
                .map(|logprob| logprob.min(0.0))
                .collect(),
            tokens,
            stop,
        })
    }
}

/// Demands that the server reads the prompt as this model does.
fn same_prompt(own: &[u32], theirs: &[u32]) -> Result<(), String> {
    if own == theirs {
        return Ok(());
    }
    let pairs = own.iter().zip(theirs);
    let first = pairs.take_while(|(a, b)| a == b).count();
    let part = |ids: &[u32]| {
        let from = first.saturating_sub(AROUND / 2);
        ids[from.min(ids.len())..(from + AROUND).min(ids.len())].to_vec()
    };
    Err(format!(
        "reads {} prompt tokens, this model {}; they differ from token {first} on: {:?} there, {:?} \
         here (is its tokenizer, chat template or image processor another?)",
        theirs.len(),
        own.len(),
        part(theirs),
        part(own),
    ))
}
