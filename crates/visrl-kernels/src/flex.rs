//! Operations with a kernel of their own on the flex backend, gradients included.

use std::fmt::Debug;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, Flex,
    GradientCheckpointingStrategy,
};
use burn::tensor::{DType, Shape, Tensor, TensorData};

use super::slices;

/// A tensor in host memory.
pub type Host = FloatTensor<Flex>;

type Tracked = FloatTensor<Autodiff<Flex>>;

/// An operation of `N` tensors whose kernel works on slices.
pub trait Fused<const N: usize>: Clone + Debug + Send + 'static {
    /// What the gradient needs of the forward pass.
    type Saved: Clone + Debug + Send + 'static;

    /// The result, in the memory of an input where nobody else holds it.
    fn forward(&self, inputs: [Host; N]) -> Host;

    /// The result and what the gradient needs.
    fn forward_saving(&self, inputs: [Host; N]) -> (Host, Self::Saved);

    /// The gradients of the inputs from that of the result; any tensor may stand for a gradient
    /// that is not wanted.
    fn backward(&self, saved: Self::Saved, grad: Host, wanted: [bool; N]) -> [Host; N];
}

/// Runs an operation on tensors that all lie in host memory as f32, all tracked or none; gives
/// other tensors back.
pub fn run<const D: usize, const N: usize, O: Fused<N>>(
    op: &O,
    inputs: [DispatchTensor; N],
) -> Result<Tensor<D>, [DispatchTensor; N]> {
    let plain: Vec<Host> = inputs.iter().filter_map(host).collect();
    if let Ok(plain) = <[Host; N]>::try_from(plain) {
        // The only handles left are those given to the operation, which may then write in place.
        drop(inputs);
        return Ok(Tensor::from_primitive::<Flex>(op.forward(plain)));
    }
    let tracked: Vec<Tracked> = inputs.iter().filter_map(tracked).collect();
    let Ok(tracked) = <[Tracked; N]>::try_from(tracked) else {
        return Err(inputs);
    };
    drop(inputs);
    let step = Step(op.clone()).prepare::<NoCheckpointing>(tracked.each_ref().map(Tracked::node));
    let inputs = tracked.map(Tracked::into_primitive);
    let output = match step.compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (output, saved) = op.forward_saving(inputs);
            prep.finish(saved, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(op.forward(inputs)),
    };
    Ok(Tensor::from_primitive::<Autodiff<Flex>>(output))
}

fn host(tensor: &DispatchTensor) -> Option<Host> {
    match (&tensor.kind, tensor.autodiff) {
        (
            DispatchTensorKind::Flex(BackendTensor::Float(tensor)),
            DispatchAutodiffContext::Disabled,
        ) if tensor.dtype() == DType::F32 => Some(tensor.clone()),
        _ => None,
    }
}

fn tracked(tensor: &DispatchTensor) -> Option<Tracked> {
    let strategy = GradientCheckpointingStrategy::Disabled;
    match (&tensor.kind, tensor.autodiff) {
        (DispatchTensorKind::Autodiff(inner), DispatchAutodiffContext::Enabled(own))
            if own == strategy =>
        {
            match &**inner {
                DispatchTensorKind::Flex(BackendTensor::Autodiff(tensor))
                    if tensor.primitive().dtype() == DType::F32 =>
                {
                    Some(tensor.clone())
                }
                _ => None,
            }
        }
        _ => None,
    }
}

#[derive(Debug)]
struct Step<O>(O);

impl<const N: usize, O: Fused<N>> Backward<Flex, N> for Step<O> {
    type State = O::Saved;

    fn backward(self, ops: Ops<O::Saved, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let grad = gradients.consume::<Flex>(&ops.node);
        let grads = self
            .0
            .backward(ops.state, grad, ops.parents.each_ref().map(Option::is_some));
        for (parent, grad) in ops.parents.into_iter().zip(grads) {
            if let Some(parent) = parent {
                gradients.register::<Flex>(parent.id, grad);
            }
        }
    }
}

/// The tensor in host memory behind an untracked f32 tensor.
pub fn plain<const D: usize>(tensor: &Tensor<D>) -> Option<Host> {
    host(&tensor.clone().into_dispatch())
}

/// An untracked tensor of one in host memory.
pub fn tensor<const D: usize>(tensor: Host) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(tensor)
}

/// A tensor of these numbers.
pub fn from_vec(values: Vec<f32>, shape: Shape) -> Host {
    Host::from_data(TensorData::new(values, shape))
}

/// The numbers of a tensor in order, for reading: copied only where they are not so already.
pub fn in_order(tensor: Host) -> Host {
    match tensor.as_slice::<f32>() {
        Some(_) => tensor,
        None => tensor.to_contiguous(),
    }
}

/// The numbers of a tensor in order in memory of its own, for writing.
pub fn owned(tensor: Host) -> Host {
    let whole = tensor
        .as_slice::<f32>()
        .is_some_and(|slice| size_of_val(slice) == tensor.bytes().len());
    match whole && tensor.is_unique() {
        true => tensor,
        false => {
            let shape = tensor.layout().shape().clone();
            let tensor = in_order(tensor);
            let values = slices::copy(read(&tensor));
            from_vec(values, shape)
        }
    }
}

/// The numbers of a tensor that [`in_order`] gave.
pub fn read(tensor: &Host) -> &[f32] {
    tensor.as_slice().unwrap_or_default()
}

/// The length of the last axis.
pub fn width(tensor: &Host) -> usize {
    tensor
        .layout()
        .shape()
        .as_slice()
        .last()
        .copied()
        .unwrap_or(1)
}
