//! What is known of the fields of `config.json`: those that are read, and those that change nothing.

use std::path::Path;

use serde_json::Value;
use visrl_core::files::{Fields, is_set, same, shown};

use super::config::QwenVlKind;
use crate::error::Error;

/// Fields of the language model that are read.
const TEXT: [&str; 19] = [
    "head_dim",
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "layer_types",
    "max_window_layers",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "partial_rotary_factor",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "sliding_window",
    "tie_word_embeddings",
    "use_sliding_window",
    "vocab_size",
    "eos_token_id",
];

/// Fields of the whole that are read.
const ROOT: [&str; 5] = [
    "image_token_id",
    "model_type",
    "text_config",
    "video_token_id",
    "vision_config",
];

/// Fields of the vision tower that are read, of all models.
const VISION: [&str; 13] = [
    "depth",
    "hidden_act",
    "hidden_size",
    "in_channels",
    "in_chans",
    "model_type",
    "num_heads",
    "patch_size",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "spatial_merge_size",
    "temporal_patch_size",
];
const VISION_QWEN2: [&str; 2] = ["embed_dim", "mlp_ratio"];
const VISION_QWEN2_5: [&str; 4] = [
    "fullatt_block_indexes",
    "intermediate_size",
    "out_hidden_size",
    "window_size",
];

const VISION_QWEN3: [&str; 4] = [
    "deepstack_visual_indexes",
    "intermediate_size",
    "num_position_embeddings",
    "out_hidden_size",
];

/// Fields that change nothing here: those of training and of video, number formats, and notes.
const WITHOUT_EFFECT: [&str; 57] = [
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_attn_implementation_internal",
    "_commit_hash",
    "_experts_implementation",
    "_name_or_path",
    "add_cross_attention",
    "architectures",
    "attention_dropout",
    "attn_implementation",
    "auto_map",
    "base_model_name_or_path",
    "bos_token_id",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "dtype",
    "finetuning_task",
    "full_attn_layers",
    "gradient_checkpointing",
    "hub_id",
    "id2label",
    "image_token",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "keys_to_ignore_at_inference",
    "label2id",
    "max_position_embeddings",
    "model_name",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "prefix",
    "problem_type",
    "pruned_heads",
    "return_dict",
    "sep_token_id",
    "spatial_patch_size",
    "task_specific_params",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_last_hidden_states",
    "tokenizer_class",
    "tokens_per_second",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "vision_end_token_id",
    "vision_start_token_id",
    "vision_token_id",
];

/// Settings of sampling, which older versions of transformers saved here, too.
const SAMPLING: [&str; 33] = [
    "assistant_confidence_threshold",
    "assistant_lookbehind",
    "bad_words_ids",
    "begin_suppress_tokens",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "epsilon_cutoff",
    "eta_cutoff",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_scores",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict_in_generate",
    "suppress_tokens",
    "target_lookbehind",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
];

/// Fields whose one value is what the model has, whatever is said.
fn fixed(kind: QwenVlKind) -> [(&'static str, bool); 2] {
    [
        ("attention_bias", kind != QwenVlKind::Qwen3),
        ("mlp_bias", false),
    ]
}

/// Number formats of weights, by PyTorch's names.
const DTYPES: [&str; 10] = [
    "auto",
    "bfloat16",
    "float16",
    "float32",
    "float64",
    "half",
    "torch.bfloat16",
    "torch.float16",
    "torch.float32",
    "torch.float64",
];

/// Fields that make another model of the weights, and what they do.
const REFUSED: [(&str, &str); 3] = [
    (
        "quantization_config",
        "the weights are quantized; take the checkpoint that was quantized, or save it in full",
    ),
    (
        "compression_config",
        "the weights are compressed; save the checkpoint in full",
    ),
    ("per_layer_config", "layers differ from each other"),
];

/// Names of the parts, which say what they are.
fn model_types(kind: QwenVlKind) -> [&'static str; 3] {
    match kind {
        QwenVlKind::Qwen2 => ["qwen2_vl", "qwen2_vl_text", "qwen2_vl_vision"],
        QwenVlKind::Qwen2_5 => ["qwen2_5_vl", "qwen2_5_vl_text", "qwen2_5_vl_vision"],
        QwenVlKind::Qwen3 => ["qwen3_vl", "qwen3_vl_text", "qwen3_vl_vision"],
    }
}

/// The object `name` of a file, with its place in it; nothing where it is missing or null.
fn part<'a>(path: &'a Path, name: &'a str, raw: &'a Value) -> Option<Fields<'a>> {
    let value = raw.get(name).filter(|value| !value.is_null())?;
    Some(Fields::new(path, name, value))
}

/// Refuses what makes another model of the weights, in any part of the file.
///
/// # Errors
/// [`Error::File`] with the field.
pub(super) fn refuse(path: &Path, raw: &Value) -> Result<(), Error> {
    let parts = [
        Some(Fields::new(path, "", raw)),
        part(path, "text_config", raw),
        part(path, "vision_config", raw),
    ];
    for fields in parts.into_iter().flatten() {
        for (field, what) in REFUSED {
            if let Some(value) = fields.value().get(field).filter(|value| is_set(value)) {
                let message = format!("is {}, which is not supported: {what}", shown(value));
                return Err(fields.error(field, message));
            }
        }
    }
    Ok(())
}

/// Warns of what the file says and the model does not do: fields that are not known, and those of
/// the language model that stand in two places and differ.
pub(super) fn tell(path: &Path, kind: QwenVlKind, raw: &Value) {
    let root = Fields::new(path, "", raw);
    let refused = REFUSED.map(|(field, _)| field);
    let fixed = fixed(kind);
    let names = fixed.map(|(field, _)| field);
    let common: [&[&str]; 4] = [&WITHOUT_EFFECT, &SAMPLING, &refused, &names];
    let tell = |fields: &Fields<'_>, own: &[&[&str]]| {
        let known: Vec<&[&str]> = common.iter().chain(own).copied().collect();
        fields.tell_unknown(&known);
        for (field, value) in fixed {
            let said = fields.switch(field);
            if said.is_some_and(|said| said != value) {
                let message = format!("is {}, but is {value} in this model", !value);
                fields.warn(field, message);
            }
        }
        let said = |field: &str| fields.value().get(field).filter(|value| !value.is_null());
        let is_one_of = |value: &Value, known: &[&str]| {
            value.as_str().is_some_and(|value| known.contains(&value))
        };
        if let Some(found) = said("model_type").filter(|v| !is_one_of(v, &model_types(kind))) {
            let (found, kind) = (shown(found), model_types(kind)[0]);
            fields.warn(
                "model_type",
                format!("is {found}, but the model is `{kind}`"),
            );
        }
        for field in ["dtype", "torch_dtype"] {
            if let Some(found) = said(field).filter(|found| !is_one_of(found, &DTYPES)) {
                let message = format!(
                    "is {}, which is no number format of weights: that of the tensors counts",
                    shown(found)
                );
                fields.warn(field, message);
            }
        }
    };
    tell(&root, &[&ROOT, &TEXT]);
    if let Some(text) = part(path, "text_config", raw) {
        tell(&text, &[&TEXT, &ROOT]);
        tell_copies(&root, &text);
    }
    if let Some(vision) = part(path, "vision_config", raw) {
        let own: &[&str] = match kind {
            QwenVlKind::Qwen2 => &VISION_QWEN2,
            QwenVlKind::Qwen2_5 => &VISION_QWEN2_5,
            QwenVlKind::Qwen3 => &VISION_QWEN3,
        };
        tell(&vision, &[&VISION, own]);
    }
}

/// Some versions of transformers save the language model's fields twice; those of `text_config`
/// count. Ends of text are looked for in both.
fn tell_copies(root: &Fields<'_>, text: &Fields<'_>) {
    let elsewhere = ["tie_word_embeddings", "eos_token_id"];
    for field in TEXT.into_iter().filter(|field| !elsewhere.contains(field)) {
        let value = |part: &Fields<'_>| part.value().get(field).filter(|v| !v.is_null()).cloned();
        if let (Some(outer), Some(inner)) = (value(root), value(text))
            && !same(&outer, &inner)
        {
            let message = format!(
                "is {}, but `text_config.{field}` is {}, which counts, as in transformers",
                shown(&outer),
                shown(&inner)
            );
            root.warn(field, message);
        }
    }
}
