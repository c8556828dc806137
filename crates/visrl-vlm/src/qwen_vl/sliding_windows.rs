//! Layers of the language model that attend within a window of tokens, which are not computed.

use visrl_core::files::Fields;

use super::config::QwenVlKind;
use super::default;
use crate::error::Error;

/// Refuses layers that attend within a window of tokens, which Qwen3-VL's do not.
pub(super) fn refuse_windows(
    fields: &Fields<'_>,
    layers: usize,
    kind: QwenVlKind,
) -> Result<(), Error> {
    let kinds = fields.optional::<Vec<String>>("layer_types")?;
    if let Some(kinds) = kinds {
        // The second is its older name.
        let known = ["full_attention", "attention"];
        let other = kinds.iter().find(|kind| !known.contains(&kind.as_str()));
        if let Some(kind) = other {
            let message = format!("holds `{kind}`, expected `full_attention` alone");
            return Err(fields.error("layer_types", message));
        }
        if kinds.len() != layers {
            let message = format!(
                "names {} layers, but num_hidden_layers is {layers}",
                kinds.len()
            );
            return Err(fields.error("layer_types", message));
        }
        return Ok(());
    }
    let is_on = fields.optional("use_sliding_window")? == Some(true);
    if kind == QwenVlKind::Qwen3 {
        if is_on {
            let message =
                "is true, which is not done: the model has no windows, as in transformers";
            fields.warn("use_sliding_window", message);
        }
        return Ok(());
    }
    // A window of null is none; one that is left out has a default.
    let is_none = fields.optional::<usize>("sliding_window")?.is_none()
        && fields.value().get("sliding_window").is_some();
    let first: Option<usize> = fields.optional("max_window_layers")?;
    let first = first.unwrap_or(default::SLIDING_FROM);
    if is_on && !is_none && first < layers {
        let message = format!(
            "is true, which is not supported: layers from {first} on (`max_window_layers`) would \
             attend within a window"
        );
        return Err(fields.error("use_sliding_window", message));
    }
    Ok(())
}
