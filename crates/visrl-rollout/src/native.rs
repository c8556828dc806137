use std::sync::Arc;

use burn::tensor::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use visrl_core::{Completion, Group, StopReason};
use visrl_vlm::{
    FeatureStore, Output, Segment, SharedPrompt, TokenBatch, Tokenizer, VisionLanguageModel,
    prefill,
};

use crate::{Context, Error, GroupRequest, PolicySync, RolloutEngine, Sampled, Sampler};

/// Limits of a [`NativeEngine`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// The most sequences that are decoded together; a group is never split.
    pub max_sequences: usize,
    /// The most prompt tokens that are encoded together.
    pub max_prefill_tokens: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_sequences: 256,
            max_prefill_tokens: 16_384,
        }
    }
}

/// Samples from a model in this process.
///
/// Requests are taken in batches within the limits of [`EngineConfig`]. Image and prompt are
/// encoded once per group; a group leaves the batch when its last sample has ended.
#[derive(Debug)]
pub struct NativeEngine<M> {
    model: M,
    head: Tensor<2>,
    features: Arc<FeatureStore>,
    tokenizer: Arc<Tokenizer>,
    config: EngineConfig,
}

impl<M: VisionLanguageModel> NativeEngine<M> {
    /// An engine over a snapshot of the model without gradient tracking, which shares its storage.
    ///
    /// `features` keeps encoded images; share one store between engine and learner when the
    /// vision tower is frozen.
    pub fn new(
        model: &M,
        tokenizer: Arc<Tokenizer>,
        features: Arc<FeatureStore>,
        config: EngineConfig,
    ) -> Self {
        let model = model.valid();
        let head = contiguous_head(&model);
        Self {
            model,
            head,
            features,
            tokenizer,
            config,
        }
    }

    /// The model that is sampled from.
    pub fn model(&self) -> &M {
        &self.model
    }

    fn check(&self, request: &GroupRequest) -> Result<(), Error> {
        request.sampling.validate()?;
        let fault = |message: &str| {
            Err(Error::Request {
                id: request.prompt.id.clone(),
                message: message.to_owned(),
            })
        };
        if request.num_generations == 0 {
            return fault("asks for 0 completions");
        }
        if request.input.ids.len() < 2 {
            return fault("has fewer than 2 tokens");
        }
        if request.input.ids.last() == Some(&self.model.info().image_token_id) {
            return fault("ends in an image token");
        }
        Ok(())
    }

    /// Samples requests that fit the limits, in the order given by `batch`.
    fn run(&self, requests: &[GroupRequest], batch: &[usize]) -> Result<Vec<Rows>, Error> {
        let prompts: Vec<_> = batch
            .iter()
            .map(|&i| SharedPrompt {
                input: &requests[i].input,
                rows: requests[i].num_generations,
            })
            .collect();
        let mut segments = prefill(&self.model, Some(&self.features), &prompts)?;
        let mut members = batch.iter().map(|&i| Rows::new(i, &requests[i]));
        let mut active: Vec<Vec<Rows>> = segments
            .iter()
            .map(|segment| members.by_ref().take(segment.groups).collect())
            .collect();
        let mut done = Vec::with_capacity(batch.len());
        let mut samplers = vec![Sampler::default(); rayon::current_num_threads()];
        let mut position = 0;
        while !segments.is_empty() {
            let (mut ids, mut positions) = (Vec::new(), Vec::new());
            for rows in active.iter().flatten() {
                rows.next_tokens(&requests[rows.request], &mut ids, &mut positions);
            }
            let tokens = TokenBatch {
                ids: &ids,
                positions: &positions,
                image_features: None,
            };
            let hidden = self.model.forward(tokens, &mut segments, Output::Hidden)?;
            let hidden = hidden.ok_or_else(|| Error::Device("no hidden states".into()))?;
            let vocab = self.model.info().vocab_size;
            let logits: Vec<f32> = visrl_vlm::kernels::matmul(hidden, self.head.clone())
                .try_into_vec_as()
                .map_err(|error| Error::Device(error.to_string()))?;
            let mut logits = logits.as_slice();
            let mut work: Vec<(&mut Rows, &[f32])> = Vec::new();
            for rows in active.iter_mut().flatten() {
                let (own, rest) = logits.split_at(rows.completions.len() * vocab);
                work.push((rows, own));
                logits = rest;
            }
            let info = self.model.info();
            let share = work.len().div_ceil(samplers.len());
            let shares = work.par_chunks_mut(share).zip(&mut samplers);
            shares.try_for_each(|(work, sampler)| {
                work.iter_mut().try_for_each(|(rows, logits)| {
                    rows.advance(
                        &requests[rows.request],
                        logits,
                        vocab,
                        position,
                        sampler,
                        |token| info.eos_token_ids.contains(&token),
                        &info.unsampled_ids,
                    )
                })
            })?;
            position += 1;
            self.leave(&mut segments, &mut active, &mut done);
        }
        Ok(done)
    }

    /// Takes groups whose samples have all ended out of the batch.
    fn leave(
        &self,
        segments: &mut Vec<Segment>,
        active: &mut Vec<Vec<Rows>>,
        done: &mut Vec<Rows>,
    ) {
        for (segment, groups) in segments.iter_mut().zip(active.iter_mut()) {
            if !groups.iter().any(Rows::ended) {
                continue;
            }
            let stay: Vec<usize> = (0..groups.len()).filter(|&i| !groups[i].ended()).collect();
            let (ended, staying) = std::mem::take(groups).into_iter().partition(Rows::ended);
            let ended: Vec<Rows> = ended;
            *groups = staying;
            done.extend(ended);
            match stay.is_empty() {
                true => segment.groups = 0,
                false => *segment = segment.select_groups(&stay),
            }
        }
        segments.retain(|segment| segment.groups > 0);
        active.retain(|groups| !groups.is_empty());
    }

    /// Splits requests, sorted by the shape of their sequences, into batches within the limits.
    fn batches(&self, requests: &[GroupRequest]) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..requests.len()).collect();
        order.sort_by_key(|&i| (requests[i].input.ids.len(), requests[i].num_generations));
        let mut batches: Vec<Vec<usize>> = Vec::new();
        let (mut sequences, mut tokens) = (0, 0);
        for index in order {
            let request = &requests[index];
            let (more_sequences, more_tokens) = (request.num_generations, request.input.ids.len());
            sequences += more_sequences;
            tokens += more_tokens;
            let full =
                sequences > self.config.max_sequences || tokens > self.config.max_prefill_tokens;
            match batches.last_mut() {
                Some(batch) if !full => batch.push(index),
                _ => {
                    batches.push(vec![index]);
                    (sequences, tokens) = (more_sequences, more_tokens);
                }
            }
        }
        batches
    }
}

impl<M: VisionLanguageModel> RolloutEngine for NativeEngine<M> {
    fn generate(&mut self, requests: &[GroupRequest]) -> Result<Vec<Group>, Error> {
        for request in requests {
            self.check(request)?;
        }
        let mut groups: Vec<Option<Group>> = vec![None; requests.len()];
        for batch in self.batches(requests) {
            for rows in self.run(requests, &batch)? {
                let request = &requests[rows.request];
                let mut completions = rows.completions;
                for completion in &mut completions {
                    completion.text = self.tokenizer.decode(&completion.tokens, true);
                }
                let prompt = Arc::clone(&request.prompt);
                groups[rows.request] = Some(Group {
                    prompt,
                    completions,
                });
            }
        }
        Ok(groups.into_iter().flatten().collect())
    }
}

impl<M: VisionLanguageModel> PolicySync<M> for NativeEngine<M> {
    fn set_policy(&mut self, policy: &M) -> Result<(), Error> {
        self.model = policy.valid();
        self.head = contiguous_head(&self.model);
        Ok(())
    }
}

/// The head with its rows in memory one after another: multiplying a few rows by a transposed view
/// is several times slower.
fn contiguous_head<M: VisionLanguageModel>(model: &M) -> Tensor<2> {
    model.head() * 1.0
}

/// The growing completions of one request.
#[derive(Debug)]
struct Rows {
    request: usize,
    completions: Vec<Completion>,
    running: Vec<bool>,
}

impl Rows {
    fn new(request: usize, from: &GroupRequest) -> Self {
        let empty = Completion {
            tokens: Vec::new(),
            logprobs: Vec::new(),
            text: String::new(),
            stop: StopReason::MaxTokens,
        };
        let count = from.num_generations;
        Self {
            request,
            completions: vec![empty; count],
            running: vec![true; count],
        }
    }

    fn ended(&self) -> bool {
        !self.running.contains(&true)
    }

    /// The last token of each row with its position; ended rows repeat theirs.
    fn next_tokens(&self, request: &GroupRequest, ids: &mut Vec<u32>, out: &mut Vec<[u32; 3]>) {
        let input = &request.input;
        for completion in &self.completions {
            match completion.tokens.last() {
                Some(&id) => {
                    ids.push(id);
                    out.push([input.positions.next + completion.tokens.len() as u32 - 1; 3]);
                }
                None => {
                    ids.extend(input.ids.last());
                    out.extend(input.positions.ids.last());
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn advance(
        &mut self,
        request: &GroupRequest,
        logits: &[f32],
        vocab: usize,
        position: usize,
        sampler: &mut Sampler,
        is_eos: impl Fn(u32) -> bool,
        banned: &[u32],
    ) -> Result<(), Error> {
        for (sample, logits) in logits.chunks_exact(vocab).enumerate() {
            if !self.running[sample] {
                continue;
            }
            let counter = [request.step, request.index, sample as u32, position as u32];
            let u = request.stream.uniform(counter);
            let completion = &mut self.completions[sample];
            let (prompt, tokens) = (&request.input.ids, &completion.tokens);
            let context = Context {
                banned,
                prompt,
                completion: tokens,
            };
            let Sampled { token, logprob, .. } = sampler
                .sample(logits, &request.sampling, context, u)
                .ok_or_else(|| Error::NotFinite {
                    id: request.prompt.id.clone(),
                    position,
                })?;
            completion.tokens.push(token);
            completion.logprobs.push(logprob);
            if is_eos(token) {
                completion.stop = StopReason::Eos;
                self.running[sample] = false;
            } else if position + 1 == request.sampling.max_new_tokens {
                self.running[sample] = false;
            }
        }
        Ok(())
    }
}
