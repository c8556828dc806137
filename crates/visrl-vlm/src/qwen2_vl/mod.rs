//! Qwen2-VL (arXiv 2409.12191).

mod config;
mod positions;
mod text;
mod vision;

use std::path::Path;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};

use crate::build::Builder;
use crate::{
    Error, ModelInfo, Output, Positions, ProcessedImage, SafetensorsDir, Segment, TokenBatch,
    VisionLanguageModel, WeightSource,
};

pub use config::{Qwen2VlConfig, TextConfig, VisionConfig};
use text::TextModel;
use vision::VisionTower;

/// The Qwen2-VL model. Its fields carry Hugging Face's names.
#[derive(Module, Debug)]
pub struct Qwen2Vl {
    visual: VisionTower,
    model: TextModel,
    lm_head: Option<Linear>,
    #[module(skip)]
    config: Arc<Qwen2VlConfig>,
    #[module(skip)]
    info: Arc<ModelInfo>,
}

impl Qwen2Vl {
    /// Loads the weights and the shape from a folder in Hugging Face layout.
    ///
    /// # Errors
    /// A typed error that names the file and the field or tensor.
    pub fn from_dir(dir: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        let config = Qwen2VlConfig::from_dir(&dir)?;
        Self::new(config, &mut SafetensorsDir::open(&dir)?, device)
    }

    /// Builds the model of a shape from any source of weights.
    ///
    /// # Errors
    /// What the source says of a missing or unfit tensor.
    pub fn new(
        config: Qwen2VlConfig,
        source: &mut dyn WeightSource,
        device: &Device,
    ) -> Result<Self, Error> {
        let mut build = Builder { source, device };
        let visual = VisionTower::new(&mut build, &config)?;
        let model = TextModel::new(&mut build, &config.text)?;
        let (hidden, vocab) = (config.text.hidden_size, config.text.vocab_size);
        let lm_head = match config.text.tie_word_embeddings {
            true => None,
            false => Some(build.linear("lm_head", [hidden, vocab], false, None)?),
        };
        let info = ModelInfo {
            hidden_size: hidden,
            vocab_size: vocab,
            layers: config.text.layers,
            eos_token_ids: config.eos_token_ids.clone(),
            image_token_id: config.image_token_id,
            unsampled_ids: vec![config.image_token_id, config.video_token_id],
        };
        Ok(Self {
            visual,
            model,
            lm_head,
            config: Arc::new(config),
            info: Arc::new(info),
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &Qwen2VlConfig {
        &self.config
    }

    /// The vision tower's states before and after the merger: `[patches, embed]` and
    /// `[visual tokens, hidden]`.
    ///
    /// # Errors
    /// [`Error::Input`] when an image was prepared for another model.
    pub fn vision_states(
        &self,
        images: &[Arc<ProcessedImage>],
    ) -> Result<(Tensor<2>, Tensor<2>), Error> {
        self.visual.forward(images, &self.config.vision)
    }

    /// The embeddings of tokens with image features in place, `[tokens, hidden]`.
    ///
    /// # Errors
    /// [`Error::Input`] when an id is beyond the vocabulary or features and image tokens differ
    /// in number.
    pub fn embed(&self, ids: &[u32], features: Option<&Tensor<2>>) -> Result<Tensor<2>, Error> {
        self.model.embed(ids, features, self.config.image_token_id)
    }

    fn head_param(&self) -> &Param<Tensor<2>> {
        match &self.lm_head {
            Some(head) => &head.weight,
            None => &self.model.embed_tokens.weight,
        }
    }
}

impl VisionLanguageModel for Qwen2Vl {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn encode_images(&self, images: &[Arc<ProcessedImage>]) -> Result<Tensor<2>, Error> {
        Ok(self.vision_states(images)?.1)
    }

    fn image_tokens(&self, [t, h, w]: [usize; 3]) -> usize {
        let merge = self.config.vision.merge_size;
        t * (h / merge) * (w / merge)
    }

    fn positions(&self, ids: &[u32], grids: &[[usize; 3]]) -> Result<Positions, Error> {
        positions::positions(
            ids,
            grids,
            self.config.image_token_id,
            self.config.vision.merge_size,
        )
    }

    fn forward(
        &self,
        batch: TokenBatch<'_>,
        segments: &mut [Segment],
        output: Output,
    ) -> Result<Option<Tensor<2>>, Error> {
        let tokens: usize = segments.iter().map(Segment::tokens).sum();
        if batch.ids.len() != tokens || batch.positions.len() != tokens || tokens == 0 {
            return Err(Error::Input(format!(
                "{} ids and {} positions for segments of {tokens} tokens",
                batch.ids.len(),
                batch.positions.len()
            )));
        }
        let hidden = self.embed(batch.ids, batch.image_features)?;
        Ok(self
            .model
            .forward(hidden, batch.positions, segments, output, &self.config.text))
    }

    fn head(&self) -> Tensor<2> {
        match &self.lm_head {
            Some(head) => head.weight.val(),
            None => self.model.embed_tokens.weight.val().transpose(),
        }
    }

    fn head_gradient(&self, hidden: Tensor<2>, d_logits: Tensor<2>) -> (String, Tensor<1>) {
        match &self.lm_head {
            Some(_) => {
                let gradient = hidden.transpose().matmul(d_logits);
                ("lm_head.weight".into(), gradient.reshape([-1]))
            }
            None => {
                let gradient = d_logits.transpose().matmul(hidden);
                ("model.embed_tokens.weight".into(), gradient.reshape([-1]))
            }
        }
    }

    fn train_vision(mut self, on: bool) -> Self {
        self.visual = self.visual.set_require_grad(on);
        self
    }

    fn file_shape(&self, name: &str) -> Option<Vec<usize>> {
        (name == "visual.patch_embed.proj.weight")
            .then(|| self.config.vision.patch_shape().to_vec())
    }
}

impl Qwen2Vl {
    /// The device that the weights live on.
    pub fn device(&self) -> Device {
        self.head_param().val().device()
    }
}
