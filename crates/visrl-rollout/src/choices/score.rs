//! The probabilities of a closed list of answers.

use burn::tensor::Tensor;
use visrl_vlm::{
    DecoderInput, FeatureStore, ModelInput, Output, SharedPrompt, VisionLanguageModel, prefill,
};

use super::token_choices::TokenChoices;
use crate::error::Error;

/// Rows of logits that are held at a time.
const CHUNK: usize = 256;

/// How likely a model finds each of a list of answers.
#[derive(Clone, Debug, PartialEq)]
pub struct ChoiceScores {
    /// The log-probability of each choice as a whole completion, end token included, in nats under
    /// the full softmax at temperature 1.
    pub logps: Vec<f32>,
    /// The number of tokens of each choice, end token included.
    pub lengths: Vec<usize>,
}

impl ChoiceScores {
    /// The probability of each choice, given that the answer is one of them:
    /// `softmax(logps / temperature)`.
    ///
    /// At temperature 1 they are the model's own; [`fit_temperature`](crate::fit_temperature) finds
    /// the one at which they are calibrated on examples with known answers.
    pub fn probabilities(&self, temperature: f64) -> Vec<f64> {
        let scaled = self.logps.iter().map(|&x| f64::from(x) / temperature);
        let largest = scaled.clone().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scaled.map(|x| (x - largest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    }

    /// The most likely choice; of equally likely ones, the first.
    pub fn best(&self) -> Option<usize> {
        let mut best: Option<usize> = None;
        for (index, x) in self.logps.iter().enumerate() {
            if best.is_none_or(|best| *x > self.logps[best]) {
                best = Some(index);
            }
        }
        best
    }
}

/// Computes the log-probability of each choice after a prompt, which is encoded once: a
/// classification head that needs no sampling.
///
/// An end token counts as any of the model's end tokens. The choices run through the model as the
/// rows of one group, padded to the longest.
///
/// # Errors
/// What the model says of unfit input; [`Error::NotFinite`] when a probability is not a number.
pub fn score_choices<M: VisionLanguageModel>(
    model: &M,
    features: Option<&FeatureStore>,
    input: &ModelInput,
    choices: &TokenChoices,
) -> Result<ChoiceScores, Error> {
    let scores = score_choices_of_all(model, features, &[(input, choices)])?;
    let mut scores = scores.into_iter();
    scores
        .next()
        .ok_or_else(|| Error::Device("no scores".into()))
}

/// As [`score_choices`], of several prompts, each with choices of its own, in one pass through the
/// model: quicker, and all that is held at a time grows with the prompts and their choices.
///
/// # Errors
/// As [`score_choices`].
pub fn score_choices_of_all<M: VisionLanguageModel>(
    model: &M,
    features: Option<&FeatureStore>,
    asked: &[(&ModelInput, &TokenChoices)],
) -> Result<Vec<ChoiceScores>, Error> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let model = model.valid();
    let prompts: Vec<_> = asked
        .iter()
        .map(|(input, choices)| SharedPrompt {
            input,
            rows: choices.tokens().len(),
        })
        .collect();
    let mut segments = prefill(&model, features, &prompts)?;
    let len = asked.iter().map(|(_, choices)| choices.longest());
    let len = len.max().unwrap_or(1);
    segments.iter_mut().for_each(|segment| segment.len = len);
    let (mut ids, mut positions) = (Vec::new(), Vec::new());
    // For each row of hidden states that counts: its place, its row and the position in it.
    let mut places = Vec::new();
    let mut rows: Vec<&[u32]> = Vec::new();
    for (input, choices) in asked {
        let last = input.ids.last().copied().unwrap_or_default();
        let next = input.positions.next;
        for tokens in choices.tokens() {
            let row = rows.len();
            places.extend((0..=tokens.len()).map(|position| (ids.len() + position, row, position)));
            rows.push(tokens);
            ids.push(last);
            positions.extend(input.positions.ids.last());
            // Padding repeats the last token; it comes after all that counts.
            ids.extend((1..len).map(|at| tokens[(at - 1).min(tokens.len() - 1)]));
            positions.extend((1..len).map(|at| [next + at as u32 - 1; 3]));
        }
    }
    let batch = DecoderInput {
        ids: &ids,
        positions: &positions,
        image_features: None,
    };
    let hidden = model.forward(batch, &mut segments, Output::Hidden)?;
    let hidden = hidden.ok_or_else(|| Error::Device("no hidden states".into()))?;
    let head: Tensor<2> = model.head();
    let eos = &model.info().eos_token_ids;
    let mut logps = vec![0.0f64; rows.len()];
    for chunk in places.chunks(CHUNK) {
        let index: Vec<i64> = chunk.iter().map(|&(place, ..)| place as i64).collect();
        let count = index.len();
        let index = burn::tensor::TensorData::new(index, [count]);
        let index = Tensor::<1, burn::tensor::Int>::from_data(index, &hidden.device());
        let logits = visrl_kernels::matmul(hidden.clone().select(0, index), head.clone());
        let vocab = logits.dims()[1];
        let logits: Vec<f32> = logits
            .try_into_vec_as()
            .map_err(|error| Error::Device(error.to_string()))?;
        for (&(_, row, position), logits) in chunk.iter().zip(logits.chunks_exact(vocab)) {
            let targets = match rows[row].get(position) {
                Some(token) => std::slice::from_ref(token),
                None => eos.as_slice(),
            };
            logps[row] += logp_of(logits, targets);
        }
    }
    if let Some(row) = logps.iter().position(|x| x.is_nan()) {
        return Err(Error::NotFinite {
            id: format!("choice {row}"),
            position: 0,
            layer: segments
                .iter()
                .find_map(|segment| segment.cache.first_damaged_layer()),
            parameter: None,
        });
    }
    let mut logps = logps.into_iter().map(|x| x as f32);
    let scores = asked.iter().map(|(_, choices)| {
        let tokens = choices.tokens();
        ChoiceScores {
            logps: logps.by_ref().take(tokens.len()).collect(),
            lengths: tokens.iter().map(|tokens| tokens.len() + 1).collect(),
        }
    });
    Ok(scores.collect())
}

/// The log-probability of drawing one of these tokens.
fn logp_of(logits: &[f32], targets: &[u32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp = |x: f32| f64::from(x - largest).exp();
    let all: f64 = logits.iter().map(|&x| exp(x)).sum();
    let some: f64 = targets
        .iter()
        .filter_map(|&id| logits.get(id as usize))
        .map(|&x| exp(x))
        .sum();
    (some / all).ln()
}
