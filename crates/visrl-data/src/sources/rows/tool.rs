use serde::{Deserialize, Deserializer, Serialize};

/// The training tool that a file was written for, where two read the same columns differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    /// Its column `label` is no answer.
    MsSwift,
    /// Read by `dataset_info.json`.
    LlamaFactory,
    /// TRL.
    Trl,
    /// Each image has its mark.
    #[serde(rename = "easyr1")]
    EasyR1,
    /// Each image has its mark.
    Verl,
    /// The first turn is the question and the second the answer, whoever speaks; all images stand
    /// in front.
    #[serde(rename = "vlm-r1")]
    VlmR1,
    /// CLS-RL.
    ClsRl,
}

impl Tool {
    /// All tools.
    pub const ALL: [Self; 7] = [
        Self::MsSwift,
        Self::LlamaFactory,
        Self::Trl,
        Self::EasyR1,
        Self::Verl,
        Self::VlmR1,
        Self::ClsRl,
    ];

    /// The tool of a name, such as `ms-swift` or `VLM-R1`, in any case and with any dashes.
    pub fn named(name: &str) -> Option<Self> {
        let plain = |name: &str| -> String {
            let kept = name.chars().filter(|c| c.is_alphanumeric());
            kept.collect::<String>().to_lowercase()
        };
        let name = plain(name);
        Self::ALL
            .into_iter()
            .find(|tool| plain(tool.as_str()) == name)
    }

    /// The tool's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MsSwift => "ms-swift",
            Self::LlamaFactory => "llama-factory",
            Self::Trl => "trl",
            Self::EasyR1 => "easyr1",
            Self::Verl => "verl",
            Self::VlmR1 => "vlm-r1",
            Self::ClsRl => "cls-rl",
        }
    }

    /// Whether the tool refuses a row with fewer marks than images.
    pub(crate) fn marks_all(self) -> bool {
        matches!(self, Self::LlamaFactory | Self::EasyR1 | Self::Verl)
    }
}

impl<'de> Deserialize<'de> for Tool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            serde::de::Error::custom(format!("`{name}` is no tool known; there are {known}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_named_as_people_write_them() {
        for tool in Tool::ALL {
            let json = serde_json::to_string(&tool).unwrap();
            assert_eq!(json, format!("\"{}\"", tool.as_str()));
            assert_eq!(serde_json::from_str::<Tool>(&json).unwrap(), tool);
        }
        for name in ["LLaMA-Factory", "llama_factory", "LLAMAFACTORY"] {
            assert_eq!(Tool::named(name), Some(Tool::LlamaFactory));
        }
        assert!(serde_json::from_str::<Tool>("\"unsloth\"").is_err());
    }
}
