//! Why a batch teaches nothing, in plain language.

use std::fmt;

/// Why a batch teaches nothing. Its text says what to do about it, for a warning in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Diagnosis {
    /// The batch is empty.
    NothingSampled,
    /// Every group is one completion.
    SingleCompletions,
    /// No rule could score any completion.
    Unscored {
        /// Completions of the batch.
        completions: usize,
    },
    /// Every completion is right.
    AllRight {
        /// Groups of the batch.
        groups: usize,
    },
    /// Every completion is wrong.
    AllWrong {
        /// Groups of the batch.
        groups: usize,
    },
    /// The completions of each group score the same.
    NoVariance {
        /// Groups of the batch.
        groups: usize,
        /// Those that are entirely right.
        all_right: usize,
        /// Those that are entirely wrong.
        all_wrong: usize,
        /// Those that no rule could score.
        unscored: usize,
    },
    /// No row has a token that counts.
    NoTokens {
        /// Rows of the batch.
        rows: u64,
    },
    /// The off-policy mask left out every row.
    OffPolicy {
        /// Rows that it left out.
        rows: u64,
    },
    /// Every ratio was clipped.
    Clipped,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingSampled => {
                f.write_str("the batch has no completions: nothing was sampled")
            }
            Self::SingleCompletions => f.write_str(
                "a group of one completion has nothing to be compared with: sample at least two \
                 completions per prompt",
            ),
            Self::Unscored { completions } => write!(
                f,
                "none of the {completions} completions could be scored: check the reward rules and \
                 the labels"
            ),
            Self::AllRight { groups } => write!(
                f,
                "all {groups} groups are entirely right: the examples are too easy for this \
                 policy, so use harder ones, or resample until a group has both right and wrong"
            ),
            Self::AllWrong { groups } => write!(
                f,
                "all {groups} groups are entirely wrong: look at a few completions and at the \
                 matcher, sample more completions per prompt, or start from easier examples"
            ),
            Self::NoVariance {
                groups,
                all_right,
                all_wrong,
                unscored,
            } => write!(
                f,
                "in each of the {groups} groups all completions score the same ({all_right} \
                 entirely right, {all_wrong} entirely wrong, {unscored} not scored): if the \
                 completions themselves are identical, check that sampling is not greedy \
                 (temperature, top-k); otherwise sample more completions per prompt or resample \
                 such groups"
            ),
            Self::NoTokens { rows } => write!(
                f,
                "none of the {rows} completions has a counted token: all are empty, or all were \
                 cut at the length limit and left out (`mask_truncated_completions`), so sample \
                 longer ones"
            ),
            Self::OffPolicy { rows } => write!(
                f,
                "the off-policy mask left out all {rows} completions: they come from a policy \
                 that is too old, so sample anew, make fewer updates per batch, or raise \
                 `off_policy_mask_threshold`"
            ),
            Self::Clipped => f.write_str(
                "every ratio lies beyond its clip bound, which leaves no policy gradient (CISPO: \
                 a truncated one): the policy has moved too far from the one that sampled, so \
                 make fewer updates per batch, lower the learning rate, or widen the bounds",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_carry_their_numbers() {
        let text = Diagnosis::AllRight { groups: 16 }.to_string();
        assert!(
            text.starts_with("all 16 groups are entirely right: the examples"),
            "{text}"
        );
        let even = Diagnosis::NoVariance {
            groups: 4,
            all_right: 1,
            all_wrong: 2,
            unscored: 1,
        };
        let words = "the 4 groups all completions score the same (1 entirely right, 2 entirely \
                     wrong, 1 not scored)";
        assert!(even.to_string().contains(words), "{even}");
    }
}
