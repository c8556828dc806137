use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// A part of a data set.
///
/// In files it may be called as other projects call it, by [`Split::named`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What is trained on.
    Train,
    /// What choices between runs are made on.
    Val,
    /// What is reported.
    Test,
}

impl Split {
    /// The three splits, in order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// What a name that is none may be told.
    pub(crate) const NAMES: &'static str =
        "train (training), val (valid, validation, dev) or test (testing)";

    /// The split's name in files and folders: `train`, `val`, `test`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }

    /// The split that a name means, in any case: `train` or `training`; `val`, `valid`,
    /// `validation`, `dev` or `development`; `test` or `testing`; each also as `train_set`,
    /// `trainset` and the like. `None` for any other, `eval` among them, which some take for
    /// validation and others for the test.
    ///
    /// ```
    /// use visrl_data::Split;
    ///
    /// assert_eq!(Split::named("Validation"), Some(Split::Val));
    /// assert_eq!(Split::named("training_set"), Some(Split::Train));
    /// assert_eq!(Split::named("eval"), None);
    /// ```
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim().to_lowercase();
        let name = name.strip_suffix("set").unwrap_or(&name);
        match name.trim_end_matches(['_', '-', ' ']) {
            "train" | "training" => Some(Self::Train),
            "val" | "valid" | "validation" | "dev" | "development" => Some(Self::Val),
            "test" | "testing" => Some(Self::Test),
            _ => None,
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Split {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<'_, str>::deserialize(deserializer)?;
        let unknown = || {
            let names = Self::NAMES;
            serde::de::Error::custom(format_args!("`{name}` is no split; a split is {names}"))
        };
        Self::named(&name).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_called_as_other_projects_call_them() {
        for (names, split) in [
            (
                &["train", "TRAIN", "training", "trainset", "train-set"][..],
                Split::Train,
            ),
            (
                &[
                    "val",
                    "valid",
                    "Validation",
                    "dev",
                    "development",
                    "val_set",
                ],
                Split::Val,
            ),
            (&["test", "testing", " test ", "test set"], Split::Test),
        ] {
            for name in names {
                assert_eq!(Split::named(name), Some(split), "{name}");
                let json = format!("\"{name}\"");
                assert_eq!(serde_json::from_str::<Split>(&json).unwrap(), split);
            }
            let own = serde_json::to_string(&split).unwrap();
            assert_eq!(own, format!("\"{split}\""));
        }
        for name in ["", "eval", "set", "trainval", "test2", "holdout"] {
            assert_eq!(Split::named(name), None, "{name}");
        }
        let message = serde_json::from_str::<Split>("\"eval\"")
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("`eval` is no split; a split is train"),
            "{message}"
        );
    }
}
