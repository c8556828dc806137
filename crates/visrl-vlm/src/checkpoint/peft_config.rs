//! PEFT's `adapter_config.json`: which of its options are computed, which change nothing, and which
//! are refused.

use std::path::Path;

use serde_json::{Map, Value, json};
use visrl_core::files::{Fields, FileError, is_set, shown};

use crate::error::Error;
use crate::lora::config::{LoraConfig, MAX_RANK};

/// PEFT's rank and alpha where a file has none.
const RANK: usize = 8;
const ALPHA: f64 = 8.0;

/// Options that change nothing about what trained tensors mean: notes, what matters in training alone,
/// and settings of other options.
const WITHOUT_EFFECT: [&str; 17] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "inference_mode",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
    "velora_config",
];

/// Options that are not computed, and what they do.
const REFUSED: [(&str, &str); 12] = [
    (
        "alora_invocation_tokens",
        "the adapter works after these tokens alone",
    ),
    ("arrow_config", "several adapters share the work"),
    (
        "invocation_string",
        "the adapter works after this text alone",
    ),
    ("kasa_config", "the factors are scaled by singular values"),
    ("layer_replication", "layers are repeated"),
    ("lora_bias", "B has a bias"),
    ("megatron_config", "the layers are those of Megatron"),
    ("monteclora_config", "the factors are drawn"),
    (
        "target_parameters",
        "parameters outside of layers are trained",
    ),
    ("trainable_token_indices", "embeddings are trained"),
    ("use_bdlora", "the factors are block-diagonal"),
    ("use_qalora", "the inputs are pooled"),
];

/// Initialisations that leave the base as it is.
const PLAIN_STARTS: [&str; 3] = ["eva", "gaussian", "orthogonal"];

const MERGED: &str = "merge the adapter into its base with PEFT, and use that model";

/// Reads the options of an adapter.
///
/// # Errors
/// [`Error::File`] with the field: another kind of adapter, an option that is not supported, and an
/// initialisation that changes the base. Options that are not known are told in a warning.
pub(super) fn read(path: &Path, raw: &Value) -> Result<LoraConfig, Error> {
    let fields = Fields::new(path, "", raw);
    let Some(object) = raw.as_object() else {
        return Err(fields.error("peft_type", "is missing: expected an object with options"));
    };
    let kind: String = fields.required("peft_type")?;
    if kind != "LORA" {
        return Err(fields.error("peft_type", format!("is `{kind}`, expected `LORA`")));
    }
    for (field, what) in REFUSED {
        if let Some(value) = object.get(field).filter(|value| is_set(value)) {
            let message = format!("is {}, which is not supported: {what}", shown(value));
            let remedy = match field {
                "alora_invocation_tokens" | "arrow_config" | "invocation_string" => String::new(),
                _ => format!("; {MERGED}"),
            };
            return Err(fields.error(field, message + &remedy));
        }
    }
    let bias = fields.optional::<String>("bias")?;
    if let Some(bias) = bias.filter(|bias| bias != "none") {
        let message = format!("is `{bias}`, expected `none`; {MERGED}");
        return Err(fields.error("bias", message));
    }
    check_start(&fields, object.get("init_lora_weights"))?;
    tell(&fields, object);
    // As the settings of a run, without what is null; an error names its field.
    let mut options = Map::new();
    for field in LoraConfig::FIELDS {
        if let Some(value) = object.get(field).filter(|value| !value.is_null()) {
            options.insert(field.to_owned(), value.clone());
            let one = Value::from(Map::from_iter([(field.to_owned(), value.clone())]));
            if let Err(source) = serde_json::from_value::<LoraConfig>(one) {
                return Err(fields.error(field, format!("{source}, found {}", shown(value))));
            }
        }
    }
    fields.required::<Value>("target_modules")?;
    check_layers_pattern(&fields, object)?;
    fields.size_or("r", MAX_RANK, RANK)?;
    // Without effect outside of training, but what is no share of anything is a mistake.
    fields.number_or("lora_dropout", [0.0, 1.0], 0.0)?;
    for (field, or) in [("r", json!(RANK)), ("lora_alpha", json!(ALPHA))] {
        options.entry(field).or_insert(or);
    }
    serde_json::from_value(options.into()).map_err(|source| FileError::json(path, source).into())
}

/// Refuses the name of a stack of layers where no layers are chosen in it, as PEFT does.
fn check_layers_pattern(fields: &Fields<'_>, object: &Map<String, Value>) -> Result<(), Error> {
    const FIELD: &str = "layers_pattern";
    let value = |field: &str| object.get(field).filter(|value| !value.is_null());
    let Some(pattern) = value(FIELD) else {
        return Ok(());
    };
    let needs = match (value("target_modules"), value("layers_to_transform")) {
        (Some(Value::String(_)), _) => "a list of names in `target_modules`",
        (_, None) if is_set(pattern) => "`layers_to_transform`",
        _ => return Ok(()),
    };
    let message = format!("is {}, which needs {needs}, as in PEFT", shown(pattern));
    Err(fields.error(FIELD, message))
}

/// Refuses adapters that were trained beside a base that is not the one on disk.
fn check_start(fields: &Fields<'_>, start: Option<&Value>) -> Result<(), Error> {
    let message = match start {
        None | Some(Value::Null | Value::Bool(_)) => return Ok(()),
        Some(Value::String(start)) if PLAIN_STARTS.contains(&start.as_str()) => return Ok(()),
        Some(start) => format!(
            "is {}, which changes the weights that the adapter is added to; save it as a plain \
             adapter (`path_initial_model_for_weight_conversion` of PEFT's `save_pretrained`), or \
             {MERGED}",
            shown(start)
        ),
    };
    Err(fields.error("init_lora_weights", message))
}

/// Warns of options that are passed over.
fn tell(fields: &Fields<'_>, object: &Map<String, Value>) {
    const FAN_IN: &str = "fan_in_fan_out";
    let refused = REFUSED.map(|(field, _)| field);
    let others = ["bias", "init_lora_weights", FAN_IN];
    fields.tell_unknown(&[&LoraConfig::FIELDS, &WITHOUT_EFFECT, &refused, &others]);
    if object.get(FAN_IN).is_some_and(is_set) {
        let message = "is true, which has no meaning for the layers of this model, as in PEFT";
        fields.warn(FAN_IN, message);
    }
}

/// The file of an adapter on a base, which PEFT will say that it belongs to.
pub(super) fn write(config: &LoraConfig, base: &str) -> Value {
    let map = |empty: bool, value: Value| if empty { json!({}) } else { value };
    let list = |empty: bool, value: Value| if empty { Value::Null } else { value };
    // Numbers and text always have a JSON form.
    let own = serde_json::to_value(config).unwrap_or_default();
    json!({
        "peft_type": "LORA",
        "task_type": null,
        "base_model_name_or_path": base,
        "r": config.r,
        "lora_alpha": config.lora_alpha,
        "use_rslora": config.use_rslora,
        "use_dora": config.use_dora,
        "target_modules": config.target_modules,
        "exclude_modules": config.exclude_modules,
        "layers_to_transform":
            list(config.layers_to_transform.is_empty(), own["layers_to_transform"].clone()),
        "layers_pattern": list(config.layers_pattern.is_empty(), own["layers_pattern"].clone()),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "modules_to_save":
            list(config.modules_to_save.is_empty(), own["modules_to_save"].clone()),
        "rank_pattern": map(config.rank_pattern.is_empty(), own["rank_pattern"].clone()),
        "alpha_pattern": map(config.alpha_pattern.is_empty(), own["alpha_pattern"].clone()),
    })
}
