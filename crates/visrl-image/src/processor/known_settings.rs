//! What is known of the fields of `preprocessor_config.json` and `processor_config.json`: those that
//! are read, and those that change nothing.

use std::path::Path;

use serde_json::Value;
use visrl_core::files::{Fields, is_set, same, shown};
use visrl_core::warn_once;

/// The key under which settings stand that Hugging Face's files do not have.
pub(super) const OWN_KEY: &str = "visrl";

/// Settings of the image processor that are read.
const READ: [&str; 16] = [
    "do_convert_rgb",
    "do_normalize",
    "do_rescale",
    "do_resize",
    "image_mean",
    "image_processor_type",
    "image_std",
    "max_pixels",
    "merge_size",
    "min_pixels",
    "patch_size",
    "resample",
    "rescale_factor",
    "size",
    "temporal_patch_size",
    OWN_KEY,
];

/// Settings that change nothing here: forms of tensors, those of video, and notes.
const WITHOUT_EFFECT: [&str; 24] = [
    "_processor_class",
    "_valid_processor_keys",
    "auto_map",
    "crop_size",
    "data_format",
    "default_to_square",
    "device",
    "disable_grouping",
    "do_center_crop",
    "do_pad",
    "do_sample_frames",
    "feature_extractor_type",
    "fps",
    "image_processor_class",
    "input_data_format",
    "max_frames",
    "min_frames",
    "model_input_names",
    "num_frames",
    "pad_size",
    "processor_class",
    "return_metadata",
    "return_tensors",
    "video_processor_type",
];

/// What `processor_config.json` holds beside the settings of the image processor.
const OF_THE_WHOLE: [&str; 9] = [
    "auto_map",
    "chat_template",
    "image_processor",
    "image_token",
    "processor_class",
    "tokenizer",
    "tokenizer_class",
    "video_processor",
    "video_token",
];

/// What is done to pictures by other processors alone, which transformers passes over, too.
const NOT_DONE: [(&str, &str); 2] = [
    ("do_center_crop", "pictures are shown whole"),
    ("do_pad", "pictures are resized to whole patches"),
];

/// The processors of the three models.
const CLASSES: [&str; 3] = [
    "Qwen2VLProcessor",
    "Qwen2_5_VLProcessor",
    "Qwen3VLProcessor",
];

/// Warns of settings that are not known or not done.
pub(super) fn tell(fields: &Fields<'_>) {
    fields.tell_unknown(&[&READ, &WITHOUT_EFFECT]);
    for (field, instead) in NOT_DONE {
        if fields.value().get(field).is_some_and(is_set) {
            let message = format!("is true, which is not done: {instead}, as in transformers");
            fields.warn(field, message);
        }
    }
    tell_class(fields);
}

/// As [`tell`], for `processor_config.json` as a whole.
pub(super) fn tell_whole(fields: &Fields<'_>) {
    fields.tell_unknown(&[&OF_THE_WHOLE]);
    tell_class(fields);
}

fn tell_class(fields: &Fields<'_>) {
    const FIELD: &str = "processor_class";
    let class = fields.value().get(FIELD).and_then(Value::as_str);
    if let Some(class) = class.filter(|class| !CLASSES.contains(class)) {
        let message = format!("is `{class}`, but prompts are made as by `{}`", CLASSES[0]);
        fields.warn(FIELD, message);
    }
}

/// Warns of the first setting of a file that is not used which differs from the one that is.
pub(super) fn tell_rival(path: &Path, (used, other): (&Value, &Value), counts: &str) {
    let (Some(used), Some(other)) = (used.as_object(), other.as_object()) else {
        return;
    };
    let mut pairs = used
        .iter()
        .filter_map(|(name, value)| Some((name, value, other.get(name)?)));
    if let Some((name, used, other)) = pairs.find(|(_, used, other)| !same(used, other)) {
        warn_once(format!(
            "{}: field `{name}`: is {}, but {} in {counts}, which counts, as in transformers",
            path.display(),
            shown(other),
            shown(used)
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use visrl_testing::warnings_of;

    use crate::processor::config::Qwen2VlProcessorConfig;

    #[test]
    fn what_is_not_done_is_told_and_what_transformers_saves_is_not() {
        let told = |files: &[(&str, &str)]| {
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in files {
                fs::write(dir.path().join(name), text).unwrap();
            }
            let (read, told) = warnings_of(|| Qwen2VlProcessorConfig::from_dir(dir.path()));
            read.unwrap();
            told
        };
        let [nested, flat] = Qwen2VlProcessorConfig::PLACES.map(|(name, _)| name);
        let saved = r#"{"crop_size": null, "data_format": "channels_first", "do_pad": false,
            "default_to_square": true, "device": null, "do_center_crop": null, "patch_size": 14,
            "image_processor_type": "Qwen2VLImageProcessorFast", "return_tensors": null,
            "processor_class": "Qwen2_5_VLProcessor", "something_new": null}"#;
        assert_eq!(told(&[(flat, saved)]), [""; 0]);
        for (text, field) in [
            (
                r#"{"do_center_crop": true, "crop_size": 224}"#,
                "do_center_crop",
            ),
            (r#"{"do_pad": true}"#, "do_pad"),
            (
                r#"{"processor_class": "LlavaProcessor"}"#,
                "processor_class",
            ),
            (r#"{"do_grayscale": true}"#, "do_grayscale"),
            (r#"{"patch_size": 14, "patch_size": 14}"#, "patch_size"),
        ] {
            let told = told(&[(flat, text)]);
            let expected = format!("{flat}: field `{field}`: is ");
            assert!(told.len() == 1 && told[0].contains(&expected), "{told:?}");
        }
        let whole = |settings: &str| {
            format!(r#"{{"processor_class": "Qwen2VLProcessor", "image_processor": {settings}}}"#)
        };
        let size = |most: usize| format!(r#"{{"min_pixels": 3136, "max_pixels": {most}}}"#);
        assert_eq!(
            told(&[(nested, &whole(&size(5000))), (flat, &size(5000))]),
            [""; 0]
        );
        for other in [size(6000), size(0), "{".into()] {
            let told = told(&[(nested, &whole(&size(5000))), (flat, &other)]);
            let both = |text: &String| text.contains(nested) && text.contains(flat);
            assert!(told.len() == 1 && told.iter().all(both), "{told:?}");
        }
    }
}
