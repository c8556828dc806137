//! The growing completions of a request.

use visrl_core::{Completion, StopReason};
use visrl_vlm::{ModelInfo, Tokenizer};

use crate::{Context, GroupRequest, Sampled, Sampler};

/// The completions of one request.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) completions: Vec<Completion>,
    /// Which of them have not ended.
    pub(super) running: Vec<bool>,
    /// The position at which logits were not numbers.
    pub(super) damaged: Option<usize>,
}

impl Rows {
    pub(super) fn new(request: &GroupRequest) -> Self {
        let empty = Completion {
            tokens: Vec::new(),
            logprobs: Vec::new(),
            text: String::new(),
            stop: StopReason::Cancelled,
        };
        let count = request.num_generations;
        Self {
            completions: vec![empty; count],
            running: vec![true; count],
            damaged: None,
        }
    }

    /// Ends the completions that still run.
    pub(super) fn cancel(&mut self) {
        for (running, completion) in self.running.iter_mut().zip(&mut self.completions) {
            if std::mem::take(running) {
                completion.stop = StopReason::Cancelled;
            }
        }
    }

    /// The last token of each of these samples with its position.
    pub(super) fn next_tokens(
        &self,
        request: &GroupRequest,
        samples: &[usize],
        ids: &mut Vec<u32>,
        positions: &mut Vec<[u32; 3]>,
    ) {
        let input = &request.input;
        for &sample in samples {
            let tokens = &self.completions[sample].tokens;
            match tokens.last() {
                Some(&id) => {
                    ids.push(id);
                    positions.push([input.positions.next + tokens.len() as u32 - 1; 3]);
                }
                None => {
                    ids.extend(input.ids.last());
                    positions.extend(input.positions.ids.last());
                }
            }
        }
    }

    /// Draws the next token of a sample from its logits `[vocab]`.
    pub(super) fn advance(
        &mut self,
        request: &GroupRequest,
        sample: usize,
        logits: &[f32],
        sampler: &mut Sampler,
        info: &ModelInfo,
        tokenizer: &Tokenizer,
    ) {
        let completion = &mut self.completions[sample];
        let position = completion.tokens.len();
        let counter = [request.step, request.index, sample as u32, position as u32];
        let u = request.stream.uniform(counter);
        let choices = request.choices.as_ref();
        let allowed = choices.map(|choices| choices.after(&completion.tokens, &info.eos_token_ids));
        let context = Context {
            banned: &info.banned_ids,
            prompt: &request.input.ids,
            completion: &completion.tokens,
            allowed: allowed.as_deref(),
        };
        let drawn = sampler.sample(logits, &request.sampling, context, u);
        let Some(Sampled { token, logprob, .. }) = drawn else {
            self.damaged = Some(self.damaged.map_or(position, |first| first.min(position)));
            self.running[sample] = false;
            return;
        };
        completion.tokens.push(token);
        completion.logprobs.push(logprob);
        let stop = if info.eos_token_ids.contains(&token) {
            Some(StopReason::Eos)
        } else if let Some(stop) = stop_string(request, &completion.tokens, tokenizer) {
            Some(StopReason::StopString(stop))
        } else {
            let full = position + 1 == request.sampling.max_new_tokens;
            full.then_some(StopReason::MaxTokens)
        };
        if let Some(stop) = stop {
            completion.stop = stop;
            self.running[sample] = false;
        }
    }
}

/// The stop string that the text has come to contain with its last token.
fn stop_string(request: &GroupRequest, tokens: &[u32], tokenizer: &Tokenizer) -> Option<String> {
    let stops = &request.sampling.stop_strings;
    let longest = stops.iter().map(String::len).max()?;
    // A token is at least one byte of text; a few more for characters cut in two.
    let tail = &tokens[tokens.len().saturating_sub(longest + 4)..];
    let text = tokenizer.decode(tail, false);
    stops
        .iter()
        .find(|stop| text.contains(stop.as_str()))
        .cloned()
}
