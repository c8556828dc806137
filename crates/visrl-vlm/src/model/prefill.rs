//! Encoding image and prompt once per group.

use std::sync::Arc;

use burn::tensor::Tensor;

use visrl_image::ProcessedImage;
use visrl_kernels::on_rayon_worker;

use super::decoder_input::DecoderInput;
use super::feature_store::FeatureStore;
use super::positions::Positions;
use super::segment::Segment;
use super::vision_language_model::{Output, VisionLanguageModel};
use crate::error::Error;

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
/// Neighbouring prompts of equal length and as many rows come as one segment, which is ready for
/// the first token of its rows; sort prompts to have few segments. Image features come from
/// `features`, or are computed here, with gradients when the model tracks them, when there is no
/// store.
///
/// # Errors
/// [`Error::Input`] for a prompt of fewer than two tokens, one whose positions differ in number
/// from its tokens, and one whose image tokens do not fit the features of its images.
pub fn prefill<M: VisionLanguageModel>(
    model: &M,
    features: Option<&FeatureStore>,
    prompts: &[SharedPrompt<'_>],
) -> Result<Vec<Segment>, Error> {
    on_rayon_worker(&model.head(), || {
        let layout = PromptLayout::new(prompts)?;
        if prompts.is_empty() {
            return Ok(Vec::new());
        }
        let features = layout.features(model, features)?;
        let mut segments = layout.segments.clone();
        model.forward(
            layout.batch(features.as_ref()),
            &mut segments,
            Output::Cache,
        )?;
        Ok(layout.shared(segments))
    })
}

/// Prompts as the decoder reads them, all but their last tokens: the parts of [`prefill`], for
/// those who run the decoder's layers themselves.
#[derive(Clone, Debug)]
pub struct PromptLayout {
    ids: Vec<u32>,
    positions: Vec<[u32; 3]>,
    images: Vec<Arc<ProcessedImage>>,
    segments: Vec<Segment>,
    /// The rows that share the prompts of each segment.
    rows: Vec<usize>,
}

impl PromptLayout {
    /// Lays out prompts in the order given.
    ///
    /// # Errors
    /// [`Error::Input`] for a prompt of fewer than two tokens or one whose positions differ in
    /// number from its tokens.
    pub fn new(prompts: &[SharedPrompt<'_>]) -> Result<Self, Error> {
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
                Some(last) if last.len == len && rows.last() == Some(&prompt.rows) => {
                    last.groups += 1;
                }
                _ => {
                    segments.push(Segment::prompts(1, len));
                    rows.push(prompt.rows);
                }
            }
        }
        Ok(Self {
            ids,
            positions,
            images,
            segments,
            rows,
        })
    }

    /// The prompts' tokens with features of their images, as the decoder takes them.
    pub fn batch<'a>(&'a self, image_features: Option<&'a Tensor<2>>) -> DecoderInput<'a> {
        DecoderInput {
            ids: &self.ids,
            positions: &self.positions,
            image_features,
        }
    }

    /// The segments of the prompts, with nothing before them.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The features of the prompts' images, one after another, from a store, or computed here, with
    /// gradients when the model tracks them.
    ///
    /// # Errors
    /// [`Error::Input`] when an image was prepared for another model: its patches have another size
    /// or its grid cannot be merged.
    pub fn features<M: VisionLanguageModel>(
        &self,
        model: &M,
        store: Option<&FeatureStore>,
    ) -> Result<Option<Tensor<2>>, Error> {
        Ok(match store {
            Some(store) => store
                .get(model, &self.images)?
                .map(|kept| like_head(model, kept)),
            None if self.images.is_empty() => None,
            None => Some(model.encode_images(&self.images)?),
        })
    }

    /// Segments whose prompts have been through the decoder's layers, ready for the first token of
    /// the rows that share them.
    pub fn shared(&self, mut segments: Vec<Segment>) -> Vec<Segment> {
        for (segment, rows) in segments.iter_mut().zip(&self.rows) {
            segment.cache = std::mem::take(&mut segment.cache).into_prefix();
            (segment.rows, segment.len) = (*rows, 1);
        }
        segments
    }
}

/// Lifts a plain tensor to the model's autodiff device, if it is on one.
fn like_head<M: VisionLanguageModel>(model: &M, tensor: Tensor<2>) -> Tensor<2> {
    if model.head().is_autodiff() {
        tensor.autodiff()
    } else {
        tensor
    }
}
