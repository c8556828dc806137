//! Code for the processor's vectors: which ones are used, exponentials, sums and maxima.

mod arch;
mod exp;
mod lanes;

#[cfg(target_arch = "x86_64")]
pub(crate) use arch::is_narrowed;
pub(crate) use arch::{arch, vectorized};
pub(crate) use exp::{erf, exp, sigmoid};
pub(crate) use lanes::{map_and_sum, map_and_sum_of, maximum, sum, sum_of_pairs};
