//! The shape of a model, from `config.json`.

use std::path::Path;

use serde_json::Value;
use visrl_core::files::Fields;

use super::rope_config::{Expected, RopeConfig};
use super::sliding_windows::refuse_windows;
use super::{default, known_fields};
use crate::checkpoint::config_files::{EndTokens, read_json};
use crate::error::Error;

/// The models of the family that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QwenVlKind {
    /// Qwen2-VL (arXiv 2409.12191), `model_type` `qwen2_vl`.
    Qwen2,
    /// Qwen2.5-VL (arXiv 2502.13923), `model_type` `qwen2_5_vl`.
    Qwen2_5,
    /// Qwen3-VL (arXiv 2511.21631), `model_type` `qwen3_vl`.
    Qwen3,
}

impl QwenVlKind {
    fn of(model_type: &str) -> Option<Self> {
        match model_type {
            "qwen2_vl" => Some(Self::Qwen2),
            "qwen2_5_vl" => Some(Self::Qwen2_5),
            "qwen3_vl" => Some(Self::Qwen3),
            _ => None,
        }
    }
}

/// The shape of a Qwen2-VL, Qwen2.5-VL or Qwen3-VL model, read from Hugging Face's `config.json`.
///
/// Both layouts are read: the flat one of the hub and the nested one (`text_config`,
/// `rope_parameters`) that transformers 5 writes. A field that is missing or null has the value that
/// transformers' configuration classes give it, which leave out on saving what is their default.
#[derive(Clone, Debug, PartialEq)]
pub struct QwenVlConfig {
    /// Which of the family it is.
    pub kind: QwenVlKind,
    /// The language model.
    pub text: TextConfig,
    /// The vision tower.
    pub vision: VisionConfig,
    /// Id of `<|image_pad|>`, one per visual token.
    pub image_token_id: u32,
    /// Id of `<|video_pad|>`.
    pub video_token_id: u32,
    /// The tokens that end a completion.
    pub eos_token_ids: Vec<u32>,
    /// The file as it was read, written again on saving.
    pub raw: Value,
}

/// The shape of the language model.
#[derive(Clone, Debug, PartialEq)]
pub struct TextConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of decoder layers.
    pub layers: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Number of token ids, those beyond the tokenizer included.
    pub vocab_size: usize,
    /// Epsilon of the RMS norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary embedding.
    pub rope_theta: f64,
    /// How many rotary frequencies turn with time, height and width.
    pub mrope_section: [usize; 3],
    /// Whether the frequencies of time, height and width take turns, as in Qwen3-VL, or follow each
    /// other, in which case the sections sum to `head_dim / 2`.
    pub mrope_interleaved: bool,
    /// Whether the projections to queries, keys and values have a bias.
    pub attention_bias: bool,
    /// Whether each head of queries and keys goes through an RMS norm before it is turned.
    pub head_norms: bool,
    /// Whether the output matrix is the input embedding.
    pub tie_word_embeddings: bool,
}

/// The shape of the vision tower.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// Number of blocks.
    pub depth: usize,
    /// Width of the tower.
    pub embed_dim: usize,
    /// Number of heads.
    pub heads: usize,
    /// Width of a block's MLP.
    pub intermediate_size: usize,
    /// Colour channels.
    pub channels: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Frames per patch.
    pub temporal_patch_size: usize,
    /// Patches merged into one visual token, along each side.
    pub merge_size: usize,
    /// Base of the rotary embedding.
    pub rope_theta: f64,
    /// The windows that most blocks attend within, where the tower has them.
    pub windows: Option<Windows>,
    /// The places of the table of learnt positions, where the tower has one.
    pub position_embeddings: Option<usize>,
    /// The blocks whose output a deepstack merger makes features of, by the order of the mergers;
    /// they are added after the decoder's first layers, in the order of the blocks.
    pub deepstack: Vec<usize>,
}

/// Windowed attention of Qwen2.5-VL's vision tower.
#[derive(Clone, Debug, PartialEq)]
pub struct Windows {
    /// Side of a window in visual tokens (merged patches).
    pub side: usize,
    /// The blocks that attend to the whole image.
    pub full_blocks: Vec<usize>,
}

impl TextConfig {
    /// The axis that each rotary frequency turns with: 0 time, 1 height, 2 width.
    ///
    /// Sections that take turns: of three neighbours the first is time's, the second height's and
    /// the third width's, as often as the sections of the latter two say; all others are time's.
    pub fn rotary_axes(&self) -> Vec<usize> {
        if !self.mrope_interleaved {
            let section = |axis| std::iter::repeat_n(axis, self.mrope_section[axis]);
            return (0..3).flat_map(section).collect();
        }
        let axis = |index: usize| match index % 3 {
            0 => 0,
            axis if index < 3 * self.mrope_section[axis] => axis,
            _ => 0,
        };
        (0..self.head_dim / 2).map(axis).collect()
    }
}

impl VisionConfig {
    /// The number of values in a flattened patch.
    pub fn patch_dim(&self) -> usize {
        self.channels * self.temporal_patch_size * self.patch_size * self.patch_size
    }

    /// The side of the square of learnt positions: as transformers has it, the largest square that
    /// the table holds, from its beginning.
    pub fn position_side(&self) -> usize {
        self.position_embeddings.unwrap_or_default().isqrt()
    }
}

const MAX_WIDTH: usize = 1 << 17;
const MAX_VOCAB: usize = 1 << 22;
const MAX_LAYERS: usize = 1024;

impl QwenVlConfig {
    /// Reads `config.json` and the end tokens of `generation_config.json` in a folder.
    ///
    /// # Errors
    /// [`Error::File`] with the file and the field: a missing file, JSON that does not parse,
    /// a missing field, a size out of range, sizes that do not divide each other, or another
    /// `model_type` than the three.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let dir = dir.as_ref();
        let path = dir.join("config.json");
        let raw = read_json(&path)?;
        let root = Fields::new(&path, "", &raw);
        let model_type: String = root.required("model_type")?;
        let kind = QwenVlKind::of(&model_type).ok_or_else(|| {
            let message =
                format!("is `{model_type}`, expected `qwen2_vl`, `qwen2_5_vl` or `qwen3_vl`");
            root.error::<Error>("model_type", message)
        })?;
        known_fields::refuse(&path, &raw)?;
        let part = |field: &str| match raw.get(field).filter(|value| !value.is_null()) {
            Some(value) if !value.is_object() => {
                Err(root.error::<Error>(field, format!("is {value}, expected an object")))
            }
            part => Ok(part),
        };
        let nested = part("text_config")?;
        let (prefix, value) = match nested {
            Some(value) => ("text_config", value),
            None => ("", &raw),
        };
        let text_fields = Fields::new(&path, prefix, value);
        let text = Self::text(kind, &path, prefix, value, &root)?;
        let vision = part("vision_config")?.unwrap_or(&Value::Null);
        let vision = Fields::new(&path, "vision_config", vision);
        let vision = Self::vision(kind, &vision, &text)?;
        let eos = EndTokens::read(dir, &[root, text_fields])?;
        let token = |field: &str, or: u32| -> Result<u32, Error> {
            let id: u32 = root.optional(field)?.unwrap_or(or);
            if id as usize >= text.vocab_size {
                let message = format!("is {id}, beyond vocab_size {}", text.vocab_size);
                return Err(root.error(field, message));
            }
            Ok(id)
        };
        let image_token_id = token("image_token_id", default::IMAGE_TOKEN_ID)?;
        let video_token_id = token("video_token_id", default::VIDEO_TOKEN_ID)?;
        let beyond = |&id: &u32| id as usize >= text.vocab_size;
        if eos.ids.is_empty() || eos.ids.iter().any(beyond) {
            let message = format!(
                "is {:?}, expected tokens below {}",
                eos.ids, text.vocab_size
            );
            return Err(Error::field(&eos.path, &eos.field, message));
        }
        known_fields::tell(&path, kind, &raw);
        Ok(Self {
            kind,
            text,
            vision,
            image_token_id,
            video_token_id,
            eos_token_ids: eos.ids,
            raw,
        })
    }

    fn text(
        kind: QwenVlKind,
        path: &Path,
        prefix: &str,
        value: &Value,
        root: &Fields<'_>,
    ) -> Result<TextConfig, Error> {
        let fields = Fields::new(path, prefix, value);
        let or = kind.text();
        let is_third = kind == QwenVlKind::Qwen3;
        let hidden_size = fields.size_or("hidden_size", MAX_WIDTH, or.hidden_size)?;
        let heads = fields.size_or("num_attention_heads", MAX_WIDTH, or.heads)?;
        // The one field that is not the same when it is null: as many as there are query heads.
        let kv_heads = match value.get("num_key_value_heads") {
            Some(Value::Null) => heads,
            _ => fields.size_or("num_key_value_heads", MAX_WIDTH, or.kv_heads)?,
        };
        // Qwen3-VL's heads have a width of their own.
        let divides = is_third || hidden_size % heads == 0;
        if !divides || heads % kv_heads != 0 {
            let message = format!(
                "is {heads}; it must divide hidden_size {hidden_size} and be a multiple of \
                 num_key_value_heads {kv_heads}"
            );
            return Err(fields.error("num_attention_heads", message));
        }
        let head_dim = or.head_dim.unwrap_or(hidden_size / heads);
        let head_dim = fields.size_or("head_dim", MAX_WIDTH, head_dim)?;
        if head_dim % 2 != 0 {
            return Err(fields.error("head_dim", format!("is {head_dim}, but must be even")));
        }
        let expected = Expected {
            kinds: ["mrope", "default"],
            theta: or.rope_theta,
            interleaved: is_third,
        };
        let rope = RopeConfig::read(fields, &expected)?;
        let mrope_section = rope.sections(head_dim / 2, or.mrope_section, is_third)?;
        let rms_norm_eps = fields.number_or("rms_norm_eps", [1e-30, 1.0], or.rms_norm_eps)?;
        let act = fields
            .optional::<String>("hidden_act")?
            .unwrap_or_else(|| "silu".into());
        if act != "silu" {
            return Err(fields.error("hidden_act", format!("is `{act}`, expected `silu`")));
        }
        let layers = fields.size_or("num_hidden_layers", MAX_LAYERS, or.layers)?;
        if is_third && fields.optional("attention_bias")? == Some(true) {
            return Err(fields.error("attention_bias", "is true, which is not supported"));
        }
        refuse_windows(&fields, layers, kind)?;
        Ok(TextConfig {
            hidden_size,
            layers,
            heads,
            kv_heads,
            head_dim,
            intermediate_size: fields.size_or(
                "intermediate_size",
                MAX_WIDTH * 8,
                or.intermediate_size,
            )?,
            vocab_size: fields.size_or("vocab_size", MAX_VOCAB, or.vocab_size)?,
            rms_norm_eps,
            rope_theta: rope.theta,
            mrope_section,
            mrope_interleaved: is_third,
            attention_bias: !is_third,
            head_norms: is_third,
            tie_word_embeddings: is_tied(root, prefix, &fields)?,
        })
    }

    fn vision(
        kind: QwenVlKind,
        fields: &Fields<'_>,
        text: &TextConfig,
    ) -> Result<VisionConfig, Error> {
        let or = kind.vision();
        // They name the same things differently.
        let ((width, embed_dim), out, act) = (or.width, or.out, or.hidden_act);
        let embed_dim = fields.size_or(width, MAX_WIDTH, embed_dim)?;
        let heads = fields.size_or("num_heads", MAX_WIDTH, default::VISION_HEADS)?;
        if embed_dim % heads != 0 || (embed_dim / heads) % 4 != 0 {
            let message = format!("is {heads}; {width} {embed_dim} over it must divide by 4");
            return Err(fields.error("num_heads", message));
        }
        let given: Option<usize> = fields.optional(out)?;
        let found = given.unwrap_or(default::VISION_OUT);
        if found != text.hidden_size {
            let message = format!(
                "is {found}{}, but the language model has {}",
                given.map_or(" where it is left out", |_| ""),
                text.hidden_size
            );
            return Err(fields.error(out, message));
        }
        let found = fields.optional::<String>("hidden_act")?;
        if let Some(found) = found.filter(|found| found != act) {
            return Err(fields.error("hidden_act", format!("is `{found}`, expected `{act}`")));
        }
        let intermediate_size = match kind {
            QwenVlKind::Qwen2 => {
                let ratio = fields.number_or("mlp_ratio", [0.01, 1024.0], 4.0)?;
                let size = (embed_dim as f64 * ratio) as usize;
                if !(1..=MAX_WIDTH * 8).contains(&size) {
                    return Err(fields.error("mlp_ratio", format!("is {ratio}, expected about 4")));
                }
                size
            }
            QwenVlKind::Qwen2_5 | QwenVlKind::Qwen3 => {
                fields.size_or("intermediate_size", MAX_WIDTH * 8, or.intermediate_size)?
            }
        };
        let channels = fields.size_or("in_channels", 16, default::CHANNELS)?;
        // The hub's files have this name, which transformers does not read.
        let hub: Option<usize> = fields.optional("in_chans")?;
        if let Some(hub) = hub.filter(|&hub| hub != channels) {
            let message = format!("is {hub}, but in_channels is {channels}");
            return Err(fields.error("in_chans", message));
        }
        let expected = Expected {
            kinds: ["axial", "default"],
            theta: default::VISION_ROPE_THETA,
            interleaved: false,
        };
        let rope = RopeConfig::read(*fields, &expected)?;
        let depth = fields.size_or("depth", MAX_LAYERS, or.depth)?;
        let patch_size = fields.size_or("patch_size", 1024, or.patch_size)?;
        let merge_size = fields.size_or("spatial_merge_size", 64, 2)?;
        let windows = match kind {
            QwenVlKind::Qwen2 | QwenVlKind::Qwen3 => None,
            QwenVlKind::Qwen2_5 => {
                let pixels = fields.size_or("window_size", MAX_WIDTH, 112)?;
                let side = pixels / merge_size / patch_size;
                if side == 0 {
                    let token = merge_size * patch_size;
                    let message = format!("is {pixels}, less than a visual token's {token} pixels");
                    return Err(fields.error("window_size", message));
                }
                const FULL: &str = "fullatt_block_indexes";
                let full_blocks: Option<Vec<usize>> = fields.optional(FULL)?;
                if let Some(block) = full_blocks.iter().flatten().find(|block| **block >= depth) {
                    let message = format!("has {block}, but `depth` is {depth}: there is none");
                    fields.warn(FULL, message);
                }
                let full_blocks = full_blocks.unwrap_or_else(|| vec![7, 15, 23, 31]);
                Some(Windows { side, full_blocks })
            }
        };
        let (position_embeddings, deepstack) = match kind {
            QwenVlKind::Qwen2 | QwenVlKind::Qwen2_5 => (None, Vec::new()),
            QwenVlKind::Qwen3 => {
                let (places, deepstack) = qwen3_parts(fields, depth, text.layers)?;
                (Some(places), deepstack)
            }
        };
        Ok(VisionConfig {
            depth,
            embed_dim,
            heads,
            intermediate_size,
            channels,
            patch_size,
            temporal_patch_size: fields.size_or("temporal_patch_size", 64, 2)?,
            merge_size,
            rope_theta: rope.theta,
            windows,
            position_embeddings,
            deepstack,
        })
    }
}

/// What Qwen3-VL's tower alone has: the places of the table of positions, and the blocks behind which
/// deepstack mergers stand.
fn qwen3_parts(
    fields: &Fields<'_>,
    depth: usize,
    layers: usize,
) -> Result<(usize, Vec<usize>), Error> {
    const FIELD: &str = "deepstack_visual_indexes";
    let places = fields.size_or("num_position_embeddings", MAX_WIDTH, 48 * 48)?;
    let blocks: Vec<usize> = fields.optional(FIELD)?.unwrap_or_else(|| vec![8, 16, 24]);
    let other =
        |(place, block): &(usize, &usize)| **block >= depth || blocks[..*place].contains(block);
    if let Some((_, block)) = blocks.iter().enumerate().find(other) {
        let message = format!("has {block}, expected different blocks below depth {depth}");
        return Err(fields.error(FIELD, message));
    }
    if blocks.len() > layers {
        let message = format!("has {} blocks for {layers} decoder layers", blocks.len());
        return Err(fields.error(FIELD, message));
    }
    Ok((places, blocks))
}

/// Whether the output matrix is the input embedding: where one of the places says so, as in
/// transformers; places that differ are told.
fn is_tied(root: &Fields<'_>, prefix: &str, text: &Fields<'_>) -> Result<bool, Error> {
    const FIELD: &str = "tie_word_embeddings";
    let outer: Option<bool> = root.optional(FIELD)?;
    let inner: Option<bool> = text.optional(FIELD)?;
    if let (Some(outer), Some(inner)) = (outer, inner)
        && outer != inner
    {
        let message = format!(
            "is {outer}, but `{prefix}.{FIELD}` is {inner}: the head is the embedding, as in \
             transformers"
        );
        root.warn(FIELD, message);
    }
    Ok(outer.unwrap_or(false) || inner.unwrap_or(false))
}

impl VisionConfig {
    /// The shape of the patch projection's weight in Hugging Face's files: a convolution whose
    /// stride is its kernel.
    pub fn patch_shape(&self) -> [usize; 5] {
        let side = self.patch_size;
        [
            self.embed_dim,
            self.channels,
            self.temporal_patch_size,
            side,
            side,
        ]
    }
}
