//! The loss families: one surrogate per file, and the ways to average them.
//!
//! A policy loss is `sum_t weight_t * surrogate_t`. Everything else is the same for all and lives
//! in [`SharedOptions`](crate::SharedOptions).

pub(crate) mod aggregation;
pub(crate) mod cispo;
pub(crate) mod clipped;
pub(crate) mod family;
pub(crate) mod on_policy;
pub(crate) mod sapo;
pub(crate) mod surrogate;
pub(crate) mod vespo;

pub use aggregation::Aggregation;
pub use cispo::Cispo;
pub use clipped::Clipped;
pub use family::LossFamily;
pub use on_policy::OnPolicy;
pub use sapo::Sapo;
pub use surrogate::{Clip, RowView, Surrogate, Term};
pub use vespo::Vespo;
