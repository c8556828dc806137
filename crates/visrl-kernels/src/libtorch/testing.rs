//! What forms in LibTorch's operators are tested with.

use burn::tensor::{DType, Device, Tensor};

use crate::forms::{Operation, run};
use crate::testing::{close, matrix, values};

/// The device that forms are tested on: the CPU, or the GPU that `VISRL_DEVICE=tch:N` names.
#[allow(deprecated)] // burn deprecates its LibTorch backend as a whole.
pub(crate) fn device() -> Device {
    let name = std::env::var("VISRL_DEVICE").unwrap_or_default();
    match name.strip_prefix("tch:").map(str::parse::<usize>) {
        Some(Ok(number)) => Device::libtorch_cuda(number),
        _ => Device::libtorch(),
    }
}

/// Formats that forms take on the device that they are tested on, with their tolerances.
fn formats([of_f32, of_bf16]: [f32; 2]) -> Vec<(DType, f32)> {
    let mut formats = vec![(DType::F32, of_f32), (DType::BF16, of_bf16)];
    if has_f64() {
        // What is left is the rounding of what is compared to f32.
        formats.push((DType::F64, 3e-7));
    }
    formats
}

/// Whether forms take f64 on the device that they are tested on: on the CPU alone.
pub(crate) fn has_f64() -> bool {
    !std::env::var("VISRL_DEVICE").is_ok_and(|name| name.starts_with("tch:"))
}

/// Results and gradients of an operation of `N` matrices in f32, bf16 and f64, tracked and not, on
/// whole tensors and on views, beside those of its plain form in f64.
pub(crate) fn compare<const N: usize>(
    inputs: [(usize, usize, f32); N],
    seed: u64,
    fused: impl Fn([Tensor<2>; N]) -> Tensor<2>,
    plain: impl Fn([Tensor<2>; N]) -> Tensor<2>,
) {
    compare_within([2e-5, 4e-2], inputs, seed, fused, plain);
}

/// The same to tolerances of f32 and of bf16.
pub(crate) fn compare_within<const N: usize>(
    tolerances: [f32; 2],
    inputs: [(usize, usize, f32); N],
    seed: u64,
    fused: impl Fn([Tensor<2>; N]) -> Tensor<2>,
    plain: impl Fn([Tensor<2>; N]) -> Tensor<2>,
) {
    let device = device();
    let make = |view: bool| {
        let mut index = seed;
        inputs.map(|(rows, columns, scale)| {
            index += 1;
            // Numbers that bf16 holds exactly.
            let exact = |of: Tensor<2>| of.cast(DType::BF16).cast(DType::F32);
            exact(match view {
                true => matrix(index, columns + 2, rows, scale, &device)
                    .narrow(0, 1, columns)
                    .transpose(),
                false => matrix(index, rows, columns, scale, &device),
            })
        })
    };
    for view in [false, true] {
        let gradients = |f: &dyn Fn([Tensor<2>; N]) -> Tensor<2>, dtype: DType| {
            let inputs = make(view).map(|input| input.cast(dtype).autodiff().require_grad());
            let output = f(inputs.clone());
            assert_eq!(output.dtype(), dtype);
            let [rows, columns] = output.dims();
            let weights = matrix(seed + 99, rows, columns, 1.0, &device);
            let weights = weights.cast(DType::BF16).cast(dtype).autodiff();
            let result = values(output.clone());
            let graph = (output * weights).sum().backward();
            (
                result,
                inputs.map(|input| values(input.grad(&graph).unwrap())),
            )
        };
        let (expected, expected_grads) = gradients(&plain, DType::F64);
        for (dtype, tolerance) in formats(tolerances) {
            let held = make(view).map(|input| input.cast(dtype));
            close(&values(fused(held.clone())), &expected, tolerance);
            // Someone else holds the inputs: they must stay as they are.
            for (held, fresh) in held.into_iter().zip(make(view)) {
                assert_eq!(values(held), values(fresh));
            }
            close(
                &values(fused(make(view).map(|input| input.cast(dtype)))),
                &expected,
                tolerance,
            );
            let (result, grads) = gradients(&fused, dtype);
            close(&result, &expected, tolerance);
            for (fused, plain) in grads.iter().zip(&expected_grads) {
                close(fused, plain, tolerance);
            }
        }
    }
}

/// Demands that an operation has a form for matrices of these sizes in f32 and bf16, tracked or not,
/// and in f64 on the CPU alone.
pub(crate) fn has_form<const N: usize, O: Operation<N>>(op: &O, sizes: [(usize, usize); N]) {
    for tracked in [false, true] {
        for (dtype, expected) in [
            (DType::F32, true),
            (DType::BF16, true),
            (DType::F64, has_f64()),
        ] {
            let inputs = sizes.map(|(rows, columns)| {
                let tensor = matrix(1, rows, columns, 1.0, &device()).cast(dtype);
                match tracked {
                    true => tensor.autodiff().require_grad().into_dispatch(),
                    false => tensor.into_dispatch(),
                }
            });
            assert_eq!(run::<2, N, O>(op, inputs).is_ok(), expected);
        }
    }
}
