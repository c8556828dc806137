//! Encoding image and prompt once per group.

use std::sync::Arc;

use burn::tensor::Tensor;

use crate::{
    Error, FeatureStore, Output, Positions, ProcessedImage, Segment, TokenBatch,
    VisionLanguageModel,
};

/// A prompt as the model reads it.
#[derive(Clone, Debug)]
pub struct ModelInput {
    /// Token ids, image tokens expanded.
    pub ids: Vec<u32>,
    /// The images, in order, each held once.
    pub images: Vec<Arc<ProcessedImage>>,
    /// Rotary positions of the tokens.
    pub positions: Positions,
}

/// A prompt and the number of completions that will share it.
#[derive(Clone, Copy, Debug)]
pub struct SharedPrompt<'a> {
    /// The prompt.
    pub input: &'a ModelInput,
    /// The number of rows that attend to it.
    pub rows: usize,
}

/// Encodes all but the last token of prompts, for completions to share.
///
/// A row of completions then starts with the prompt's last token, whose output predicts the first
/// completion token; so prompt positions never reach the head, and the last layer computes nothing
/// but keys and values for them.
///
/// Neighbouring prompts of equal length and as many rows come as one segment, which is ready for the
/// first token of its rows; sort prompts to have few segments.
/// Image features come from `features`, or are computed here, with gradients when the model tracks
/// them, when there is no store.
///
/// # Errors
/// [`Error::Input`] for a prompt of fewer than two tokens or one that does not fit its images.
pub fn prefill<M: VisionLanguageModel>(
    model: &M,
    features: Option<&FeatureStore>,
    prompts: &[SharedPrompt<'_>],
) -> Result<Vec<Segment>, Error> {
    let mut ids = Vec::new();
    let mut positions = Vec::new();
    let mut images = Vec::new();
    let mut segments: Vec<Segment> = Vec::new();
    let mut rows: Vec<usize> = Vec::new();
    for prompt in prompts {
        let input = prompt.input;
        let len = input.ids.len().saturating_sub(1);
        if len == 0 || input.positions.ids.len() != len + 1 {
            return Err(Error::Input(format!(
                "a prompt of {} tokens with {} positions cannot be encoded",
                input.ids.len(),
                input.positions.ids.len()
            )));
        }
        ids.extend_from_slice(&input.ids[..len]);
        positions.extend_from_slice(&input.positions.ids[..len]);
        images.extend(input.images.iter().cloned());
        match segments.last_mut() {
            Some(last) if last.len == len && rows.last() == Some(&prompt.rows) => last.groups += 1,
            _ => {
                segments.push(Segment::prompts(1, len));
                rows.push(prompt.rows);
            }
        }
    }
    if prompts.is_empty() {
        return Ok(segments);
    }
    let features = match features {
        Some(store) => store
            .get(model, &images)?
            .map(|kept| like_head(model, kept)),
        None if images.is_empty() => None,
        None => Some(model.encode_images(&images)?),
    };
    let batch = TokenBatch {
        ids: &ids,
        positions: &positions,
        image_features: features.as_ref(),
    };
    model.forward(batch, &mut segments, Output::Cache)?;
    for (segment, rows) in segments.iter_mut().zip(rows) {
        segment.cache = std::mem::take(&mut segment.cache).into_prefix();
        (segment.rows, segment.len) = (rows, 1);
    }
    Ok(segments)
}

/// Lifts a plain tensor to the model's autodiff device, if it is on one.
fn like_head<M: VisionLanguageModel>(model: &M, tensor: Tensor<2>) -> Tensor<2> {
    if model.head().is_autodiff() {
        tensor.autodiff()
    } else {
        tensor
    }
}
