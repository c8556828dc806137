//! What is known of the fields of `tokenizer_config.json`, and what files beside `tokenizer.json` say
//! otherwise.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use tokenizers::Tokenizer;
use visrl_core::files::{Fields, FileError, is_set, parse_json};
use visrl_core::warn_once;

/// Fields that are read, here or by the chat template.
const READ: [&str; 6] = [
    "added_tokens_decoder",
    "additional_special_tokens",
    "chat_template",
    "eos_token",
    "extra_special_tokens",
    "pad_token",
];

/// Fields that change nothing here: a prompt is neither cut nor filled up, and tokens with a role of
/// their own are found by their names.
const WITHOUT_EFFECT: [&str; 46] = [
    "add_prefix_space",
    "audio_bos_token",
    "audio_eos_token",
    "audio_token",
    "auto_map",
    "backend",
    "bos_token",
    "clean_up_tokenization_spaces",
    "cls_token",
    "errors",
    "image_token",
    "is_fast",
    "is_local",
    "legacy",
    "local_files_only",
    "mask_token",
    "max_length",
    "merges_file",
    "model_input_names",
    "model_max_length",
    "model_specific_special_tokens",
    "name_or_path",
    "pad_to_multiple_of",
    "pad_token_id",
    "pad_token_type_id",
    "padding",
    "padding_side",
    "processor_class",
    "sep_token",
    "slow_tokenizer_class",
    "special_tokens_map_file",
    "split_special_tokens",
    "stride",
    "tokenizer_class",
    "tokenizer_file",
    "truncation",
    "truncation_side",
    "truncation_strategy",
    "unk_token",
    "use_fast",
    "video_token",
    "vision_bos_token",
    "vision_eos_token",
    "vision_end_token",
    "vision_start_token",
    "vocab_file",
];

/// Switches that would change the tokens or the text, which Qwen2's tokenizers leave off.
const OFF: [&str; 5] = [
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
    "clean_up_tokenization_spaces",
    "split_special_tokens",
];

/// Warns of what `tokenizer_config.json` says that is not known or not done.
pub(super) fn tell(config: &Fields<'_>) {
    config.tell_unknown(&[&READ, &WITHOUT_EFFECT, &OFF]);
    for field in OFF {
        if config.value().get(field).is_some_and(is_set) {
            config.warn(
                field,
                "is true, which is not done: Qwen2's tokenizers leave it off",
            );
        }
    }
}

/// Warns of tokens that `special_tokens_map.json` gives a role which another has.
pub(super) fn tell_rivals(map: &Fields<'_>, config: &Value) {
    let text = |value: &Value, field: &str| {
        let token = value.get(field)?;
        let token = token.get("content").unwrap_or(token).as_str()?;
        Some(token.to_owned())
    };
    for (field, or) in [("eos_token", "<|im_end|>"), ("pad_token", "<|endoftext|>")] {
        let counts = text(config, field).unwrap_or_else(|| or.to_owned());
        if let Some(other) = text(map.value(), field).filter(|other| *other != counts) {
            let message = format!(
                "is `{other}`, but `{counts}` counts, which tokenizer_config.json says or which is \
                 the default"
            );
            map.warn(field, message);
        }
    }
}

/// Warns of a `vocab.json` with other ids than `tokenizer.json`, which counts.
pub(super) fn tell_vocabulary(path: &Path, bytes: &[u8], tokenizer: &Tokenizer) {
    let vocabulary: BTreeMap<String, u32> = match parse_json(path, bytes) {
        Ok(vocabulary) => vocabulary,
        Err(error) => {
            return warn_once(format!("{error} (it is not used: tokenizer.json counts)"));
        }
    };
    let other = |(token, id): &(&String, &u32)| tokenizer.token_to_id(token) != Some(**id);
    if let Some((token, id)) = vocabulary.iter().find(other) {
        let counts = match tokenizer.token_to_id(token) {
            Some(counts) => counts.to_string(),
            None => "none".to_owned(),
        };
        let message = format!("is {id}, but {counts} in tokenizer.json, which counts");
        warn_once(FileError::field(path, token, message).to_string());
    }
}
