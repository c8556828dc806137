//! Attention of queries to the keys of a shared prefix and of their own sequence, and its gradient.
//!
//! A cube has 16 rows of queries and goes through the keys that they see, 16 at a time, keeping the
//! largest score, the sum of exponentials and what is mixed (online softmax, arXiv 1805.02867). The
//! gradient computes probabilities again from the logarithm of that sum (arXiv 2205.14135); keys sum
//! over their queries in order, so that results are the same every time. The query heads that share
//! a head of keys stand one after another in the place of tokens.

mod backward;
mod forward;
mod sizes;
mod tiles;

pub(crate) use backward::backward;
pub(crate) use forward::{forward, outputs};
pub(crate) use sizes::{Layout, SPAN, Sides, Span, Spans, fits};
