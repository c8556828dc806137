//! The settings of an image processor as Hugging Face's files hold them.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use visrl_core::files::{self, Fields, FileError};
use visrl_core::warn_once;

use super::config::{MAX_MERGE, MAX_PATCH, Qwen2VlProcessorConfig};
use super::known_settings::{self, OWN_KEY};
use crate::decode::Limits;
use crate::error::Error;
use crate::pipeline::ImagePipeline;
use crate::raster::AlphaMode;
use crate::resample::Resample;

/// The largest file of settings that is read, in bytes: real ones hold a few kilobytes.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// The names of the processor: Qwen2-VL's own, those of its other implementations, and that of
/// Qwen2.5-VL's first files.
const TYPES: [&str; 5] = [
    "Qwen2VLImageProcessor",
    "Qwen2VLImageProcessorFast",
    "Qwen2VLImageProcessorPil",
    "Qwen2_5_VLImageProcessor",
    "Qwen2_5_VLImageProcessorFast",
];

/// Transformers' bounds where a file has none.
const MIN_PIXELS: usize = 56 * 56;
const MAX_PIXELS: usize = 28 * 28 * 1280;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    pipeline: ImagePipeline,
    alpha: AlphaMode,
    limits: Limits,
}

impl Qwen2VlProcessorConfig {
    /// Reads `processor_config.json` when it holds the image processor's settings (transformers 5),
    /// or else `preprocessor_config.json`. What is not known in it, and settings of the other file
    /// that differ, are told in warnings.
    ///
    /// Bounds are taken from `min_pixels` and `max_pixels` or from `size`, which may name them
    /// `shortest_edge` and `longest_edge`; without any they are transformers' 3,136 and 1,003,520.
    /// Files not written by [`save`](Self::save) say nothing of
    /// pipeline, alpha and limits: the pipeline is [`ImagePipeline::Plain`] then, which is what
    /// transformers does with such a file, and the others are the defaults.
    ///
    /// # Errors
    /// [`Error::File`] with the file and the field: one that cannot be used, a `size` of another form
    /// (`height` and `width`), and an `image_processor_type` that is not Qwen2-VL's.
    pub fn from_dir(dir: &Path) -> Result<Self, Error> {
        let (path, part, value) = Self::find(dir)?;
        let config = Self::from_value(&path, part, &value)?;
        known_settings::tell(&Fields::new(&path, part, &value));
        if part.is_empty() {
            return Ok(config);
        }
        let other = dir.join(Self::PLACES[1].0);
        if other.exists() {
            let read = files::read_value(&other, MAX_CONFIG_BYTES).map_err(Error::from);
            let whole = |config| serde_json::to_value(config).unwrap_or_default();
            match read.and_then(|value| Self::from_value(&other, "", &value)) {
                Ok(rival) => {
                    let pair = (&whole(&config), &whole(&rival));
                    known_settings::tell_rival(&other, pair, Self::PLACES[0].0);
                }
                Err(error) => warn_once(format!(
                    "{error} (it is not used: {} counts, as in transformers)",
                    Self::PLACES[0].0
                )),
            }
        }
        Ok(config)
    }

    /// The file of a folder that holds the settings, and a field's name in it, for an error about
    /// the field.
    ///
    /// # Errors
    /// [`Error::File`] with the file that cannot be read.
    pub fn place_of(dir: &Path, field: &str) -> Result<(PathBuf, String), Error> {
        let (path, part, _) = Self::find(dir)?;
        let field = match part {
            "" => field.to_owned(),
            _ => format!("{part}.{field}"),
        };
        Ok((path, field))
    }

    /// The file that holds the settings, the object in it that does, and that object.
    fn find(dir: &Path) -> Result<(PathBuf, &'static str, Value), Error> {
        let [(nested, part), (flat, _)] = Self::PLACES;
        let (nested, part) = (dir.join(nested), part.unwrap_or_default());
        if nested.exists() {
            let mut value = files::read_value(&nested, MAX_CONFIG_BYTES)?;
            known_settings::tell_whole(&Fields::new(&nested, "", &value));
            let settings = value.get_mut(part).map(Value::take);
            if let Some(settings) = settings.filter(|settings| !settings.is_null()) {
                return Ok((nested, part, settings));
            }
        }
        let path = dir.join(flat);
        let value = files::read_value(&path, MAX_CONFIG_BYTES)?;
        Ok((path, "", value))
    }

    /// The files that may hold the settings, and the object in them that does; the first that is
    /// there counts.
    pub const PLACES: [(&str, Option<&str>); 2] = [
        ("processor_config.json", Some("image_processor")),
        ("preprocessor_config.json", None),
    ];

    fn own(&self) -> Own {
        Own {
            pipeline: self.pipeline,
            alpha: self.alpha,
            limits: self.limits,
        }
    }

    /// Adds what Hugging Face's files do not have to the settings in one of them.
    pub fn record_own(&self, settings: &mut Map<String, Value>) -> serde_json::Result<()> {
        settings.insert(OWN_KEY.into(), serde_json::to_value(self.own())?);
        Ok(())
    }

    /// Puts the bounds into the settings of one of Hugging Face's files, under every name that it
    /// has for them.
    pub fn record_bounds(&self, settings: &mut Map<String, Value>) {
        settings.insert("min_pixels".into(), self.min_pixels.into());
        settings.insert("max_pixels".into(), self.max_pixels.into());
        if let Some(size) = settings.get_mut("size") {
            *size = json!({ "shortest_edge": self.min_pixels, "longest_edge": self.max_pixels });
        }
    }

    fn from_value(path: &Path, prefix: &str, value: &Value) -> Result<Self, Error> {
        if !value.is_object() {
            return Err(FileError::field(path, prefix, "expected an object with settings").into());
        }
        let fields = Fields::new(path, prefix, value);
        let or = Self::default();
        let kind: Option<String> = fields.optional("image_processor_type")?;
        if let Some(kind) = kind.filter(|kind| !TYPES.contains(&kind.as_str())) {
            let message = format!("is `{kind}`, expected `{}`", TYPES[0]);
            return Err(fields.error("image_processor_type", message));
        }
        let bounds = Bounds::new(path, prefix, value)?;
        let resample = match fields.optional::<u64>("resample")? {
            None => or.resample,
            Some(code) => Resample::from_code(code).ok_or_else(|| {
                fields.error::<Error>(
                    "resample",
                    format!("is {code}, expected a Pillow filter, 0 to 5"),
                )
            })?,
        };
        if fields.optional("do_convert_rgb")? == Some(false) {
            let message = "is false, but the model takes RGB only";
            return Err(fields.error("do_convert_rgb", message));
        }
        let own: Option<Own> = fields.optional(OWN_KEY)?;
        let own = own.unwrap_or(Own {
            pipeline: ImagePipeline::Plain,
            alpha: or.alpha,
            limits: or.limits,
        });
        let config = Self {
            min_pixels: bounds.get("min_pixels", "shortest_edge", MIN_PIXELS)?,
            max_pixels: bounds.get("max_pixels", "longest_edge", MAX_PIXELS)?,
            patch_size: fields.size_or("patch_size", MAX_PATCH, or.patch_size)?,
            temporal_patch_size: fields.size_or(
                "temporal_patch_size",
                MAX_MERGE,
                or.temporal_patch_size,
            )?,
            merge_size: fields.size_or("merge_size", MAX_MERGE, or.merge_size)?,
            do_resize: fields.optional("do_resize")?.unwrap_or(true),
            resample,
            do_rescale: fields.optional("do_rescale")?.unwrap_or(true),
            rescale_factor: fields
                .optional("rescale_factor")?
                .unwrap_or(or.rescale_factor),
            do_normalize: fields.optional("do_normalize")?.unwrap_or(true),
            image_mean: channels(&fields, "image_mean")?.unwrap_or(or.image_mean),
            image_std: channels(&fields, "image_std")?.unwrap_or(or.image_std),
            pipeline: own.pipeline,
            alpha: own.alpha,
            limits: own.limits,
        };
        config
            .check()
            .map_err(|(field, message)| -> Error { fields.error(field, message) })?;
        Ok(config)
    }

    /// Writes `preprocessor_config.json`, which transformers reads as well; what it does not know
    /// stands in it under `visrl`.
    ///
    /// # Errors
    /// [`Error::File`] with the file.
    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        let path = dir.join("preprocessor_config.json");
        let own = self.own();
        let value = json!({
            "min_pixels": self.min_pixels,
            "max_pixels": self.max_pixels,
            "size": { "shortest_edge": self.min_pixels, "longest_edge": self.max_pixels },
            "patch_size": self.patch_size,
            "temporal_patch_size": self.temporal_patch_size,
            "merge_size": self.merge_size,
            "do_convert_rgb": true,
            "do_resize": self.do_resize,
            "resample": self.resample.code(),
            "do_rescale": self.do_rescale,
            "rescale_factor": self.rescale_factor,
            "do_normalize": self.do_normalize,
            "image_mean": self.image_mean,
            "image_std": self.image_std,
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2VLProcessor",
            OWN_KEY: own,
        });
        let failed = |source| FileError::Json {
            path: path.clone(),
            source,
        };
        let mut text = serde_json::to_string_pretty(&value).map_err(failed)?;
        text.push('\n');
        fs::create_dir_all(dir).map_err(|source| FileError::io(dir, source))?;
        Ok(files::write_file(&path, text.as_bytes())?)
    }
}

/// Where a file's bounds stand.
struct Bounds<'a> {
    fields: Fields<'a>,
    path: &'a Path,
    prefix: String,
    size: Option<&'a Value>,
}

impl<'a> Bounds<'a> {
    /// Refuses a `size` that says anything else than bounds.
    fn new(path: &'a Path, part: &'a str, settings: &'a Value) -> Result<Self, Error> {
        let fields = Fields::new(path, part, settings);
        let size = settings.get("size").filter(|size| !size.is_null());
        if let Some(size) = size {
            const NAMES: [&str; 4] = ["shortest_edge", "longest_edge", "min_pixels", "max_pixels"];
            let expected = "expected `shortest_edge` and `longest_edge`, in pixels of the image";
            let Some(object) = size.as_object() else {
                return Err(fields.error("size", format!("is {size}, {expected}")));
            };
            let other = |(name, value): &(&String, &Value)| {
                !value.is_null() && !NAMES.contains(&name.as_str())
            };
            if let Some((name, _)) = object.iter().find(other) {
                let message =
                    format!("has `{name}`, which Qwen2-VL's processor does not know; {expected}");
                return Err(fields.error("size", message));
            }
        }
        let prefix = match part {
            "" => "size".to_owned(),
            _ => format!("{part}.size"),
        };
        Ok(Self {
            fields,
            path,
            prefix,
            size,
        })
    }

    /// A bound: `name` of the settings, or else `name` or `edge` of `size`, or else, without a
    /// `size`, the default.
    fn get(&self, name: &str, edge: &str, or: usize) -> Result<usize, Error> {
        let first: Option<usize> = self.fields.optional(name)?;
        let Some(size) = self.size else {
            return Ok(first.unwrap_or(or));
        };
        let size = Fields::new(self.path, &self.prefix, size);
        let second: Option<usize> = match size.optional(name)? {
            Some(bound) => Some(bound),
            None => size.optional(edge)?,
        };
        if let (Some(first), Some(second)) = (first, second)
            && first != second
        {
            let message = format!(
                "is {first}, and `{}` has {second}; `{name}` counts, as in transformers",
                self.prefix
            );
            let error: FileError = self.fields.error(name, message);
            warn_once(error.to_string());
        }
        let lacks = || self.fields.error("size", format!("lacks `{edge}`"));
        first.or(second).ok_or_else(lacks)
    }
}

/// A number for each channel, or one for all.
fn channels(fields: &Fields<'_>, name: &str) -> Result<Option<[f64; 3]>, Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a number or a list of three")]
    enum Channels {
        Same(f64),
        Each([f64; 3]),
    }
    Ok(fields.optional(name)?.map(|channels| match channels {
        Channels::Same(number) => [number; 3],
        Channels::Each(numbers) => numbers,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Qwen2VlProcessorConfig, Error> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("preprocessor_config.json"), text).unwrap();
        Qwen2VlProcessorConfig::from_dir(dir.path())
    }

    #[test]
    fn what_is_saved_is_read() {
        let config = Qwen2VlProcessorConfig {
            min_pixels: 28 * 28,
            max_pixels: 12_544,
            resample: Resample::Lanczos,
            image_std: [0.1, 0.2, 0.3],
            pipeline: ImagePipeline::PaperEvaluation { size: 328 },
            alpha: AlphaMode::White,
            limits: Limits {
                max_pixels: 10_000,
                max_bytes: 99,
            },
            ..Default::default()
        };
        let dir = tempfile::tempdir().unwrap();
        config.save(dir.path()).unwrap();
        assert_eq!(
            Qwen2VlProcessorConfig::from_dir(dir.path()).unwrap(),
            config
        );
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<Qwen2VlProcessorConfig>(&text).unwrap(),
            config
        );
    }

    #[test]
    fn bounds_have_three_spellings() {
        for text in [
            r#"{"min_pixels": 100, "max_pixels": 200, "size": {"shortest_edge": 1}}"#,
            r#"{"size": {"min_pixels": 100, "max_pixels": 200}}"#,
            r#"{"size": {"shortest_edge": 100, "longest_edge": 200}, "min_pixels": null}"#,
        ] {
            let config = read(text).unwrap();
            assert_eq!((config.min_pixels, config.max_pixels), (100, 200), "{text}");
        }
        let plain = read("{}").unwrap();
        assert_eq!((plain.min_pixels, plain.max_pixels), (3136, 1_003_520));
        assert_eq!(plain.pipeline, ImagePipeline::Plain);
        let one = read(r#"{"max_pixels": 5000, "image_mean": 0.5}"#).unwrap();
        assert_eq!((one.min_pixels, one.max_pixels), (3136, 5000));
        assert_eq!(one.image_mean, [0.5; 3]);
    }

    #[test]
    fn bounds_are_recorded_under_every_name() {
        let config = Qwen2VlProcessorConfig {
            min_pixels: 100,
            max_pixels: 200,
            ..Default::default()
        };
        for (before, after) in [
            (json!({}), json!({ "min_pixels": 100, "max_pixels": 200 })),
            (
                json!({ "max_pixels": 5, "size": { "max_pixels": 5, "min_pixels": 4 } }),
                json!({
                    "max_pixels": 200, "min_pixels": 100,
                    "size": { "shortest_edge": 100, "longest_edge": 200 },
                }),
            ),
        ] {
            let mut settings = before.as_object().unwrap().clone();
            config.record_bounds(&mut settings);
            assert_eq!(Value::from(settings), after);
        }
    }

    #[test]
    fn a_nested_file_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let nested = r#"{"image_processor": {"patch_size": 16}}"#;
        fs::write(dir.path().join("processor_config.json"), nested).unwrap();
        fs::write(
            dir.path().join("preprocessor_config.json"),
            r#"{"patch_size": 8}"#,
        )
        .unwrap();
        assert_eq!(
            Qwen2VlProcessorConfig::from_dir(dir.path())
                .unwrap()
                .patch_size,
            16
        );
        let place = Qwen2VlProcessorConfig::place_of(dir.path(), "patch_size").unwrap();
        let expected = dir.path().join("processor_config.json");
        assert_eq!(place, (expected, "image_processor.patch_size".into()));
        let bad = r#"{"image_processor": {"size": {"shortest_edge": 1, "width": 2}}}"#;
        fs::write(dir.path().join("processor_config.json"), bad).unwrap();
        let message = Qwen2VlProcessorConfig::from_dir(dir.path()).unwrap_err();
        let message = message.to_string();
        assert!(
            message.contains("processor_config.json: field `image_processor.size`: has `width`"),
            "{message}"
        );
        let none = r#"{"image_processor": null}"#;
        fs::write(dir.path().join("processor_config.json"), none).unwrap();
        assert_eq!(
            Qwen2VlProcessorConfig::from_dir(dir.path())
                .unwrap()
                .patch_size,
            8
        );
    }

    #[test]
    fn errors_name_file_and_field() {
        for (text, field) in [
            (r#"{"patch_size": 0}"#, "patch_size"),
            (r#"{"patch_size": "14"}"#, "patch_size"),
            (r#"{"size": {"shortest_edge": -1}}"#, "size.shortest_edge"),
            (r#"{"size": {"shortest_edge": 100}}"#, "size"),
            (r#"{"size": {"longest_edge": 100}}"#, "size"),
            (r#"{"size": {"height": 224, "width": 224}}"#, "size"),
            (r#"{"size": 224}"#, "size"),
            (r#"{"size": {}}"#, "size"),
            (r#"{"size": [100, 200]}"#, "size"),
            (
                r#"{"image_processor_type": "CLIPImageProcessor"}"#,
                "image_processor_type",
            ),
            (r#"{"min_pixels": 9, "max_pixels": 8}"#, "max_pixels"),
            (r#"{"resample": 9}"#, "resample"),
            (r#"{"image_std": [0.1, 0.0, 0.1]}"#, "image_std"),
            (r#"{"image_mean": [0.1]}"#, "image_mean"),
            (r#"{"rescale_factor": 0}"#, "rescale_factor"),
            (r#"{"do_convert_rgb": false}"#, "do_convert_rgb"),
            (r#"{"visrl": {"pipeline": {"type": "paper"}}}"#, "visrl"),
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains("preprocessor_config.json"), "{message}");
            assert!(
                message.contains(&format!("`{field}`")),
                "{field}: {message}"
            );
        }
        assert!(matches!(
            read("[]"),
            Err(Error::File(FileError::Damaged { .. }))
        ));
        assert!(matches!(
            read("{"),
            Err(Error::File(FileError::Json { .. }))
        ));
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(
            Qwen2VlProcessorConfig::from_dir(empty.path()),
            Err(Error::File(FileError::Io { .. }))
        ));
    }
}
