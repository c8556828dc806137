//! The model: vision tower, decoder and head.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use visrl_image::ProcessedImage;
use visrl_kernels::{self as kernels, PromptRows, PromptsWithRows};

use super::config::{QwenVlConfig, QwenVlKind};
use super::device_inputs::DeviceInputs;
use super::positions;
use super::rope::Rotary;
use super::text::TextModel;
use super::vision::inputs::TowerInputs;
use super::vision::tower::VisionTower;
use crate::checkpoint::layer_builder::LayerBuilder;
use crate::checkpoint::weights::safetensors_dir::SafetensorsDir;
use crate::checkpoint::weights::weight_source::{ParamDtype, WeightSource};
use crate::error::Error;
use crate::layers::lora_linear::LoraLinear;
use crate::lora::targets::module_name;
use crate::model::decoder_input::DecoderInput;
use crate::model::part::Part;
use crate::model::positions::Positions;
use crate::model::segment::Segment;
use crate::model::step_decoder::StepDecoder;
use crate::model::vision_language_model::{ModelInfo, Output, VisionLanguageModel};

/// A Qwen2-VL, Qwen2.5-VL or Qwen3-VL model, as its `config.json` says. Its fields carry Hugging
/// Face's names for the first two.
#[derive(Module, Debug)]
pub struct QwenVl {
    visual: VisionTower,
    model: TextModel,
    lm_head: Option<LoraLinear>,
    #[module(skip)]
    config: Arc<QwenVlConfig>,
    #[module(skip)]
    info: Arc<ModelInfo>,
    #[module(skip)]
    inputs: Arc<DeviceInputs>,
}

impl QwenVl {
    /// Loads the weights and the shape from a folder in Hugging Face layout.
    ///
    /// # Errors
    /// [`Error::File`] with the file and the field of a configuration that cannot be read or used;
    /// [`Error::Weights`], [`Error::MissingTensor`] and [`Error::Shape`] with the tensor.
    pub fn from_dir(dir: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        let config = QwenVlConfig::from_dir(&dir)?;
        let mut source = SafetensorsDir::open(&dir)?;
        let model = Self::new(config, &mut source, device)?;
        source.tell_unused();
        Ok(model)
    }

    /// Builds the model of a shape from any source of weights.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] for a tensor that the source lacks, [`Error::Shape`] for one that
    /// does not have the configuration's shape, and [`Error::Weights`] for one that cannot be read.
    pub fn new(
        config: QwenVlConfig,
        source: &mut dyn WeightSource,
        device: &Device,
    ) -> Result<Self, Error> {
        Self::with_dtype(config, source, device, ParamDtype::F32)
    }

    /// As [`new`](Self::new), with parameters of a number format.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_dtype(
        config: QwenVlConfig,
        source: &mut dyn WeightSource,
        device: &Device,
        dtype: ParamDtype,
    ) -> Result<Self, Error> {
        let mut build = LayerBuilder::new(source, device, dtype);
        let visual = VisionTower::new(&mut build, &config)?;
        let model = TextModel::new(&mut build, &config.text)?;
        let (hidden, vocab) = (config.text.hidden_size, config.text.vocab_size);
        let lm_head = match config.text.tie_word_embeddings {
            true => None,
            false => Some(build.dense("lm_head", [hidden, vocab], false, None)?),
        };
        let info = ModelInfo {
            hidden_size: hidden,
            vocab_size: vocab,
            layers: config.text.layers,
            eos_token_ids: config.eos_token_ids.clone(),
            image_token_id: config.image_token_id,
            banned_ids: vec![config.image_token_id, config.video_token_id],
        };
        Ok(Self {
            visual,
            model,
            lm_head,
            config: Arc::new(config),
            info: Arc::new(info),
            inputs: Arc::default(),
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &QwenVlConfig {
        &self.config
    }

    /// The vision tower's states before and after the merger: `[patches, embed]` and
    /// `[visual tokens, hidden * (1 + mergers)]`, where `mergers` is the number of Qwen3-VL's
    /// deepstack mergers and 0 for the others; theirs follow the main merger's columns.
    ///
    /// # Errors
    /// [`Error::Input`] when an image was prepared for another model.
    pub fn vision_states(
        &self,
        images: &[Arc<ProcessedImage>],
    ) -> Result<(Tensor<2>, Tensor<2>), Error> {
        let (weight, config) = (self.visual.weight(), &self.config.vision);
        let make = || TowerInputs::new(images, config, &weight);
        let inputs = self.inputs.images(images, &weight, make)?;
        Ok(self.visual.forward(&inputs, config))
    }

    /// The embeddings of tokens with image features in place, `[tokens, hidden]`, or as wide as the
    /// features: what lies behind the first `hidden` columns is added after the first layers.
    ///
    /// # Errors
    /// [`Error::Input`] when an id is beyond the vocabulary or features and image tokens differ
    /// in number.
    pub fn embed(&self, ids: &[u32], features: Option<&Tensor<2>>) -> Result<Tensor<2>, Error> {
        let added = self.config.vision.deepstack.len();
        let image_token = self.config.image_token_id;
        self.model.embed(ids, features, image_token, added)
    }

    fn rotary(&self, positions: &[[u32; 3]]) -> Rotary {
        let config = &self.config.text;
        let make = || Rotary::multimodal(positions, &config.rotary_axes(), config.rope_theta);
        let weight = self.head_param().val();
        self.inputs.rotation(positions, &weight, make)
    }

    fn head_param(&self) -> &Param<Tensor<2>> {
        match &self.lm_head {
            Some(head) => &head.weight,
            None => &self.model.embed_tokens.weight,
        }
    }
}

impl VisionLanguageModel for QwenVl {
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

    fn embed_batch(&self, batch: DecoderInput<'_>) -> Result<Tensor<2>, Error> {
        self.embed(batch.ids, batch.image_features)
    }

    fn run_layers(
        &self,
        layers: Range<usize>,
        hidden: Tensor<2>,
        positions: &[[u32; 3]],
        segments: &mut [Segment],
        output: Output,
    ) -> Result<Option<Tensor<2>>, Error> {
        let tokens: usize = segments.iter().map(Segment::tokens).sum();
        let [states, width] = hidden.dims();
        let columns = self.info.hidden_size;
        if width % columns != 0
            || !(1..=1 + self.config.vision.deepstack.len()).contains(&(width / columns))
        {
            return Err(Error::Input(format!(
                "states of {width} columns for a residual stream of {columns}"
            )));
        }
        if states != tokens || positions.len() != tokens || tokens == 0 {
            return Err(Error::Input(format!(
                "{states} ids and {} positions for segments of {tokens} tokens",
                positions.len()
            )));
        }
        if layers.is_empty() || layers.end > self.info.layers {
            return Err(Error::Input(format!(
                "layers {layers:?} of a decoder of {}",
                self.info.layers
            )));
        }
        let config = &self.config.text;
        Ok(self.model.run_layers(
            layers,
            hidden,
            &self.rotary(positions),
            segments,
            output,
            config,
        ))
    }

    fn takes_prompts_with_rows(&self) -> bool {
        self.model.takes_prompts_with_rows()
    }

    fn forward_with_prompts(
        &self,
        prompts: DecoderInput<'_>,
        rows: DecoderInput<'_>,
        tokens: &PromptsWithRows,
    ) -> Result<Option<Tensor<2>>, Error> {
        let ids = [prompts.ids, rows.ids].concat();
        let positions = [prompts.positions, rows.positions].concat();
        let expected = [
            tokens.prompt_tokens(),
            tokens.segments().iter().map(PromptRows::row_tokens).sum(),
        ];
        if [prompts.ids.len(), rows.ids.len()] != expected || positions.len() != ids.len() {
            return Err(Error::Input(format!(
                "{} and {} ids and {} positions for prompts and rows of {expected:?} tokens",
                prompts.ids.len(),
                rows.ids.len(),
                positions.len()
            )));
        }
        let hidden = self.embed(&ids, prompts.image_features)?;
        let (rotary, config) = (self.rotary(&positions), &self.config.text);
        Ok(self.model.run_together(hidden, &rotary, tokens, config))
    }

    fn step_decoder(&self) -> Option<Box<dyn StepDecoder>> {
        let model = self.valid();
        Some(Box::new(model.model.step_decoder(&model.config.text)))
    }

    fn head(&self) -> Tensor<2> {
        match &self.lm_head {
            Some(head) => head.weight.val(),
            None => self.model.embed_tokens.weight.val().transpose(),
        }
    }

    fn head_gradient(&self, hidden: Tensor<2>, d_logits: Tensor<2>) -> Option<(String, Tensor<1>)> {
        if !self.head_param().val().is_require_grad() {
            return None;
        }
        Some(match &self.lm_head {
            Some(_) => {
                let gradient = kernels::matmul(hidden.transpose(), d_logits);
                ("lm_head.weight".into(), gradient.reshape([-1]))
            }
            None => {
                let gradient = kernels::matmul(d_logits.transpose(), hidden);
                ("model.embed_tokens.weight".into(), gradient.reshape([-1]))
            }
        })
    }

    fn part_of(&self, name: &str) -> Part {
        if name.starts_with("visual.merger.") || name.starts_with("visual.deepstack_merger_list.") {
            Part::Merger
        } else if name.starts_with("visual.") {
            Part::VisionTower
        } else {
            Part::LanguageModel
        }
    }

    fn query_heads(&self) -> usize {
        self.config.text.heads
    }

    fn each_linear(&mut self, visit: &mut dyn FnMut(&str, &mut LoraLinear)) {
        let visit = &mut |name: String, dense: &mut LoraLinear| visit(&name, dense);
        self.visual.each_dense(visit);
        self.model.each_dense(visit);
    }

    fn file_name(&self, name: &str) -> String {
        match self.config.kind {
            QwenVlKind::Qwen2 | QwenVlKind::Qwen2_5 => name.to_owned(),
            QwenVlKind::Qwen3 => module_name(name),
        }
    }

    fn file_shape(&self, name: &str) -> Option<Vec<usize>> {
        (name == "visual.patch_embed.proj.weight")
            .then(|| self.config.vision.patch_shape().to_vec())
    }
}

impl QwenVl {
    /// The device that the weights live on.
    pub fn device(&self) -> Device {
        self.head_param().val().device()
    }
}
