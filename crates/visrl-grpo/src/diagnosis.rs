//! Why a batch teaches nothing, in plain language.

use thiserror::Error;

/// Why a batch teaches nothing. Its text says what to do about it, for a warning in a log; it is an
/// error for who wants to stop there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Diagnosis {
    /// The batch is empty.
    #[error("the batch has no completions: nothing was sampled")]
    NothingSampled,
    /// Every group is one completion.
    #[error(
        "a group of one completion has nothing to be compared with: sample at least two \
         completions per prompt"
    )]
    SingleCompletions,
    /// No rule could score any of so many completions.
    #[error("none of the {0} completions could be scored: check the reward rules and the labels")]
    Unscored(usize),
    /// Every completion of so many groups is right.
    #[error(
        "all {0} groups are entirely right: the examples are too easy for this policy, so use \
         harder ones, or resample until a group has both right and wrong"
    )]
    AllRight(usize),
    /// Every completion of so many groups is wrong.
    #[error(
        "all {0} groups are entirely wrong: look at a few completions and at the matcher, sample \
         more completions per prompt, or start from easier examples"
    )]
    AllWrong(usize),
    /// The completions of each group score the same.
    #[error(
        "in each of the {groups} groups all completions score the same ({all_right} entirely \
         right, {all_wrong} entirely wrong, {unscored} not scored): if the completions themselves \
         are identical, check that sampling is not greedy (temperature, top-k); otherwise sample \
         more completions per prompt or resample such groups"
    )]
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
    /// None of so many rows has a token that counts.
    #[error(
        "none of the {0} completions has a counted token: all are empty, or all were cut at the \
         length limit and left out (`mask_truncated_completions`), so sample longer ones"
    )]
    NoTokens(u64),
    /// The off-policy mask left out all of so many rows.
    #[error(
        "the off-policy mask left out all {0} completions: they come from a policy that is too \
         old, so sample anew, make fewer updates per batch, or raise `off_policy_mask_threshold`"
    )]
    OffPolicy(u64),
    /// Every ratio was clipped.
    #[error(
        "every ratio lies beyond its clip bound, which leaves no policy gradient (CISPO: a \
         truncated one): the policy has moved too far from the one that sampled, so make fewer \
         updates per batch, lower the learning rate, or widen the bounds"
    )]
    Clipped,
}
