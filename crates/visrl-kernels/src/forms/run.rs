//! Running an operation in the first of its forms that takes its inputs.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, BackendTensor, DispatchKindConversion, DispatchTensor};
use burn::tensor::{DType, Tensor};

use super::backend::{FusedBackend, Tracking, unwrapped};
use super::fused::Fused;

/// The target of the trace events by which operations tell the form that they run in: `operation`, a
/// type's path, and `in_form`, which is false for the plain form.
pub const FORMS: &str = "visrl_kernels::forms";

/// An operation in one of its forms: the result, or the inputs where the form does not take them.
pub type Form<O, const N: usize> =
    fn(&O, [DispatchTensor; N]) -> Result<DispatchTensor, [DispatchTensor; N]>;

/// An operation of `N` tensors, which may have forms beside the plain one.
pub trait Operation<const N: usize>: Sized + 'static {
    /// The forms that are compiled in, each written as `on::<TheBackend, _, N>`.
    const FORMS: &'static [Form<Self, N>];
}

/// Runs an operation in the first form that takes the inputs.
///
/// # Errors
/// The inputs as they were, where no form takes them.
pub fn run<const D: usize, const N: usize, O: Operation<N>>(
    op: &O,
    mut inputs: [DispatchTensor; N],
) -> Result<Tensor<D>, [DispatchTensor; N]> {
    for form in O::FORMS {
        match form(op, inputs) {
            Ok(output) => {
                tell::<O>(true);
                return Ok(Tensor::from_dispatch(output));
            }
            Err(back) => inputs = back,
        }
    }
    tell::<O>(false);
    Err(inputs)
}

/// Tells who listens that an operation, by its type, runs in a form of its own or in the plain one.
pub(crate) fn tell<O>(in_form: bool) {
    tracing::trace!(target: FORMS, operation = std::any::type_name::<O>(), in_form);
}

/// Runs an operation on backend `B`, for tensors that are all tracked or all untracked there.
///
/// # Errors
/// The inputs as they were, where they are others.
pub fn on<B, O, const N: usize>(
    op: &O,
    inputs: [DispatchTensor; N],
) -> Result<DispatchTensor, [DispatchTensor; N]>
where
    B: FusedBackend,
    O: Fused<B, N>,
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    on_formats::<B, O, N>(op, inputs, B::takes)
}

/// As [`on`], for numbers of the formats that `takes` names.
///
/// # Errors
/// The inputs as they were, where they are others.
pub fn on_formats<B, O, const N: usize>(
    op: &O,
    inputs: [DispatchTensor; N],
    takes: fn(DType) -> bool,
) -> Result<DispatchTensor, [DispatchTensor; N]>
where
    B: FusedBackend,
    O: Fused<B, N>,
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    let all = |tracking| {
        let found = |input| B::tracking_of(input, takes) == Some(tracking);
        inputs.iter().all(found)
    };
    if all(Tracking::Untracked) {
        // The operation gets the only handles, and may then write in place.
        let output = op.forward(inputs.map(unwrapped::<B>));
        return Ok(wrapped::<B>(output));
    }
    if !all(Tracking::Tracked) {
        return Err(inputs);
    }
    let inputs = inputs.map(unwrapped::<Autodiff<B>>);
    let nodes = inputs.each_ref().map(|input| input.node());
    let inputs = inputs.map(|input| input.into_primitive());
    let step = Step(op.clone()).prepare::<NoCheckpointing>(nodes);
    let output = match step.compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (output, saved) = op.forward_saving(inputs);
            prep.finish(saved, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(op.forward(inputs)),
    };
    Ok(wrapped::<Autodiff<B>>(output))
}

fn wrapped<B: burn::backend::Backend>(tensor: FloatTensor<B>) -> DispatchTensor
where
    DispatchTensor: DispatchKindConversion<B>,
{
    DispatchTensor::from_backend(BackendTensor::Float(tensor))
}

/// One node of the record.
#[derive(Debug)]
struct Step<O>(O);

impl<B: FusedBackend, O: Fused<B, N>, const N: usize> Backward<B, N> for Step<O> {
    type State = O::Saved;

    fn backward(self, ops: Ops<O::Saved, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let grad = gradients.consume::<B>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let grads = self.0.backward(ops.state, grad, wanted);
        for (parent, grad) in ops.parents.into_iter().zip(grads) {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                gradients.register::<B>(parent.id, grad);
            }
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::{Backend, Flex};
    use burn::tensor::Device;

    use super::*;

    /// `factor x`, in a form that serves any backend.
    #[derive(Clone, Debug)]
    struct Scaled(f32);

    impl<B: Backend> Fused<B, 1> for Scaled {
        type Saved = ();

        fn forward(&self, [x]: [FloatTensor<B>; 1]) -> FloatTensor<B> {
            B::float_mul_scalar(x, self.0.into())
        }

        fn forward_saving(&self, inputs: [FloatTensor<B>; 1]) -> (FloatTensor<B>, ()) {
            (Fused::<B, 1>::forward(self, inputs), ())
        }

        fn backward(
            &self,
            (): (),
            grad: FloatTensor<B>,
            _: [bool; 1],
        ) -> [Option<FloatTensor<B>>; 1] {
            // Told apart from the gradient that burn would record.
            [Some(B::float_mul_scalar(grad, (100.0 * self.0).into()))]
        }
    }

    /// A form that takes nothing.
    #[allow(clippy::result_large_err)] // The type of forms.
    fn never(
        _: &Scaled,
        inputs: [DispatchTensor; 1],
    ) -> Result<DispatchTensor, [DispatchTensor; 1]> {
        Err(inputs)
    }

    impl Operation<1> for Scaled {
        const FORMS: &'static [Form<Self, 1>] = &[never, on::<Flex, _, 1>];
    }

    fn input() -> Tensor<1> {
        Tensor::from_floats([1.0, 2.0], &Device::flex())
    }

    fn values(tensor: Tensor<1>) -> Vec<f32> {
        tensor.try_into_vec_as().unwrap()
    }

    #[test]
    fn the_first_form_that_takes_the_inputs_runs() {
        let output = run(&Scaled(3.0), [input().into_dispatch()]);
        assert_eq!(values(output.unwrap()), [3.0, 6.0]);
        let tracked = input().autodiff().require_grad();
        let output: Tensor<1> = run(&Scaled(3.0), [tracked.clone().into_dispatch()]).unwrap();
        assert_eq!(values(output.clone()), [3.0, 6.0]);
        let gradients = output.sum().backward();
        assert_eq!(values(tracked.grad(&gradients).unwrap()), [300.0, 300.0]);
    }

    #[test]
    fn what_no_form_takes_comes_back() {
        for other in [
            input().cast(DType::F64),
            input().cast(DType::F64).autodiff(),
        ] {
            let [back] = run::<1, 1, _>(&Scaled(3.0), [other.into_dispatch()]).unwrap_err();
            assert_eq!(values(Tensor::from_dispatch(back)), [1.0, 2.0]);
        }
    }
}
