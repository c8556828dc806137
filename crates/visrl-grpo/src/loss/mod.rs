//! The loss families: one surrogate per file, and the ways to average them.
//!
//! A policy loss is `sum_t weight_t * surrogate_t`. The [`Surrogate`] says what one token is
//! worth; the [`Aggregation`] says how tokens are weighed against each other. Everything else
//! (KL term, entropy bonus, masks, corrections) is the same for all and lives in
//! [`Terms`](crate::Terms).

mod aggregation;
mod cispo;
mod clipped;
mod dr_grpo;
mod family;
mod on_policy;
mod sapo;
mod surrogate;
mod vespo;

pub use aggregation::Aggregation;
pub use cispo::Cispo;
pub use clipped::Clipped;
pub use dr_grpo::DrGrpo;
pub use family::Loss;
pub use on_policy::OnPolicy;
pub use sapo::Sapo;
pub use surrogate::{Clip, RowView, Surrogate, Term, TokenView};
pub use vespo::Vespo;
