//! One decode step: a token of every row.

use rayon::prelude::*;
use visrl_vlm::{DecoderInput, ModelInfo, Output, Segment, VisionLanguageModel};

use super::policy::Policy;
use crate::error::Error;
use crate::running_group::RunningGroup;
use crate::sampler::{Sampler, SamplingContext};
use crate::stop::StopRules;

/// A group that runs, with keys and values as one segment, a row for each of its rows.
pub(super) type Running<'r> = RunningGroup<'r, Segment>;

/// Decodes a token of every row of these groups, at most `max_rows` rows at a time where groups
/// allow it, and drops the rows that it ends. What goes wrong ends the groups that it concerns.
///
/// `samplers` are as many as threads that draw.
pub(super) fn decode<M: VisionLanguageModel>(
    policy: &Policy<M>,
    stop: StopRules<'_>,
    samplers: &mut [Sampler],
    max_rows: usize,
    running: &mut [Running<'_>],
) {
    let mut start = 0;
    while start < running.len() {
        let end = start + batch_len(&running[start..], max_rows);
        let batch = &mut running[start..end];
        match forward(policy, batch) {
            Ok(logits) => sample(policy, stop, samplers, batch, &logits),
            Err(error) => {
                let lost = || Error::Device(error.to_string());
                running.iter_mut().for_each(|group| group.fail(lost()));
                return;
            }
        }
        start = end;
    }
}

/// How many of the first groups go through the decoder together: one at least.
fn batch_len(groups: &[Running<'_>], max_rows: usize) -> usize {
    let mut rows = 0;
    let fit = groups.iter().take_while(|group| {
        rows += group.rows().len();
        rows <= max_rows
    });
    fit.count().max(1)
}

/// Runs the newest token of every row through the model. The logits of what follows, `[rows, vocab]`
/// row by row.
fn forward<M: VisionLanguageModel>(
    policy: &Policy<M>,
    groups: &mut [Running<'_>],
) -> Result<Vec<f32>, Error> {
    let (mut ids, mut positions) = (Vec::new(), Vec::new());
    for group in &*groups {
        group.push_inputs(&mut ids, &mut positions);
    }
    let taken =
        |group: &mut Running<'_>| std::mem::replace(&mut group.cache, Segment::prompts(0, 1));
    let mut segments: Vec<Segment> = groups.iter_mut().map(taken).collect();
    let tokens = DecoderInput {
        ids: &ids,
        positions: &positions,
        image_features: None,
    };
    let hidden = policy
        .model
        .forward(tokens, &mut segments, Output::Hidden)?;
    for (group, segment) in groups.iter_mut().zip(segments) {
        group.cache = segment;
    }
    let hidden = hidden.ok_or_else(|| Error::Device("no hidden states".into()))?;
    policy.logits(hidden)
}

/// A group and the logits of its rows, `[rows, vocab]`.
struct Draws<'g, 'r> {
    group: &'g mut Running<'r>,
    logits: &'g [f32],
    /// The position at which a row had nothing to draw from.
    failed_at: Option<usize>,
}

/// Draws the next token of every row, a share of the groups on each thread.
fn sample<M: VisionLanguageModel>(
    policy: &Policy<M>,
    stop: StopRules<'_>,
    samplers: &mut [Sampler],
    groups: &mut [Running<'_>],
    mut logits: &[f32],
) {
    let info = policy.model.info();
    let mut draws = Vec::with_capacity(groups.len());
    for group in groups {
        let (own, rest) = logits.split_at(group.rows().len() * info.vocab_size);
        logits = rest;
        draws.push(Draws {
            group,
            logits: own,
            failed_at: None,
        });
    }
    let share = draws.len().div_ceil(samplers.len()).max(1);
    let shares = draws.par_chunks_mut(share).zip(samplers);
    shares.for_each(|(draws, sampler)| {
        for draws in draws {
            draws.run(sampler, info, &stop);
        }
    });
    for Draws {
        group, failed_at, ..
    } in draws
    {
        if let Some(position) = failed_at {
            let error = policy.diagnose(group.request(), position, &group.cache.cache);
            group.fail(error);
        } else if let Some(stay) = group.drop_ended_rows()
            && !stay.is_empty()
        {
            group.cache = group.cache.select_rows(&stay);
        }
    }
}

impl Draws<'_, '_> {
    fn run(&mut self, sampler: &mut Sampler, info: &ModelInfo, stop: &StopRules<'_>) {
        let request = self.group.request();
        for (row, logits) in self.logits.chunks_exact(info.vocab_size).enumerate() {
            let completion = self.group.tokens(row);
            let choices = request.choices.as_ref();
            let allowed_ids = choices.map(|list| list.after(completion, &info.eos_token_ids));
            let context = SamplingContext {
                banned_ids: &info.banned_ids,
                prompt: &request.input.ids,
                completion,
                allowed_ids: allowed_ids.as_deref(),
            };
            let u = self.group.uniform(row);
            match sampler.sample(logits, &request.sampling, context, u) {
                Some(drawn) => self.group.push(row, drawn, stop),
                None => {
                    self.failed_at = Some(completion.len());
                    return;
                }
            }
        }
    }
}
