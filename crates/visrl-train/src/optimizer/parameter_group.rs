//! Parameters that are trained in a way of their own.

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The largest weight decay: far more than any use.
pub(super) const MOST_DECAY: f32 = 1e3;
/// The most that a group's rate may be of the learner's.
const MOST_RATIO: f64 = 1e6;

/// Parameters with a learning rate or weight decay of their own. By default all parameters, treated
/// as all others.
///
/// ```
/// use visrl_train::{NamePattern, ParameterGroup};
///
/// // Adapters as PEFT names them; their second factors at sixteen times the rate (LoRA+).
/// let second = ParameterGroup {
///     names: NamePattern::new(r"lora_B\.weight$")?,
///     learning_rate: 16.0,
///     ..ParameterGroup::default()
/// };
/// assert!(second.contains("model.layers.0.self_attn.q_proj.lora_B.weight", 2));
/// # Ok::<(), visrl_train::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParameterGroup {
    /// The parameters, by their Hugging Face names: `^visual\.` is the vision tower with the
    /// merger of Qwen's models.
    pub names: NamePattern,
    /// Whether only vectors are meant: biases and the weights of norms.
    pub vectors_only: bool,
    /// Multiplies the learning rate.
    pub learning_rate: f64,
    /// The weight decay, where it is not the optimizer's.
    pub weight_decay: Option<f32>,
}

impl Default for ParameterGroup {
    fn default() -> Self {
        Self {
            names: NamePattern::default(),
            vectors_only: false,
            learning_rate: 1.0,
            weight_decay: None,
        }
    }
}

impl ParameterGroup {
    /// Biases and the weights of norms without weight decay: a common habit, and that of Hugging
    /// Face's trainer. The paper decays nothing.
    pub fn vectors_without_decay() -> Self {
        Self {
            vectors_only: true,
            weight_decay: Some(0.0),
            ..Self::default()
        }
    }

    /// Checks the numbers of the group, the so-manieth of its list.
    pub(crate) fn validate(&self, number: usize) -> Result<(), Error> {
        let decay = self.weight_decay.map_or(0.0, f64::from);
        let values = [
            ("learning_rate", self.learning_rate, MOST_RATIO),
            ("weight_decay", decay, MOST_DECAY.into()),
        ];
        let other = |(_, value, most): &(_, f64, f64)| !(0.0..=*most).contains(value);
        match values.into_iter().find(other) {
            None => Ok(()),
            Some((field, value, most)) => {
                let message = format!("group {number}: `{field}` is {value}, expected 0 to {most}");
                Err(Error::config("parameter_groups", message))
            }
        }
    }

    /// Whether a parameter with this name and this many axes belongs to the group.
    pub fn contains(&self, name: &str, axes: usize) -> bool {
        (!self.vectors_only || axes == 1) && self.names.matches(name)
    }
}

/// A regular expression that is searched for in names. The default, the empty one, is found in all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern(Option<Regex>);

impl NamePattern {
    /// A pattern.
    ///
    /// # Errors
    /// [`Error::Config`] when it is not a regular expression.
    pub fn new(pattern: &str) -> Result<Self, Error> {
        if pattern.is_empty() {
            return Ok(Self::default());
        }
        let regex = Regex::new(pattern).map_err(|error| {
            Error::config("names", format!("is no regular expression: {error}"))
        })?;
        Ok(Self(Some(regex)))
    }

    /// Whether it is found in a name.
    pub fn matches(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|regex| regex.is_match(name))
    }

    /// The pattern's text.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", Regex::as_str)
    }
}

impl PartialEq for NamePattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl TryFrom<String> for NamePattern {
    type Error = Error;

    fn try_from(pattern: String) -> Result<Self, Error> {
        Self::new(&pattern)
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_axes_decide() {
        let all = ParameterGroup::default();
        assert!(all.contains("anything", 2));
        let vectors = ParameterGroup::vectors_without_decay();
        assert!(vectors.contains("model.norm.weight", 1) && !vectors.contains("lm_head.weight", 2));
        let tower = ParameterGroup {
            names: NamePattern::new(r"^visual\.").unwrap(),
            ..all
        };
        assert!(tower.contains("visual.blocks.0.attn.qkv.weight", 2));
        assert!(!tower.contains("model.visual.norm.weight", 1));
    }

    #[test]
    fn a_group_survives_a_file_and_a_wrong_pattern_does_not() {
        let group = ParameterGroup {
            names: NamePattern::new("lora_B").unwrap(),
            learning_rate: 16.0,
            ..ParameterGroup::default()
        };
        let json = serde_json::to_string(&group).unwrap();
        assert_eq!(
            serde_json::from_str::<ParameterGroup>(&json).unwrap(),
            group
        );
        let error = serde_json::from_str::<ParameterGroup>(r#"{"names": "("}"#).unwrap_err();
        assert!(
            error.to_string().contains("`names` is no regular"),
            "{error}"
        );
    }
}
