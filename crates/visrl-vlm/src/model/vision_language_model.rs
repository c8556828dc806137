//! The contract between a vision-language model and everything that samples from it or trains it.

use std::ops::Range;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;
use visrl_kernels::PromptsWithRows;

use visrl_image::ProcessedImage;

use super::decoder_input::DecoderInput;
use super::part::Part;
use super::positions::Positions;
use super::segment::Segment;
use super::step_decoder::StepDecoder;
use crate::error::Error;
use crate::layers::lora_linear::LoraLinear;

/// What sampling and training need to know of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of token ids, those beyond the tokenizer included.
    pub vocab_size: usize,
    /// Number of decoder layers.
    pub layers: usize,
    /// The tokens that end a completion.
    pub eos_token_ids: Vec<u32>,
    /// The token that stands for one visual token of an image.
    pub image_token_id: u32,
    /// Ids that must not be sampled: a sampled image token would stand for features that do not
    /// exist.
    pub banned_ids: Vec<u32>,
}

/// What a pass through the decoder is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The keys and values alone: what follows the last layer's is not computed.
    Cache,
    /// The hidden states after the final norm, too.
    Hidden,
}

/// A model that reads images and text and writes text.
///
/// Sampler and learner call the same [`forward`](Self::forward), with the weights on a plain
/// device or on one that records gradients.
///
/// # Adding a model
/// Implement this trait for a burn module whose fields carry Hugging Face's names; rollout, learner
/// and trainer need no change. [`Pretrained::from_parts`](crate::Pretrained::from_parts) makes it
/// what a run starts from, and [`LoadModel`](crate::LoadModel) makes it load from a folder.
pub trait VisionLanguageModel: Module + Sync + 'static {
    /// What callers need to know of the model.
    fn info(&self) -> &ModelInfo;

    /// Encodes images to `[visual tokens of all images, hidden]`.
    ///
    /// A family whose later layers read features of their own gives them in further columns, which
    /// [`embed_batch`](Self::embed_batch) takes again; whoever keeps or shares features looks at
    /// the rows alone.
    ///
    /// The default refuses all images: that of a model that reads none.
    ///
    /// # Errors
    /// [`Error::Input`] when an image was prepared for another model.
    fn encode_images(&self, images: &[Arc<ProcessedImage>]) -> Result<Tensor<2>, Error> {
        let count = images.len();
        Err(Error::Input(format!(
            "{count} images for a model that reads none"
        )))
    }

    /// The number of visual tokens of an image with this grid (time, height, width in patches); by
    /// default one for each patch.
    fn image_tokens(&self, grid: [usize; 3]) -> usize {
        grid.iter().product()
    }

    /// The rotary positions of a prompt whose images have these grids; by default
    /// [`Positions::sequential`], which have no place for the axes of an image.
    ///
    /// # Errors
    /// [`Error::Input`] when image tokens and grids do not match.
    fn positions(&self, ids: &[u32], _grids: &[[usize; 3]]) -> Result<Positions, Error> {
        Ok(Positions::sequential(ids.len()))
    }

    /// The embeddings of new tokens with image features in place, `[tokens, hidden]`: what the
    /// first layer reads, and in further columns what a family's later layers read.
    ///
    /// # Errors
    /// [`Error::Input`] when ids and features do not fit the model or each other.
    fn embed_batch(&self, batch: DecoderInput<'_>) -> Result<Tensor<2>, Error>;

    /// Runs states `[tokens, hidden]` of new tokens through these of the decoder's layers and adds
    /// the layers' keys and values to the segments' caches.
    ///
    /// For [`Output::Hidden`] it returns the states that follow, after the final norm where the
    /// decoder's last layer is among them; for [`Output::Cache`] nothing. States may be wider than
    /// `hidden` where they carry what later layers read, as [`embed_batch`](Self::embed_batch)
    /// makes them; those after the last layer are not.
    ///
    /// # Errors
    /// [`Error::Input`] when states, positions, segments and layers do not fit together.
    fn run_layers(
        &self,
        layers: Range<usize>,
        hidden: Tensor<2>,
        positions: &[[u32; 3]],
        segments: &mut [Segment],
        output: Output,
    ) -> Result<Option<Tensor<2>>, Error>;

    /// Runs new tokens through the decoder and adds their keys and values to the segments'
    /// caches.
    ///
    /// Returns hidden states after the final norm, `[tokens, hidden]`, for [`Output::Hidden`].
    ///
    /// # Errors
    /// [`Error::Input`] when ids, positions, features and segments do not fit together.
    fn forward(
        &self,
        batch: DecoderInput<'_>,
        segments: &mut [Segment],
        output: Output,
    ) -> Result<Option<Tensor<2>>, Error> {
        let hidden = self.embed_batch(batch)?;
        let layers = 0..self.info().layers;
        self.run_layers(layers, hidden, batch.positions, segments, output)
    }

    /// Whether prompts and the rows behind them should run through the decoder together, by
    /// [`forward_with_prompts`](Self::forward_with_prompts), because that is quicker where the model
    /// lies; by default it is not.
    fn takes_prompts_with_rows(&self) -> bool {
        false
    }

    /// Runs prompts and the rows behind them through the decoder in one pass: their tokens, in the
    /// order of `tokens`. Gives the rows' hidden states after the final norm, `[tokens, hidden]`; by
    /// default nothing.
    ///
    /// # Errors
    /// [`Error::Input`] when ids, positions, features and tokens do not fit together.
    fn forward_with_prompts(
        &self,
        _prompts: DecoderInput<'_>,
        _rows: DecoderInput<'_>,
        _tokens: &PromptsWithRows,
    ) -> Result<Option<Tensor<2>>, Error> {
        Ok(None)
    }

    /// The decoder in steps of one token of each row, over a snapshot of the weights without gradient
    /// tracking, for engines that keep all that a step needs on the device; by default there is
    /// none.
    fn step_decoder(&self) -> Option<Box<dyn StepDecoder>> {
        None
    }

    /// The matrix from hidden states to logits, `[hidden, vocab]`.
    fn head(&self) -> Tensor<2>;

    /// The name of the parameter behind [`head`](Self::head), and the gradient of that parameter,
    /// flattened as it is stored, for `hidden` `[n, hidden]` and `d loss / d logits` `[n, vocab]`;
    /// nothing when it is not trained.
    fn head_gradient(&self, hidden: Tensor<2>, d_logits: Tensor<2>) -> Option<(String, Tensor<1>)>;

    /// The part of the model that a parameter belongs to, for freezing by part; by default the
    /// language model. The names are those that [`visit_parameters`](crate::visit_parameters)
    /// shows.
    fn part_of(&self, _name: &str) -> Part {
        Part::LanguageModel
    }

    /// The query heads of a decoder layer, for the estimate of memory; by default one.
    fn query_heads(&self) -> usize {
        1
    }

    /// Shows the linear layers that may carry an adapter, with their names; by default none.
    fn each_linear(&mut self, _visit: &mut dyn FnMut(&str, &mut LoraLinear)) {}

    /// The name under which Hugging Face stores a parameter, where it is not the one that
    /// [`visit_parameters`](crate::visit_parameters) shows; by default it is.
    fn file_name(&self, name: &str) -> String {
        name.to_owned()
    }

    /// The shape in which Hugging Face stores a parameter, where it is not the one stored here
    /// (linear weights aside, which are always transposed); by default there is none.
    fn file_shape(&self, _name: &str) -> Option<Vec<usize>> {
        None
    }
}
