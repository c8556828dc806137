//! Numbers of 16 bits in host memory: widened to f32, computed there, rounded once.

use std::fmt::Debug;

use burn::backend::{DispatchTensor, Flex};
use burn::tensor::{DType, Element, Tensor, TensorData, bf16, f16};

use super::host::{Host, untracked_of};
use crate::forms::{Fused, FusedBackend, on_formats};
use crate::half::is_half;
use crate::parallel;

/// An operation on numbers of 16 bits by its form for f32. As in PyTorch's kernels, everything
/// within the operation is f32, and results and gradients are rounded once.
///
/// For the gradient it keeps the inputs as they are, so that nothing is held in f32, and computes
/// again what the form would have kept beside them.
#[derive(Clone, Debug)]
pub(crate) struct InF32<O>(pub(crate) O);

impl<O: Fused<Flex, N>, const N: usize> Fused<Flex, N> for InF32<O> {
    type Saved = [Host; N];

    fn forward(&self, inputs: [Host; N]) -> Host {
        let dtype = inputs[0].dtype();
        narrowed(self.0.forward(inputs.map(widened)), dtype)
    }

    fn forward_saving(&self, inputs: [Host; N]) -> (Host, [Host; N]) {
        (self.forward(inputs.clone()), inputs)
    }

    fn backward(&self, saved: [Host; N], grad: Host, wanted: [bool; N]) -> [Option<Host>; N] {
        let dtype = saved[0].dtype();
        let saved = self.0.saved(saved.map(widened));
        let grads = self.0.backward(saved, widened(grad), wanted);
        grads.map(|grad| grad.map(|grad| narrowed(grad, dtype)))
    }
}

/// The form of an operation for numbers of 16 bits.
///
/// # Errors
/// The inputs as they were, where they are others.
pub(crate) fn in_f32<O, const N: usize>(
    op: &O,
    inputs: [DispatchTensor; N],
) -> Result<DispatchTensor, [DispatchTensor; N]>
where
    O: Fused<Flex, N>,
{
    on_formats::<Flex, _, N>(&InF32(op.clone()), inputs, is_half)
}

/// The numbers of an untracked tensor of f32 or 16 bits in host memory, in f32.
pub(crate) fn untracked_in_f32<const D: usize>(tensor: &Tensor<D>) -> Option<Host> {
    let takes = |dtype| Flex::takes(dtype) || is_half(dtype);
    untracked_of(tensor, takes).map(widened)
}

/// The numbers in f32, in the order in which they lie.
pub(crate) fn widened(tensor: Host) -> Host {
    match tensor.dtype() {
        DType::BF16 => converted(tensor, Host::storage::<bf16>, bf16::to_f32),
        DType::F16 => converted(tensor, Host::storage::<f16>, f16::to_f32),
        _ => tensor,
    }
}

/// Numbers in f32, each rounded to the nearest of `dtype`.
pub(crate) fn narrowed(tensor: Host, dtype: DType) -> Host {
    match dtype {
        DType::BF16 => converted(tensor, Host::storage::<f32>, bf16::from_f32),
        DType::F16 => converted(tensor, Host::storage::<f32>, f16::from_f32),
        _ => tensor,
    }
}

/// Each number of a tensor converted; `storage` gives all that its memory holds.
fn converted<A: Copy + Sync, B: Element + Default>(
    tensor: Host,
    storage: impl Fn(&Host) -> &[A],
    convert: impl Fn(A) -> B + Sync,
) -> Host {
    let len = tensor.layout().num_elements();
    if storage(&tensor).len() == len {
        let values = parallel::map(storage(&tensor), convert);
        let layout = tensor.layout().clone();
        return Host::from_data(TensorData::new(values, [len])).with_layout(layout);
    }
    let tensor = tensor.to_contiguous();
    let start = tensor.layout().start_offset();
    let values = parallel::map(&storage(&tensor)[start..start + len], convert);
    Host::from_data(TensorData::new(values, tensor.layout().shape().clone()))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{close, matrix, values};
    use crate::{Gelu, linear, silu_mul};

    /// The results and the gradients of an operation of `N` matrices of these sizes, whose numbers
    /// are of 16 bits wherever they are computed in f32.
    fn of<const N: usize>(
        sizes: [(usize, usize); N],
        dtypes: [DType; 2],
        op: &impl Fn([Tensor<2>; N]) -> Tensor<2>,
    ) -> Vec<Vec<f32>> {
        let [dtype, rounded] = dtypes;
        let mut seed = 7;
        let inputs = sizes.map(|(rows, columns)| {
            seed += 1;
            // A view, whose memory holds more than the matrix.
            let whole = matrix(seed, columns + 2, rows, 3.0, &Device::flex());
            let view = whole
                .cast(rounded)
                .cast(dtype)
                .narrow(0, 1, columns)
                .transpose();
            view.autodiff().require_grad()
        });
        let untracked = op(inputs.clone().map(Tensor::inner));
        let output = op(inputs.clone());
        assert_eq!((output.dtype(), untracked.dtype()), (dtype, dtype));
        let found = values(output.clone());
        assert_eq!(values(untracked), found);
        let [rows, columns] = output.dims();
        let weights = matrix(seed, rows, columns, 1.0, &Device::flex());
        let weights = weights.cast(rounded).cast(dtype).autodiff();
        let graph = (output * weights).sum().backward();
        let grads = inputs.map(|input| values(input.grad(&graph).unwrap()));
        [found].into_iter().chain(grads).collect()
    }

    /// Demands that an operation on 16 bits gives what it gives in f32, rounded once.
    fn rounds_once<const N: usize>(
        sizes: [(usize, usize); N],
        op: impl Fn([Tensor<2>; N]) -> Tensor<2>,
    ) {
        for dtype in [DType::BF16, DType::F16] {
            let found = of(sizes, [dtype, dtype], &op);
            let wide = of(sizes, [DType::F32, dtype], &op);
            for (found, wide) in found.into_iter().zip(wide) {
                let rounded: Vec<f32> = match dtype {
                    DType::BF16 => wide.iter().map(|&x| bf16::from_f32(x).to_f32()).collect(),
                    _ => wide.iter().map(|&x| f16::from_f32(x).to_f32()).collect(),
                };
                assert_eq!(found, rounded);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn operations_round_once(rows in 1usize..9, inner in 1usize..9, columns in 1usize..9) {
            let shape = (rows, columns);
            for kind in [Gelu::Quick, Gelu::Exact, Gelu::Tanh] {
                rounds_once([shape], |[x]| kind.apply(x));
            }
            rounds_once([shape, shape], |[gate, up]| silu_mul(gate, up));
            let sizes = [(rows, inner), (inner, columns), (1, columns)];
            rounds_once(sizes, |[x, weight, bias]| {
                linear(x, weight, Some(bias.squeeze_dim(0)))
            });
        }
    }

    #[test]
    fn numbers_stay_where_they_lie() {
        let whole = matrix(3, 5, 4, 2.0, &Device::flex()).cast(DType::BF16);
        for view in [
            whole.clone(),
            whole.clone().transpose(),
            whole.clone().narrow(0, 1, 3),
            whole.narrow(1, 1, 2).transpose(),
        ] {
            let expected = values(view.clone());
            let host = untracked_in_f32(&view).unwrap();
            close(&values(super::super::tensor::<2>(host)), &expected, 0.0);
        }
    }
}
