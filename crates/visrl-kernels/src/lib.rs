//! The operations of vision-language models that are written out for the CPU.
//!
//! burn's flex backend computes exponentials one by one and composes norms and rotations of many
//! passes over memory. Each file here holds one operation: its form in tensor operations, which
//! every backend can run and which tests take as the reference, and, with the feature `flex`, a
//! kernel over slices with its gradient, which runs where the tensors are f32 in host memory.
#![deny(unsafe_code)]

mod adamw;
mod gelu;
mod heads;
mod layer_norm;
mod linear;
mod log_softmax;
mod rms_norm;
mod rotary;
mod self_attention;
mod silu;
mod softmax;

#[cfg(feature = "flex")]
pub mod attention;
#[cfg(feature = "flex")]
mod exp;
#[cfg(feature = "flex")]
mod few_rows;
#[cfg(feature = "flex")]
pub mod flex;
#[cfg(feature = "flex")]
mod product;
#[cfg(feature = "flex")]
mod slices;
#[cfg(any(feature = "testing", all(test, feature = "flex")))]
pub mod testing;
#[cfg(all(test, feature = "flex"))]
mod tests;

pub use adamw::{AdamWStep, Moved, adamw, sum_of_squares};
pub use gelu::Gelu;
pub use heads::Heads;
pub use layer_norm::layer_norm;
pub use linear::{linear, matmul};
pub use log_softmax::{LogSoftmax, RowGradients, log_softmax, log_softmax_backward};
pub use rms_norm::rms_norm;
pub use rotary::Turn;
pub use self_attention::SelfAttention;
pub use silu::silu_mul;
pub use softmax::{Mask, masked_softmax};

/// Does work with many small parallel pieces, as a decoding step or a gradient is, on one of the
/// worker threads where `tensor` lies in host memory, and here otherwise.
///
/// A thread that is no worker sleeps while each piece is done and is woken after it, dozens
/// of times in a step; a worker does its share.
pub fn on_rayon_worker<const D: usize, R: Send>(
    tensor: &burn::tensor::Tensor<D>,
    work: impl FnOnce() -> R + Send,
) -> R {
    #[cfg(feature = "flex")]
    if flex::plain(tensor).is_some() {
        let span = tracing::Span::current();
        let work = || span.in_scope(work);
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let work = || tracing::dispatcher::with_default(&dispatch, work);
        return rayon::join(work, || ()).0;
    }
    let _ = tensor;
    work()
}

/// Up to this many rows, a row's result in a linear map does not depend on the rows beside it (f32
/// on the flex backend).
pub const FEW_ROWS: usize = 96;
