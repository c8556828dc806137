//! On which thread work begins.

use burn::tensor::Tensor;

/// Whether a tensor lies in host memory, on the flex backend.
pub fn is_in_host_memory<const D: usize>(tensor: &Tensor<D>) -> bool {
    #[cfg(feature = "flex")]
    return crate::flex::holds(tensor);
    #[cfg(not(feature = "flex"))]
    {
        let _ = tensor;
        false
    }
}

/// Does work with many small parallel pieces, as a decoding step or a gradient is, on one of the
/// worker threads where `tensor` lies in host memory, and here otherwise.
///
/// A thread that is no worker sleeps while each piece is done and is woken after it, dozens
/// of times in a step; a worker does its share.
pub fn on_rayon_worker<const D: usize, R: Send>(
    tensor: &Tensor<D>,
    work: impl FnOnce() -> R + Send,
) -> R {
    #[cfg(feature = "flex")]
    if crate::flex::untracked(tensor).is_some() {
        let span = tracing::Span::current();
        let work = || span.in_scope(work);
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let work = || tracing::dispatcher::with_default(&dispatch, work);
        return rayon::join(work, || ()).0;
    }
    let _ = tensor;
    work()
}
