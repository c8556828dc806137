//! The loss families by name.

use serde::{Deserialize, Serialize};

use crate::loss::aggregation::Aggregation;
use crate::loss::cispo::Cispo;
use crate::loss::clipped::Clipped;
use crate::loss::dr_grpo::DrGrpo;
use crate::loss::on_policy::OnPolicy;
use crate::loss::sapo::Sapo;
use crate::loss::vespo::Vespo;

/// A loss family and its own parameters, tagged by `"type"` in configuration files:
///
/// ```
/// use visrl_grpo::{Clipped, LossFamily};
/// let text = r#"{"type": "dapo", "epsilon_high": 0.28}"#;
/// let family: LossFamily = serde_json::from_str(text).unwrap();
/// let clip = Clipped { epsilon_high: Some(0.28), ..Clipped::default() };
/// assert_eq!(family, LossFamily::Dapo(clip));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
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
    /// Dr. GRPO (arXiv 2503.20783): [`Clipped`], divided by a constant length.
    DrGrpo(DrGrpo),
    /// DAPO (arXiv 2503.14476): [`Clipped`], mean over all tokens of an optimizer step. It is
    /// BNPO with the counts of the whole step, which the caller gives as
    /// [`Normalization`](crate::Normalization).
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

impl Default for LossFamily {
    fn default() -> Self {
        Self::PaperClsRl(OnPolicy {})
    }
}

impl LossFamily {
    /// How the family averages over tokens.
    pub fn aggregation(&self) -> Aggregation {
        match self {
            Self::PaperClsRl(_) | Self::Grpo(_) | Self::Sapo(_) => Aggregation::SequenceMean,
            Self::Bnpo(_) | Self::Dapo(_) | Self::Cispo(_) | Self::Vespo(_) => {
                Aggregation::TokenMean
            }
            Self::DrGrpo(d) => Aggregation::ConstantLength(d.max_completion_length),
            Self::Luspo(_) => Aggregation::SequenceSum,
        }
    }

    /// The family's name, as in configuration files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PaperClsRl(_) => "paper_cls_rl",
            Self::Grpo(_) => "grpo",
            Self::Bnpo(_) => "bnpo",
            Self::DrGrpo(_) => "dr_grpo",
            Self::Dapo(_) => "dapo",
            Self::Cispo(_) => "cispo",
            Self::Sapo(_) => "sapo",
            Self::Luspo(_) => "luspo",
            Self::Vespo(_) => "vespo",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_goes_through_json_under_its_name() {
        for loss in [
            LossFamily::default(),
            LossFamily::Grpo(Clipped::default()),
            LossFamily::Bnpo(Clipped::default()),
            LossFamily::DrGrpo(DrGrpo::default()),
            LossFamily::Dapo(Clipped {
                delta: Some(4.0),
                ..Clipped::default()
            }),
            LossFamily::Cispo(Cispo::default()),
            LossFamily::Sapo(Sapo::default()),
            LossFamily::Luspo(Clipped::default()),
            LossFamily::Vespo(Vespo::default()),
        ] {
            let json = serde_json::to_value(loss).unwrap();
            assert_eq!(json["type"], loss.name());
            assert_eq!(serde_json::from_value::<LossFamily>(json).unwrap(), loss);
            let bare = serde_json::json!({"type": loss.name()});
            assert_eq!(
                serde_json::from_value::<LossFamily>(bare).unwrap().name(),
                loss.name()
            );
        }
    }

    #[test]
    fn misspelt_parameters_are_refused() {
        for json in [
            r#"{"type":"grpo","epsilonhigh":0.2}"#,
            r#"{"type":"paper_cls_rl","epsilon":1}"#,
        ] {
            assert!(serde_json::from_str::<LossFamily>(json).is_err(), "{json}");
        }
    }
}
