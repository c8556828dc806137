//! What an engine is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use visrl_core::{Prompt, SeedStream};
use visrl_vlm::ModelInput;

use crate::choices::TokenChoices;
use crate::error::Error;
use crate::sampler::{DrawCounter, SamplingParams};

/// Asks for a group of completions of one prompt.
#[derive(Clone, Debug)]
pub struct GroupRequest {
    /// The prompt.
    pub prompt: Arc<Prompt>,
    /// The prompt as the model reads it.
    pub input: Arc<ModelInput>,
    /// The number of completions, G.
    pub num_generations: usize,
    /// How to sample.
    pub sampling: SamplingParams,
    /// Where random numbers come from.
    pub stream: SeedStream,
    /// First counter of every draw: the training step.
    pub step: u32,
    /// Second counter of every draw: the prompt's number within the step. The third and the
    /// fourth are the sample and the position.
    pub index: u32,
    /// The completions to choose from; nothing leaves the model free.
    pub choices: Option<Arc<TokenChoices>>,
    /// Ends the request early.
    pub cancel: Cancel,
}

impl GroupRequest {
    /// One completion with the default sampling, at step 0 and index 0; set the fields that should
    /// differ.
    pub fn new(prompt: Arc<Prompt>, input: Arc<ModelInput>, stream: SeedStream) -> Self {
        Self {
            prompt,
            input,
            num_generations: 1,
            sampling: SamplingParams::default(),
            stream,
            step: 0,
            index: 0,
            choices: None,
            cancel: Cancel::default(),
        }
    }

    /// Checks what no engine can meet, whatever its model.
    ///
    /// # Errors
    /// [`Error::Params`] for a sampling parameter out of its range; [`Error::Request`] for a group
    /// without completions.
    pub fn validate(&self) -> Result<(), Error> {
        self.sampling.validate()?;
        match self.num_generations {
            0 => Err(self.fault("asks for 0 completions")),
            _ => Ok(()),
        }
    }

    /// Checks that a model whose images stand where this token stands can begin after the prompt.
    pub(crate) fn validate_prompt(&self, image_token_id: u32) -> Result<(), Error> {
        let ids = &self.input.ids;
        if ids.len() < 2 {
            return Err(self.fault("has fewer than 2 tokens"));
        }
        match ids.last() == Some(&image_token_id) {
            true => Err(self.fault("ends in an image token")),
            false => Ok(()),
        }
    }

    /// An [`Error::Request`] that names this request's prompt.
    pub fn fault(&self, message: impl Into<String>) -> Error {
        Error::Request {
            id: self.prompt.id.clone(),
            message: message.into(),
        }
    }

    /// The tokens that the group has at the most: the prompt once and every completion at its
    /// longest.
    pub fn most_tokens(&self) -> usize {
        let completions = self
            .num_generations
            .saturating_mul(self.sampling.max_new_tokens);
        self.input.ids.len().saturating_add(completions)
    }

    /// The uniform number in `[0, 1)` by which the token at this position of a sample is drawn,
    /// both counted from 0. See [`DrawCounter`].
    pub fn uniform(&self, sample: usize, position: usize) -> f64 {
        let counter = DrawCounter {
            step: self.step,
            prompt: self.index,
            sample: sample as u32,
            position: position as u32,
        };
        counter.uniform(&self.stream)
    }
}

/// A flag that ends requests from another thread; clones are the same flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends the requests that hold this flag: their completions stay as they are, with
    /// [`StopReason::Cancelled`](visrl_core::StopReason::Cancelled).
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request with a prompt of so many tokens, for tests of what needs no model.
#[cfg(test)]
pub(crate) fn request_of(
    prompt_tokens: usize,
    group_size: usize,
    max_new_tokens: usize,
) -> GroupRequest {
    use visrl_core::Domain;
    use visrl_vlm::Positions;

    let prompt = Prompt {
        id: format!("{prompt_tokens} tokens"),
        messages: Vec::new(),
    };
    let input = ModelInput {
        ids: (0..prompt_tokens as u32).collect(),
        images: Vec::new(),
        positions: Positions {
            ids: (0..prompt_tokens as u32).map(|i| [i; 3]).collect(),
            next: prompt_tokens as u32 + 10,
        },
    };
    let stream = SeedStream::new(1, Domain::Sampling);
    let mut request = GroupRequest::new(Arc::new(prompt), Arc::new(input), stream);
    request.num_generations = group_size;
    request.sampling.max_new_tokens = max_new_tokens;
    request
}
