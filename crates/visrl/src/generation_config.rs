//! `generation_config.json` of a fine-tuned model.

use serde_json::{Map, Value, json};
use visrl_core::files::FileError;
use visrl_rollout::SamplingParams;
use visrl_vlm::CheckpointFiles;

use crate::error::Error;

/// The file that transformers' `generate` takes its settings from.
const FILE: &str = "generation_config.json";

/// Fields that say how tokens are drawn, and how many; what they say of the base is left out.
const SAMPLING: [&str; 16] = [
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "top_h",
    "epsilon_cutoff",
    "eta_cutoff",
    "repetition_penalty",
    "num_beams",
    "num_beam_groups",
    "penalty_alpha",
    "max_length",
    "max_new_tokens",
    "stop_strings",
];

/// The files of a base that stand beside the weights of its fine-tuned model: `generation_config.json`
/// is the recipe's. A model of one's own without a `config.json` has none.
pub(crate) fn files_to_save(
    base: &CheckpointFiles,
    sampling: &SamplingParams,
) -> Result<CheckpointFiles, Error> {
    if base.get("config.json").is_none() {
        return Ok(base.clone());
    }
    let text = generation_config(base.get(FILE), sampling)?;
    Ok(base.clone().with(FILE, text)?)
}

/// A base's `generation_config.json` with a recipe's sampling in the place of the base's: the end
/// tokens and what else it says stay. Filters that keep all tokens are left out, but for `top_k`,
/// which transformers sets to 50 where it is not said.
fn generation_config(base: Option<&[u8]>, sampling: &SamplingParams) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::json(FILE.as_ref(), source);
    let mut fields: Map<String, Value> = match base {
        Some(text) => serde_json::from_slice(text).map_err(failed)?,
        None => Map::new(),
    };
    for name in SAMPLING {
        fields.shift_remove(name);
    }
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    let samples = sampling.temperature > 0.0;
    set("do_sample", samples.into());
    if samples {
        set("temperature", json!(sampling.temperature));
        set("top_k", sampling.top_k.into());
        for (name, value, all) in [
            ("top_p", sampling.top_p, 1.0),
            ("min_p", sampling.min_p, 0.0),
            ("typical_p", sampling.typical_p, 1.0),
        ] {
            if value != all {
                set(name, json!(value));
            }
        }
    }
    if sampling.repetition_penalty != 1.0 {
        set("repetition_penalty", json!(sampling.repetition_penalty));
    }
    set("max_new_tokens", sampling.max_new_tokens.into());
    if !sampling.stop_strings.is_empty() {
        set("stop_strings", json!(sampling.stop_strings));
    }
    let mut text = serde_json::to_vec_pretty(&fields).map_err(failed)?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(base: Option<&str>, sampling: &SamplingParams) -> Value {
        let text = generation_config(base.map(str::as_bytes), sampling).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn a_chat_s_sampling_gives_way_and_end_tokens_stay() {
        let chat = r#"{"eos_token_id": [7, 8], "do_sample": true, "temperature": 0.01, "top_k": 1,
                       "top_p": 0.001, "repetition_penalty": 1.05, "transformers_version": "4.41"}"#;
        let sampling = SamplingParams {
            max_new_tokens: 8,
            ..SamplingParams::default()
        };
        let expected = json!({
            "eos_token_id": [7, 8], "transformers_version": "4.41",
            "do_sample": true, "temperature": 1.0, "top_k": 50, "max_new_tokens": 8,
        });
        assert_eq!(of(Some(chat), &sampling), expected);
        let own = SamplingParams {
            top_k: 0,
            top_p: 0.9,
            stop_strings: vec!["</answer>".into()],
            ..sampling
        };
        let expected = json!({
            "do_sample": true, "temperature": 1.0, "top_k": 0, "top_p": 0.9, "max_new_tokens": 8,
            "stop_strings": ["</answer>"],
        });
        assert_eq!(of(None, &own), expected);
    }

    #[test]
    fn greedy_has_no_temperature() {
        let expected = json!({ "do_sample": false, "max_new_tokens": 4 });
        assert_eq!(of(None, &SamplingParams::greedy(4)), expected);
        assert!(generation_config(Some(b"["), &SamplingParams::default()).is_err());
    }
}
