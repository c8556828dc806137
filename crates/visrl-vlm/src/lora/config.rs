//! Which layers get a low-rank adapter (LoRA, arXiv 2106.09685), and its size.

use serde::{Deserialize, Deserializer, Serialize};

use super::targets::{Naming, Target, no_layer, pick};
use crate::error::Error;
use crate::model::vision_language_model::VisionLanguageModel;

/// The largest rank.
pub(crate) const MAX_RANK: usize = 1 << 14;

/// Which layers get an adapter, and its size; the fields are PEFT's, and mean what they mean there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// The rank of the adapters.
    pub r: usize,
    /// The product A B is multiplied by `lora_alpha / r`.
    pub lora_alpha: f64,
    /// Multiplies by `lora_alpha / sqrt(r)` instead (rsLoRA, arXiv 2312.03732).
    pub use_rslora: bool,
    /// Trains the norms of the weights' columns beside the product (DoRA, arXiv 2402.09353). Each look
    /// at a layer then costs a pass over its weight.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub use_dora: bool,
    /// The layers that get an adapter.
    pub target_modules: TargetModules,
    /// Layers that get none, although they are among the targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_modules: Option<TargetModules>,
    /// The places in the stacks of layers whose layers get an adapter, with a list of names in
    /// `target_modules`; all where it is empty.
    #[serde(deserialize_with = "places", skip_serializing_if = "Vec::is_empty")]
    pub layers_to_transform: Vec<usize>,
    /// The names of the stacks that `layers_to_transform` counts in (`layers`, `blocks`); any where it
    /// is empty.
    #[serde(deserialize_with = "names", skip_serializing_if = "Vec::is_empty")]
    pub layers_pattern: Vec<String>,
    /// Ranks of some layers, by the last parts of their names or an expression for them.
    #[serde(with = "by_layer", skip_serializing_if = "Vec::is_empty")]
    pub rank_pattern: Vec<(String, usize)>,
    /// `lora_alpha` of some layers, by the last parts of their names or an expression for them.
    #[serde(with = "by_layer", skip_serializing_if = "Vec::is_empty")]
    pub alpha_pattern: Vec<(String, f64)>,
    /// Modules that were trained whole beside the adapters, by the ends of their names. They are read
    /// and written with adapters; new adapters cannot have any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules_to_save: Vec<String>,
}

/// Layers by their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a list of names or an expression for them"
)]
pub enum TargetModules {
    /// Last parts of names: `q_proj`, `mlp.down_proj` or `visual.blocks.0.attn.qkv`.
    Names(Vec<String>),
    /// A regular expression of Python's that matches whole names, or `all-linear`: every linear layer
    /// but the head.
    Pattern(String),
}

impl Default for LoraConfig {
    /// Rank 16, alpha 32, on the attention and MLP of the language model.
    fn default() -> Self {
        let parts = ["q", "k", "v", "o", "gate", "up", "down"];
        let names = parts.map(|part| format!("{part}_proj"));
        Self {
            r: 16,
            lora_alpha: 32.0,
            use_rslora: false,
            use_dora: false,
            target_modules: TargetModules::Names(names.to_vec()),
            exclude_modules: None,
            layers_to_transform: Vec::new(),
            layers_pattern: Vec::new(),
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            modules_to_save: Vec::new(),
        }
    }
}

impl LoraConfig {
    /// The names of the fields, which are those of PEFT's `adapter_config.json`; the message of an
    /// [`Error::Adapter`] about one begins with it.
    pub const FIELDS: [&str; 11] = [
        "r",
        "lora_alpha",
        "use_rslora",
        "use_dora",
        "target_modules",
        "exclude_modules",
        "layers_to_transform",
        "layers_pattern",
        "rank_pattern",
        "alpha_pattern",
        "modules_to_save",
    ];

    /// The layers of a model that are meant.
    ///
    /// # Errors
    /// [`Error::Adapter`] with the field: a rank of 0, a pattern that does not parse, and any name or
    /// pattern that matches no layer.
    pub fn targets<M: VisionLanguageModel>(&self, model: &mut M) -> Result<Vec<String>, Error> {
        let targets = self.ranked_targets(model)?.into_iter();
        Ok(targets.map(|target| target.name).collect())
    }

    /// The layers that are meant, with their ranks.
    pub(crate) fn ranked_targets<M: VisionLanguageModel>(
        &self,
        model: &mut M,
    ) -> Result<Vec<Target>, Error> {
        let layers = layer_names(model);
        let picked = pick(self, &layers, Naming::Modules)
            .map_err(|fault| Error::Adapter(format!("{} {}", fault.field, fault.message)))?;
        match picked.without_layer.first() {
            None => Ok(picked.targets),
            Some(name) => {
                let message = format!("target_modules: `{name}` {}", no_layer(&layers));
                Err(Error::Adapter(message))
            }
        }
    }
}

/// The linear layers of a model, by their names on the hub.
pub(crate) fn layer_names<M: VisionLanguageModel>(model: &mut M) -> Vec<String> {
    let mut names = Vec::new();
    model.each_linear(&mut |name, _| names.push(name.to_owned()));
    names
}

/// Places, of which one may stand alone.
fn places<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<usize>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a number or a list of numbers")]
    enum Places {
        One(usize),
        Many(Vec<usize>),
    }
    Ok(match Places::deserialize(deserializer)? {
        Places::One(place) => vec![place],
        Places::Many(places) => places,
    })
}

/// Names, of which one may stand alone.
fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a name or a list of names")]
    enum Names {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Names::deserialize(deserializer)? {
        Names::One(name) => vec![name],
        Names::Many(names) => names,
    })
}

/// A map that keeps its order.
mod by_layer {
    use std::fmt;
    use std::marker::PhantomData;

    use serde::de::{MapAccess, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        pairs: &[(String, T)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, T)>, D::Error> {
        struct Pairs<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = Vec<(String, T)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("numbers by layer")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_those_that_a_file_has() {
        let error = serde_json::from_str::<LoraConfig>(r#"{"x": 1}"#).unwrap_err();
        let known = LoraConfig::FIELDS.map(|field| format!("`{field}`"));
        let expected = format!("unknown field `x`, expected one of {}", known.join(", "));
        assert!(error.to_string().starts_with(&expected), "{error}");
    }

    #[test]
    fn a_configuration_is_written_as_it_is_read() {
        let text = r#"{"r":4,"lora_alpha":8.0,"use_rslora":false,"target_modules":["q_proj"],"exclude_modules":".*visual.*","layers_to_transform":[1],"layers_pattern":["layers"],"rank_pattern":{"z":2,"a":3},"alpha_pattern":{"z":1.5}}"#;
        let config: LoraConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.rank_pattern, [("z".into(), 2), ("a".into(), 3)]);
        assert_eq!(serde_json::to_string(&config).unwrap(), text);
        let one = text
            .replace("[1]", "1")
            .replace("[\"layers\"]", "\"layers\"");
        assert_eq!(serde_json::from_str::<LoraConfig>(&one).unwrap(), config);
        for (text, expected) in [
            (r#"{"target_modules": 3}"#, "a list of names"),
            (r#"{"exclude_modules": [1]}"#, "a list of names"),
            (
                r#"{"layers_to_transform": "x"}"#,
                "a number or a list of numbers",
            ),
            (r#"{"layers_pattern": 3}"#, "a name or a list of names"),
            (r#"{"rank_pattern": 3}"#, "numbers by layer"),
        ] {
            let error = serde_json::from_str::<LoraConfig>(text).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        // What is not set is not written.
        let plain = serde_json::to_value(LoraConfig::default()).unwrap();
        assert_eq!(plain.as_object().unwrap().len(), 4);
    }
}
