//! The number format in a saved `config.json`.

use serde_json::Value;

use super::save_options::SaveDtype;

/// `config.json` with the format of the saved weights: the fields that say it (`dtype` in
/// transformers 5, `torch_dtype` before, of the model and of its parts) are set, and `torch_dtype`,
/// which both read, is added where there is none. Otherwise the file stays as it is.
pub(crate) fn config_with_dtype(config: &[u8], dtype: SaveDtype) -> Result<Vec<u8>, String> {
    const FIELDS: [&str; 2] = ["dtype", "torch_dtype"];
    let mut root: Value = serde_json::from_slice(config).map_err(|error| error.to_string())?;
    let before = root.clone();
    let set = |object: &mut Value| {
        let mut found = false;
        for field in FIELDS {
            if let Some(value) = object.get_mut(field) {
                *value = dtype.name().into();
                found = true;
            }
        }
        found
    };
    for part in ["text_config", "vision_config"] {
        if let Some(part) = root.get_mut(part) {
            set(part);
        }
    }
    if !set(&mut root)
        && let Some(fields) = root.as_object_mut()
    {
        fields.insert("torch_dtype".into(), dtype.name().into());
    }
    if root == before {
        return Ok(config.to_vec());
    }
    Ok(format!("{root:#}\n").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_tells_the_format() {
        let saved = |text: &str| {
            let bytes = config_with_dtype(text.as_bytes(), SaveDtype::Bf16).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(
            saved("{\"a\": 1}"),
            "{\n  \"a\": 1,\n  \"torch_dtype\": \"bfloat16\"\n}\n"
        );
        let nested = saved(r#"{"dtype":"float32","text_config":{"dtype":"float32","b":2}}"#);
        assert!(
            !nested.contains("float32") && !nested.contains("torch_dtype"),
            "{nested}"
        );
        // What is right is left as it is written.
        let right = r#"{ "torch_dtype":"bfloat16" }"#;
        assert_eq!(saved(right), right);
        assert!(config_with_dtype(b"{", SaveDtype::F32).is_err());
    }
}
