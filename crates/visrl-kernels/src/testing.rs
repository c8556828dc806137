//! What forms are tested with.

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::forms::{Operation, run};

/// Numbers that look random, the same for the same seed.
pub(crate) fn numbers(seed: u64, len: usize, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            scale * ((state >> 40) as f32 / 8_388_608.0 - 1.0)
        })
        .collect()
}

/// A matrix `[rows, columns]` of such numbers, up to `scale`.
pub(crate) fn matrix(
    seed: u64,
    rows: usize,
    columns: usize,
    scale: f32,
    device: &Device,
) -> Tensor<2> {
    let values = numbers(seed, rows * columns, scale);
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}

/// All numbers of a tensor.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap()
}

/// Demands that numbers are equal to `tolerance`, relative above 1.
pub(crate) fn close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        let bound = tolerance * (1.0 + a.abs().max(b.abs()));
        assert!((a - b).abs() <= bound, "at {i}: {a} for {b}");
    }
}

/// Results and gradients of an operation of `N` matrices and of its plain form, tracked and not, on
/// whole tensors and on views; and of the operation in f64, which is left to its plain form.
pub(crate) fn compare<const N: usize>(
    inputs: [(usize, usize, f32); N],
    seed: u64,
    tolerance: f32,
    fused: impl Fn([Tensor<2>; N]) -> Tensor<2>,
    plain: impl Fn([Tensor<2>; N]) -> Tensor<2>,
) {
    let device = Device::flex();
    let make = |device: &Device, view: bool| {
        let mut index = seed;
        inputs.map(|(rows, columns, scale)| {
            index += 1;
            if view {
                matrix(index, columns + 2, rows, scale, device)
                    .narrow(0, 1, columns)
                    .transpose()
            } else {
                matrix(index, rows, columns, scale, device)
            }
        })
    };
    for view in [false, true] {
        let expected = values(plain(make(&device, view)));
        close(&values(fused(make(&device, view))), &expected, tolerance);
        // Someone else holds the inputs: they must stay as they are.
        let held = make(&device, view);
        fused(held.clone());
        for (held, fresh) in held.into_iter().zip(make(&device, view)) {
            assert_eq!(values(held), values(fresh));
        }
        let gradients = |f: &dyn Fn([Tensor<2>; N]) -> Tensor<2>, dtype: DType| {
            let inputs = make(&device, view);
            let inputs = inputs.map(|input| input.cast(dtype).autodiff().require_grad());
            let output = f(inputs.clone());
            assert_eq!(output.dtype(), dtype);
            let [rows, columns] = output.dims();
            let weights = matrix(seed + 99, rows, columns, 1.0, &device).cast(dtype);
            let weights = weights.autodiff();
            let result = values(output.clone());
            let graph = (output * weights).sum().backward();
            let grads = inputs.map(|input| values(input.grad(&graph).unwrap()));
            (result, grads)
        };
        let (_, expected_grads) = gradients(&plain, DType::F32);
        for dtype in [DType::F32, DType::F64] {
            let (result, grads) = gradients(&fused, dtype);
            close(&result, &expected, tolerance);
            for (fused, plain) in grads.iter().zip(&expected_grads) {
                close(fused, plain, tolerance);
            }
        }
        let in_f64 = make(&device, view).map(|input| input.cast(DType::F64));
        close(&values(fused(in_f64)), &expected, tolerance);
    }
}

/// Demands that an operation has a form for f32 matrices of these sizes on flex, tracked or not,
/// and none for f64.
pub(crate) fn has_form<const N: usize, O: Operation<N>>(op: &O, sizes: [(usize, usize); N]) {
    let make = |dtype: DType, tracked: bool| {
        sizes.map(|(rows, columns)| {
            let tensor = matrix(1, rows, columns, 1.0, &Device::flex()).cast(dtype);
            match tracked {
                true => tensor.autodiff().require_grad().into_dispatch(),
                false => tensor.into_dispatch(),
            }
        })
    };
    for tracked in [false, true] {
        assert!(run::<2, N, O>(op, make(DType::F32, tracked)).is_ok());
        assert!(run::<2, N, O>(op, make(DType::F64, tracked)).is_err());
    }
}
