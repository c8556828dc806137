//! What forms in kernels of cubecl are tested with.

use burn::backend::DispatchTensor;
use burn::tensor::{DType, Device, Tensor};

use crate::forms::{Operation, run};
use crate::testing::{close, matrix, numbers, values};

/// The device that forms are tested on: the default one of wgpu, or the GPU that
/// `VISRL_DEVICE=cuda:N` names.
pub(crate) fn device() -> Device {
    #[cfg(feature = "cuda")]
    {
        let name = std::env::var("VISRL_DEVICE").unwrap_or_default();
        if let Some(Ok(number)) = name.strip_prefix("cuda:").map(str::parse::<usize>) {
            return Device::cuda(number);
        }
    }
    #[cfg(feature = "wgpu")]
    return Device::wgpu(burn::tensor::DeviceKind::default());
    #[cfg(not(feature = "wgpu"))]
    Device::default()
}

/// Formats that the device has, with the tolerances of what is compared.
fn formats() -> Vec<(DType, f32)> {
    let formats = [(DType::F32, 1e-5), (DType::BF16, 4e-2)];
    let has = |(dtype, _): &(DType, f32)| device().supports_dtype(*dtype);
    formats.into_iter().filter(has).collect()
}

/// Results and gradients of an operation of `N` matrices in f32 and, where the device has it, bf16,
/// tracked and not, on whole tensors and on views, beside those of its plain form on flex in f64.
pub(crate) fn compare<const N: usize>(
    inputs: [(usize, usize, f32); N],
    seed: u64,
    fused: impl Fn([Tensor<2>; N]) -> Tensor<2>,
    plain: impl Fn([Tensor<2>; N]) -> Tensor<2>,
) {
    let (device, flex) = (device(), Device::flex());
    let make = |view: View, device: &Device| {
        let mut index = seed;
        inputs.map(|(rows, columns, scale)| {
            index += 1;
            // Numbers that bf16 holds exactly.
            let exact = |rows, columns| {
                let of = matrix(index, rows, columns, scale, &flex);
                let rounded = of.cast(DType::BF16).cast(DType::F32);
                Tensor::<2>::from_data(rounded.into_data(), device)
            };
            match view {
                View::Whole => exact(rows, columns),
                View::Columns => exact(rows, columns + 3).narrow(1, 2, columns),
                View::Transposed => exact(columns + 2, rows).narrow(0, 1, columns).transpose(),
            }
        })
    };
    for view in [View::Whole, View::Columns, View::Transposed] {
        let gradients = |f: &dyn Fn([Tensor<2>; N]) -> Tensor<2>, dtype: DType, on: &Device| {
            let inputs = make(view, on).map(|input| input.cast(dtype).autodiff().require_grad());
            let output = f(inputs.clone());
            assert_eq!(output.dtype(), dtype);
            let [rows, columns] = output.dims();
            let weights = matrix(seed + 99, rows, columns, 1.0, &flex).cast(DType::BF16);
            let weights = weights.cast(DType::F32).into_data();
            let weights = Tensor::<2>::from_data(weights, on).cast(dtype).autodiff();
            let result = values(output.clone());
            let graph = (output * weights).sum().backward();
            let grads = inputs.map(|input| values(input.grad(&graph).unwrap()));
            (result, grads)
        };
        let (expected, expected_grads) = gradients(&plain, DType::F64, &flex);
        for (dtype, tolerance) in formats() {
            let held = make(view, &device).map(|input| input.cast(dtype));
            close(&values(fused(held.clone())), &expected, tolerance);
            // Someone else holds the inputs: they must stay as they are.
            for (held, fresh) in held.into_iter().zip(make(view, &flex)) {
                assert_eq!(values(held), values(fresh));
            }
            let alone = make(view, &device).map(|input| input.cast(dtype));
            close(&values(fused(alone)), &expected, tolerance);
            let (result, grads) = gradients(&fused, dtype, &device);
            close(&result, &expected, tolerance);
            for (fused, plain) in grads.iter().zip(&expected_grads) {
                close(fused, plain, tolerance);
            }
        }
    }
}

/// Demands that an operation gives nothing for matrices without rows, tracked or not.
pub(crate) fn takes_no_rows<const N: usize>(
    inputs: [[usize; 2]; N],
    fused: impl Fn([Tensor<2>; N]) -> Tensor<2>,
) {
    let make = || inputs.map(|[rows, columns]| Tensor::<2>::zeros([rows, columns], &device()));
    assert!(values(fused(make())).is_empty());
    let tracked = make().map(|input| input.autodiff().require_grad());
    let graph = fused(tracked.clone()).sum().backward();
    for (input, [rows, columns]) in tracked.iter().zip(inputs) {
        let zeros = vec![0.0; rows * columns];
        assert_eq!(values(input.grad(&graph).unwrap()), zeros);
    }
}

/// How a tensor lies in memory.
#[derive(Clone, Copy)]
enum View {
    Whole,
    /// Rows at a distance.
    Columns,
    /// Columns at a distance.
    Transposed,
}

/// Demands that an operation has a form for tensors of these shapes in f32, tracked or not, and none
/// for f64.
pub(crate) fn has_form<const N: usize, O: Operation<N>>(
    op: &O,
    shape: impl Fn(usize) -> Vec<usize>,
) {
    let make = |dtype: DType, tracked: bool| -> [DispatchTensor; N] {
        std::array::from_fn(|index| {
            let shape = shape(index);
            let len = shape.iter().product();
            let of = numbers(1, len, 1.0);
            let of = Tensor::<1>::from_floats(of.as_slice(), &device()).cast(dtype);
            let of = match tracked {
                true => of.autodiff().require_grad(),
                false => of,
            };
            match shape.len() {
                1 => of.into_dispatch(),
                2 => of.reshape([shape[0], shape[1]]).into_dispatch(),
                _ => of.reshape([shape[0], shape[1], shape[2]]).into_dispatch(),
            }
        })
    };
    for tracked in [false, true] {
        assert!(run::<2, N, O>(op, make(DType::F32, tracked)).is_ok());
        if device().supports_dtype(DType::F64) {
            assert!(run::<2, N, O>(op, make(DType::F64, tracked)).is_err());
        }
    }
}
