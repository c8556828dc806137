//! What changes and cuts a distribution before a token is drawn, one file each, in the order in
//! which they are applied.
//!
//! The first four work on the scores of the whole vocabulary, the others on the candidates that
//! the one before left.

mod repetition_penalty;

mod allowed_ids;
mod banned_ids;

mod temperature;

mod greedy;
mod min_p;
mod top_k;
mod top_p;
mod typical_p;

pub(super) use allowed_ids::allow_only;
pub(super) use banned_ids::ban;
pub(super) use greedy::keep_most_likely;
pub(super) use min_p::keep_min_p;
pub(super) use repetition_penalty::penalize_repetition;
pub(super) use temperature::apply_temperature;
pub(super) use top_k::keep_top_k;
pub(super) use top_p::keep_top_p;
pub(super) use typical_p::keep_typical_p;
