//! The loss families by name.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::loss::aggregation::Aggregation;
use crate::loss::cispo::Cispo;
use crate::loss::clipped::Clipped;
use crate::loss::on_policy::OnPolicy;
use crate::loss::sapo::Sapo;
use crate::loss::surrogate::Surrogate;
use crate::loss::vespo::Vespo;

/// A loss family and its own parameters, tagged by `"type"` in configuration files.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum LossFamily {
    /// The paper's (arXiv 2503.16188): [`OnPolicy`], mean per sequence, then over sequences.
    /// The default.
    PaperClsRl(OnPolicy),
    /// GRPO (arXiv 2402.03300): [`Clipped`], mean per sequence, then over sequences. With
    /// [`ImportanceLevel::Sequence`](crate::ImportanceLevel) it is GSPO (arXiv 2507.18071).
    Grpo(Clipped),
    /// [`Clipped`], mean over the tokens of the batch. Without a
    /// [`Normalization`](crate::Normalization) the batch is the one being evaluated.
    Bnpo(Clipped),
    /// Dr. GRPO (arXiv 2503.20783): [`Clipped`], summed over tokens and divided by
    /// `B * max_completion_length`, so that a token's weight depends neither on its completion's
    /// length nor on the batch. Meant for [`Advantage::MeanOnly`](crate::Advantage::MeanOnly).
    DrGrpo {
        /// The clip bounds.
        #[serde(default)]
        clip: Clipped,
        /// The limit, in tokens, that completions were sampled with. Default 1024, the paper's.
        #[serde(default = "limit")]
        max_completion_length: usize,
    },
    /// DAPO (arXiv 2503.14476): [`Clipped`], mean over all tokens of an optimizer step: BNPO with
    /// the counts of the whole step as [`Normalization`](crate::Normalization).
    Dapo(Clipped),
    /// [`Cispo`] (arXiv 2506.13585), mean over all tokens of an optimizer step.
    Cispo(Cispo),
    /// [`Sapo`] (arXiv 2511.20347), mean per sequence, then over sequences.
    Sapo(Sapo),
    /// LUSPO, length-unbiased sequence policy optimization (arXiv 2602.05261): [`Clipped`],
    /// summed per sequence, then the mean over sequences. Meant for
    /// [`ImportanceLevel::Sequence`](crate::ImportanceLevel).
    Luspo(Clipped),
    /// [`Vespo`] (arXiv 2602.10693), mean over all tokens of an optimizer step.
    Vespo(Vespo),
}

/// Does something with the surrogate of a family.
macro_rules! with_surrogate {
    ($family:expr, $surrogate:ident => $work:expr) => {
        match &$family {
            LossFamily::PaperClsRl($surrogate) => $work,
            LossFamily::Grpo($surrogate) | LossFamily::Bnpo($surrogate) => $work,
            LossFamily::Dapo($surrogate) | LossFamily::Luspo($surrogate) => $work,
            LossFamily::DrGrpo { clip: $surrogate, .. } => $work,
            LossFamily::Cispo($surrogate) => $work,
            LossFamily::Sapo($surrogate) => $work,
            LossFamily::Vespo($surrogate) => $work,
        }
    };
}
pub(crate) use with_surrogate;

fn limit() -> usize {
    1024
}

impl Default for LossFamily {
    fn default() -> Self {
        Self::PaperClsRl(OnPolicy {})
    }
}

impl LossFamily {
    /// Checks the family's own values.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field outside its range.
    pub fn validate(&self) -> Result<()> {
        if let Self::DrGrpo { max_completion_length: 0, .. } = self {
            return Error::check(false, "max_completion_length", 0.0, "at least 1");
        }
        with_surrogate!(*self, surrogate => Surrogate::<f64>::validate(surrogate))
    }

    /// How the family averages over tokens.
    pub fn aggregation(&self) -> Aggregation {
        match self {
            Self::PaperClsRl(_) | Self::Grpo(_) | Self::Sapo(_) => Aggregation::SequenceMean,
            Self::DrGrpo { max_completion_length: length, .. } => {
                Aggregation::ConstantLength(*length)
            }
            Self::Luspo(_) => Aggregation::SequenceSum,
            _ => Aggregation::TokenMean,
        }
    }

    /// The family's name, as in configuration files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PaperClsRl(_) => "paper_cls_rl",
            Self::Grpo(_) => "grpo",
            Self::Bnpo(_) => "bnpo",
            Self::DrGrpo { .. } => "dr_grpo",
            Self::Dapo(_) => "dapo",
            Self::Cispo(_) => "cispo",
            Self::Sapo(_) => "sapo",
            Self::Luspo(_) => "luspo",
            Self::Vespo(_) => "vespo",
        }
    }
}

#[cfg(test)]
#[test]
fn every_family_goes_through_json_under_its_name() {
    let names = "paper_cls_rl grpo bnpo dr_grpo dapo cispo sapo luspo vespo";
    for name in names.split(' ') {
        let bare = serde_json::json!({"type": name});
        let family: LossFamily = serde_json::from_value(bare).unwrap();
        let json = serde_json::to_value(family).unwrap();
        assert_eq!((json["type"].as_str(), family.name()), (Some(name), name));
        assert_eq!(serde_json::from_value::<LossFamily>(json).unwrap(), family);
        let misspelt = serde_json::json!({"type": name, "epsilonhigh": 0.2});
        assert!(serde_json::from_value::<LossFamily>(misspelt).is_err(), "{name}");
    }
}

#[cfg(test)]
#[test]
fn a_family_s_values_are_checked_by_name() {
    for (text, field) in [
        (r#"{"type": "dr_grpo", "max_completion_length": 0}"#, "max_completion_length"),
        (r#"{"type": "dr_grpo", "clip": {"epsilon": -1}}"#, "epsilon"),
        (r#"{"type": "grpo", "delta": 0}"#, "delta"),
        (r#"{"type": "cispo", "epsilon_high": 0}"#, "epsilon_high"),
        (r#"{"type": "vespo", "k_pos": -1}"#, "k_pos"),
    ] {
        let family: LossFamily = serde_json::from_str(text).unwrap();
        let error = family.validate().unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{field}`")), "{error}");
    }
    let infinite = Clipped { delta: Some(f64::INFINITY), ..Clipped::default() };
    assert!(LossFamily::Grpo(infinite).validate().is_err());
}
