use std::collections::VecDeque;
use std::sync::Arc;

use burn::tensor::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use visrl_core::{Completion, Group};
use visrl_vlm::{
    DecoderInput, FeatureStore, Output, Segment, SharedPrompt, Tokenizer, VisionLanguageModel,
    prefill, visit_parameters,
};

use crate::{Error, GroupRequest, PolicySync, RolloutEngine, Sampler};

mod prefixes;
mod rows;

use prefixes::Prefixes;
use rows::Rows;

/// Limits of a [`NativeEngine`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// The most sequences that are decoded together. A group is never split: one that has more runs
    /// alone.
    pub max_sequences: usize,
    /// The most prompt tokens that are encoded together; a longer prompt is encoded alone.
    pub max_prefill_tokens: usize,
    /// The most tokens whose keys and values are held for groups that run: each prompt once and
    /// every completion at its longest. A group that needs more is refused. 0 sets no limit.
    pub max_cached_tokens: usize,
    /// The most prompt tokens whose keys and values are kept for prompts that come again while the
    /// weights stay as they are, as in an evaluation that follows another.
    pub kept_prompt_tokens: usize,
    /// Makes every group independent of the groups beside it to the last bit, at the price of
    /// speed: each image and each prompt is encoded alone, and no more than
    /// [`visrl_kernels::FEW_ROWS`] rows are multiplied together. Holds on the flex backend in
    /// f32. Without it, rounding may differ with the rows beside, which is seen where two tokens
    /// are almost equally likely.
    pub batch_invariant: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_sequences: 256,
            max_prefill_tokens: 16_384,
            max_cached_tokens: 0,
            kept_prompt_tokens: 0,
            batch_invariant: false,
        }
    }
}

/// Samples from a model in this process.
///
/// Image and prompt are encoded once per group. A sample leaves the batch as soon as it ends, and
/// waiting groups enter as soon as there is room (continuous batching).
#[derive(Debug)]
pub struct NativeEngine<M> {
    model: M,
    head: Tensor<2>,
    features: Arc<FeatureStore>,
    tokenizer: Arc<Tokenizer>,
    config: EngineConfig,
    prefixes: Prefixes,
}

/// A group that is being decoded.
struct Live {
    request: usize,
    segment: Segment,
    /// The samples that still run, one for each row of the segment.
    samples: Vec<usize>,
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
        let prefixes = Prefixes::new(config.kept_prompt_tokens);
        Self {
            model,
            head,
            features,
            tokenizer,
            config,
            prefixes,
        }
    }

    /// The model that is sampled from.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// Tokens whose keys and values a request needs at the most.
    fn tokens_needed(request: &GroupRequest) -> usize {
        let completions = request.num_generations * request.sampling.max_new_tokens;
        request.input.ids.len() + completions
    }

    fn check(&self, request: &GroupRequest) -> Result<(), Error> {
        request.sampling.validate()?;
        let fault = |message: String| {
            Err(Error::Request {
                id: request.prompt.id.clone(),
                message,
            })
        };
        if request.num_generations == 0 {
            return fault("asks for 0 completions".into());
        }
        if request.input.ids.len() < 2 {
            return fault("has fewer than 2 tokens".into());
        }
        if request.input.ids.last() == Some(&self.model.info().image_token_id) {
            return fault("ends in an image token".into());
        }
        let (needed, most) = (Self::tokens_needed(request), self.config.max_cached_tokens);
        if most > 0 && needed > most {
            return fault(format!(
                "needs room for {needed} tokens, prompt and completions together, and \
                 `max_cached_tokens` is {most}"
            ));
        }
        Ok(())
    }

    /// Takes waiting requests into the batch as long as there is room.
    fn admit(
        &mut self,
        requests: &[GroupRequest],
        waiting: &mut VecDeque<usize>,
        live: &mut Vec<Live>,
        results: &mut [Option<Result<Rows, Error>>],
    ) {
        let held = |live: &[Live]| -> (usize, usize) {
            let sequences = live.iter().map(|group| group.samples.len()).sum();
            let tokens = live
                .iter()
                .map(|group| Self::tokens_needed(&requests[group.request]));
            (sequences, tokens.sum())
        };
        let (mut sequences, mut tokens) = held(live);
        let mut chosen = Vec::new();
        let mut prefilled = 0;
        while let Some(&index) = waiting.front() {
            let request = &requests[index];
            let more = (request.num_generations, Self::tokens_needed(request));
            let prompt = request.input.ids.len();
            let over = |sum: usize, most: usize| most > 0 && sum > most;
            let alone = live.is_empty() && chosen.is_empty();
            let full = over(sequences + more.0, self.config.max_sequences)
                || over(tokens + more.1, self.config.max_cached_tokens)
                || over(prefilled + prompt, self.config.max_prefill_tokens);
            if full && !alone {
                break;
            }
            waiting.pop_front();
            if request.cancel.is_cancelled() {
                results[index] = Some(Ok(Rows::new(request)));
                continue;
            }
            chosen.push(index);
            sequences += more.0;
            tokens += more.1;
            prefilled += prompt;
        }
        let together = match self.config.batch_invariant {
            true => 1,
            false => chosen.len().max(1),
        };
        for part in chosen.chunks(together) {
            let segments = match self.encode(requests, part) {
                Ok(segments) => segments.into_iter().map(Ok).collect(),
                // One of them is at fault; the others go on.
                Err(_) => part
                    .iter()
                    .map(|&index| Ok(self.encode(requests, &[index])?.remove(0)))
                    .collect::<Vec<Result<_, Error>>>(),
            };
            for (&request, segment) in part.iter().zip(segments) {
                match segment {
                    Ok(segment) => {
                        results[request] = Some(Ok(Rows::new(&requests[request])));
                        live.push(Live {
                            request,
                            samples: (0..segment.rows).collect(),
                            segment,
                        });
                    }
                    Err(error) => results[request] = Some(Err(error)),
                }
            }
        }
    }

    /// One segment for each request, ready for the first token of its rows.
    fn encode(
        &mut self,
        requests: &[GroupRequest],
        chosen: &[usize],
    ) -> Result<Vec<Segment>, Error> {
        let mut found: Vec<Option<Segment>> = chosen
            .iter()
            .map(|&index| {
                let request = &requests[index];
                let cache = self.prefixes.get(&request.input)?;
                Some(Segment {
                    groups: 1,
                    rows: request.num_generations,
                    len: 1,
                    cache,
                })
            })
            .collect();
        let missing: Vec<usize> = (0..chosen.len()).filter(|&i| found[i].is_none()).collect();
        let prompts: Vec<_> = missing
            .iter()
            .map(|&i| SharedPrompt {
                input: &requests[chosen[i]].input,
                rows: requests[chosen[i]].num_generations,
            })
            .collect();
        if self.config.batch_invariant {
            // Which of several images are kept already must not matter.
            let several = prompts
                .iter()
                .filter(|prompt| prompt.input.images.len() > 1);
            for image in several.flat_map(|prompt| &prompt.input.images) {
                self.features
                    .get(&self.model, std::slice::from_ref(image))?;
            }
        }
        let segments = prefill(&self.model, Some(&self.features), &prompts)?;
        let segments = segments.into_iter().flat_map(Segment::split_groups);
        for (i, segment) in missing.into_iter().zip(segments) {
            let input = &requests[chosen[i]].input;
            self.prefixes.keep(input, &segment.cache);
            found[i] = Some(segment);
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Decodes one token of every sequence in the batch.
    fn step(
        &self,
        requests: &[GroupRequest],
        live: &mut [Live],
        results: &mut [Option<Result<Rows, Error>>],
        samplers: &mut [Sampler],
    ) -> Result<(), Error> {
        let (mut ids, mut positions) = (Vec::new(), Vec::new());
        for group in &*live {
            if let Some(Ok(rows)) = &results[group.request] {
                rows.next_tokens(
                    &requests[group.request],
                    &group.samples,
                    &mut ids,
                    &mut positions,
                );
            }
        }
        let mut segments: Vec<Segment> = live
            .iter_mut()
            .map(|group| {
                let shape = Segment::prompts(0, 1);
                std::mem::replace(&mut group.segment, shape)
            })
            .collect();
        let tokens = DecoderInput {
            ids: &ids,
            positions: &positions,
            image_features: None,
        };
        let hidden = self.model.forward(tokens, &mut segments, Output::Hidden)?;
        for (group, segment) in live.iter_mut().zip(segments) {
            group.segment = segment;
        }
        let hidden = hidden.ok_or_else(|| Error::Device("no hidden states".into()))?;
        let info = self.model.info();
        let vocab = info.vocab_size;
        let logits: Vec<f32> = visrl_kernels::matmul(hidden, self.head.clone())
            .try_into_vec_as()
            .map_err(|error| Error::Device(error.to_string()))?;

        let mut logits = logits.as_slice();
        let mut by_request: Vec<Option<&mut Rows>> = results
            .iter_mut()
            .map(|result| result.as_mut()?.as_mut().ok())
            .collect();
        let mut work = Vec::with_capacity(live.len());
        for group in &*live {
            let (own, rest) = logits.split_at(group.samples.len() * vocab);
            logits = rest;
            if let Some(rows) = by_request[group.request].take() {
                work.push((group, rows, own));
            }
        }
        let share = work.len().div_ceil(samplers.len()).max(1);
        let tokenizer = &*self.tokenizer;
        let shares = work.par_chunks_mut(share).zip(samplers);
        shares.for_each(|(work, sampler)| {
            for (group, rows, logits) in work {
                let request = &requests[group.request];
                for (&sample, logits) in group.samples.iter().zip(logits.chunks_exact(vocab)) {
                    rows.advance(request, sample, logits, sampler, info, tokenizer);
                }
            }
        });
        Ok(())
    }

    /// Takes what has ended out of the batch.
    fn leave(
        &self,
        requests: &[GroupRequest],
        live: &mut Vec<Live>,
        results: &mut [Option<Result<Rows, Error>>],
    ) {
        live.retain_mut(|group| {
            let Some(Ok(rows)) = &mut results[group.request] else {
                return false;
            };
            if let Some(position) = rows.damaged {
                let error = self.diagnose(&requests[group.request], position, &group.segment);
                results[group.request] = Some(Err(error));
                return false;
            }
            if requests[group.request].cancel.is_cancelled() {
                rows.cancel();
                return false;
            }
            let stay: Vec<usize> = (0..group.samples.len())
                .filter(|&row| rows.running[group.samples[row]])
                .collect();
            if stay.is_empty() {
                return false;
            }
            if stay.len() < group.samples.len() {
                group.segment = group.segment.select_rows(&stay);
                group.samples = stay.iter().map(|&row| group.samples[row]).collect();
            }
            true
        });
    }

    /// Where numbers that are not finite come from.
    fn diagnose(&self, request: &GroupRequest, position: usize, segment: &Segment) -> Error {
        let mut parameter = None;
        visit_parameters(&self.model, |p| {
            if parameter.is_none() {
                // 0 for each finite number, NaN for others.
                let sum = (p.values * 0.0).sum().into_scalar::<f32>();
                parameter = (!sum.is_finite()).then_some(p.name);
            }
        });
        Error::NotFinite {
            id: request.prompt.id.clone(),
            position,
            layer: segment.cache.first_damaged_layer(),
            parameter,
        }
    }

    /// Ends every group of the batch with what stopped it.
    fn fail(live: &mut Vec<Live>, results: &mut [Option<Result<Rows, Error>>], error: &Error) {
        for group in live.drain(..) {
            results[group.request] = Some(Err(Error::Device(error.to_string())));
        }
    }

    /// Groups that go through the decoder together.
    fn parts(&self, live: &[Live]) -> Vec<usize> {
        let most = match self.config.batch_invariant {
            true => visrl_kernels::FEW_ROWS,
            false => usize::MAX,
        };
        let mut parts: Vec<(usize, usize)> = Vec::new();
        for group in live {
            let rows = group.samples.len();
            match parts.last_mut() {
                Some((groups, sum)) if *sum + rows <= most => {
                    *groups += 1;
                    *sum += rows;
                }
                _ => parts.push((1, rows)),
            }
        }
        parts.into_iter().map(|(groups, _)| groups).collect()
    }
}

impl<M: VisionLanguageModel> RolloutEngine for NativeEngine<M> {
    #[tracing::instrument(skip_all, fields(groups = requests.len()))]
    fn generate_each(&mut self, requests: &[GroupRequest]) -> Vec<Result<Group, Error>> {
        let head = self.head.clone();
        visrl_kernels::on_rayon_worker(&head, || self.generate_here(requests))
    }
}

impl<M: VisionLanguageModel> NativeEngine<M> {
    fn generate_here(&mut self, requests: &[GroupRequest]) -> Vec<Result<Group, Error>> {
        let mut results: Vec<Option<Result<Rows, Error>>> = requests
            .iter()
            .map(|request| self.check(request).err().map(Err))
            .collect();
        let mut order: Vec<usize> = (0..requests.len())
            .filter(|&i| results[i].is_none())
            .collect();
        order.sort_by_key(|&i| (requests[i].input.ids.len(), requests[i].num_generations));
        let mut waiting = VecDeque::from(order);
        let mut live = Vec::new();
        let mut samplers = vec![Sampler::default(); rayon::current_num_threads()];
        loop {
            self.admit(requests, &mut waiting, &mut live, &mut results);
            if live.is_empty() && waiting.is_empty() {
                break;
            }
            let mut rest = live.as_mut_slice();
            let mut failed = None;
            for groups in self.parts(rest) {
                let (part, others) = rest.split_at_mut(groups);
                rest = others;
                if let Err(error) = self.step(requests, part, &mut results, &mut samplers) {
                    failed = Some(error);
                    break;
                }
            }
            match failed {
                Some(error) => Self::fail(&mut live, &mut results, &error),
                None => self.leave(requests, &mut live, &mut results),
            }
        }
        let finished = requests.iter().zip(results);
        let finished = finished.map(|(request, result)| {
            let rows = result.unwrap_or_else(|| Ok(Rows::new(request)))?;
            let completions = rows.completions.into_iter().map(|completion| Completion {
                text: self.tokenizer.decode(&completion.tokens, true),
                ..completion
            });
            Ok(Group {
                prompt: Arc::clone(&request.prompt),
                completions: completions.collect(),
            })
        });
        finished.collect()
    }
}

impl<M: VisionLanguageModel> PolicySync<M> for NativeEngine<M> {
    fn set_policy(&mut self, policy: &M) -> Result<(), Error> {
        self.model = policy.valid();
        self.head = contiguous_head(&self.model);
        self.prefixes.clear();
        Ok(())
    }
}

/// The head with its rows in memory one after another: multiplying a few rows by a transposed view
/// is several times slower.
fn contiguous_head<M: VisionLanguageModel>(model: &M) -> Tensor<2> {
    model.head() * 1.0
}
