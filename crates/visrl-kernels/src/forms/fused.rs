//! What a form of an operation with a gradient consists of.

use std::fmt::Debug;

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;

/// The form of an operation of `N` tensors on a backend, with its gradient.
///
/// A backend may compute in the memory of an input that nobody else holds.
pub trait Fused<B: Backend, const N: usize>: Clone + Debug + Send + 'static {
    /// What the gradient needs of the forward pass.
    type Saved: Clone + Debug + Send + 'static;

    /// The result.
    fn forward(&self, inputs: [FloatTensor<B>; N]) -> FloatTensor<B>;

    /// The result and what the gradient needs.
    fn forward_saving(&self, inputs: [FloatTensor<B>; N]) -> (FloatTensor<B>, Self::Saved);

    /// What the gradient needs, for who has the inputs and no use for the result.
    fn saved(&self, inputs: [FloatTensor<B>; N]) -> Self::Saved {
        self.forward_saving(inputs).1
    }

    /// The gradients of the inputs, as far as they are `wanted`, from that of the result.
    fn backward(
        &self,
        saved: Self::Saved,
        grad: FloatTensor<B>,
        wanted: [bool; N],
    ) -> [Option<FloatTensor<B>>; N];
}
