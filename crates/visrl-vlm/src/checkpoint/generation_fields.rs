//! What is known of the fields of `generation_config.json`: those of transformers' `GenerationConfig`,
//! of which the ends of text alone are read.

use serde_json::{Value, json};
use visrl_core::files::{Fields, is_set, same, shown};

/// Settings of `GenerationConfig` in transformers 4.25 to 5, and those that other engines read there.
const KNOWN: [&str; 79] = [
    "_commit_hash",
    "_from_model_config",
    "assistant_confidence_threshold",
    "assistant_early_exit",
    "assistant_lookbehind",
    "attn_implementation",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "cache_config",
    "cache_implementation",
    "compile_config",
    "constraints",
    "continuous_batching_config",
    "custom_generate",
    "decoder_start_token_id",
    "disable_compile",
    "diversity_penalty",
    "do_sample",
    "dola_layers",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "eos_token_id",
    "epsilon_cutoff",
    "eta_cutoff",
    "exponential_decay_length_penalty",
    "force_words_ids",
    "forced_bos_token_id",
    "forced_decoder_ids",
    "forced_eos_token_id",
    "frequency_penalty",
    "generation_kwargs",
    "guidance_scale",
    "is_assistant",
    "length_penalty",
    "low_memory",
    "max_length",
    "max_matching_ngram_size",
    "max_new_tokens",
    "max_time",
    "min_length",
    "min_new_tokens",
    "min_p",
    "no_repeat_ngram_size",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "output_scores",
    "pad_token_id",
    "penalty_alpha",
    "prefill_chunk_size",
    "presence_penalty",
    "prompt_lookup_num_tokens",
    "remove_invalid_values",
    "renormalize_logits",
    "repetition_penalty",
    "return_dict_in_generate",
    "return_legacy_cache",
    "sequence_bias",
    "stop_strings",
    "suppress_tokens",
    "target_lookbehind",
    "temperature",
    "token_healing",
    "top_h",
    "top_k",
    "top_p",
    "transformers_version",
    "trust_remote_code",
    "typical_p",
    "use_cache",
    "use_model_defaults",
    "watermarking_config",
];

/// Settings that change which tokens transformers generates and are not followed here. Those of
/// sampling and of lengths are not among them: they are for chat, and a run has its own.
const NOT_FOLLOWED: [&str; 25] = [
    "bad_words_ids",
    "begin_suppress_tokens",
    "constraints",
    "diversity_penalty",
    "dola_layers",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "exponential_decay_length_penalty",
    "force_words_ids",
    "forced_bos_token_id",
    "forced_decoder_ids",
    "forced_eos_token_id",
    "frequency_penalty",
    "guidance_scale",
    "min_length",
    "min_new_tokens",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "penalty_alpha",
    "presence_penalty",
    "sequence_bias",
    "suppress_tokens",
    "token_healing",
    "watermarking_config",
];

/// Those of them that 1 turns off; 0 does so for the others.
const OFF_AT_ONE: [&str; 4] = [
    "encoder_repetition_penalty",
    "guidance_scale",
    "num_beam_groups",
    "num_beams",
];

/// Ids of tokens, for which 0 is one.
const IDS: [&str; 2] = ["forced_bos_token_id", "forced_eos_token_id"];

/// Settings that are numbers.
const NUMBERS: [&str; 12] = [
    "epsilon_cutoff",
    "eta_cutoff",
    "length_penalty",
    "max_length",
    "max_new_tokens",
    "min_p",
    "repetition_penalty",
    "temperature",
    "top_h",
    "top_k",
    "top_p",
    "typical_p",
];

/// Tokens by their ids.
const TOKENS: [&str; 3] = ["bos_token_id", "decoder_start_token_id", "pad_token_id"];

/// Warns of settings that are not known, that change what is generated and are not followed, and that
/// are of another type than theirs.
pub(super) fn tell(fields: &Fields<'_>) {
    fields.tell_unknown(&[&KNOWN]);
    let Some(object) = fields.value().as_object() else {
        return;
    };
    for (name, value) in object {
        let name = name.as_str();
        if let Some(expected) = unfit(name, value) {
            let message = format!("is {}, expected {expected}: it is not used", shown(value));
            fields.warn(name, message);
        } else if NOT_FOLLOWED.contains(&name) && !is_off(name, value) {
            let message = format!(
                "is {}, which changes what transformers generates and is not followed here",
                shown(value)
            );
            fields.warn(name, message);
        }
    }
}

/// Whether a setting is as transformers has it where a file says nothing.
fn is_off(name: &str, value: &Value) -> bool {
    let off = if OFF_AT_ONE.contains(&name) { 1 } else { 0 };
    !is_set(value) || (!IDS.contains(&name) && same(value, &json!(off)))
}

/// What is expected in the place of a value of another type.
fn unfit(name: &str, value: &Value) -> Option<&'static str> {
    let is_id = |value: &Value| value.is_u64();
    let is_ids = match value {
        Value::Array(ids) => ids.iter().all(is_id),
        one => is_id(one),
    };
    match value {
        Value::Null => None,
        _ if NUMBERS.contains(&name) && !value.is_number() => Some("a number"),
        _ if TOKENS.contains(&name) && !is_ids => Some("the id of a token"),
        _ if name == "do_sample" && !value.is_boolean() => Some("true or false"),
        _ => None,
    }
}
