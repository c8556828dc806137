//! Linear maps: a product with a bias, and both products of the gradient.

use burn::tensor::Tensor;

#[cfg(feature = "flex")]
use super::{
    flex::{self, Fused, Host},
    product::{Matrix, Threads, product},
    slices,
};

/// `x W + b` for `x` `[tokens, in]`, `W` `[in, out]` and `b` `[out]`.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    {
        let pair = [x.into_dispatch(), weight.into_dispatch()];
        match bias {
            None => match flex::run(&Linear, pair) {
                Ok(output) => output,
                Err(pair) => {
                    let [x, weight] = pair.map(Tensor::<2>::from_dispatch);
                    plain(x, weight, None)
                }
            },
            Some(bias) => {
                let [x, weight] = pair;
                match flex::run(&Linear, [x, weight, bias.into_dispatch()]) {
                    Ok(output) => output,
                    Err([x, weight, bias]) => {
                        let [x, weight] = [x, weight].map(Tensor::<2>::from_dispatch);
                        plain(x, weight, Some(Tensor::from_dispatch(bias)))
                    }
                }
            }
        }
    }
    #[cfg(not(feature = "flex"))]
    plain(x, weight, bias)
}

/// The product of two matrices, whatever their layout.
pub fn matmul(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    linear(a, b, None)
}

/// The same in tensor operations.
pub(super) fn plain(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    burn::tensor::module::linear(x, weight, bias)
}

#[cfg(feature = "flex")]
#[derive(Clone, Debug)]
struct Linear;

#[cfg(feature = "flex")]
impl Linear {
    fn forward(x: &Host, weight: &Host, bias: Option<Host>) -> Host {
        let ([x, weight], bias) = ([x, weight].map(Matrix::of), bias.map(flex::in_order));
        let [rows, columns] = [x.rows(), weight.columns()];
        let mut out = vec![0.0; rows * columns];
        if let Some(bias) = &bias {
            let bias = flex::read(bias);
            slices::rows1(columns, &mut out, |_, rows| {
                for row in rows.chunks_exact_mut(columns) {
                    row.copy_from_slice(bias);
                }
            });
        }
        product(x, weight, &mut out, columns, bias.is_some(), Threads::All);
        flex::from_vec(out, vec![rows, columns].into())
    }

    /// `d x = d y W^T` and `d W = x^T d y`, as far as they are wanted.
    fn backward(x: &Host, weight: &Host, grad: &Host, wanted: [bool; 2]) -> [Host; 2] {
        let [x, weight, grad] = [x, weight, grad].map(Matrix::of);
        let pairs = [(grad, weight.transposed()), (x.transposed(), grad)];
        let mut wanted = wanted.into_iter();
        pairs.map(|(a, b)| match wanted.next() {
            Some(true) => {
                let [rows, columns] = [a.rows(), b.columns()];
                let mut out = vec![0.0; rows * columns];
                product(a, b, &mut out, columns, false, Threads::All);
                flex::from_vec(out, vec![rows, columns].into())
            }
            _ => flex::from_vec(Vec::new(), vec![0].into()),
        })
    }
}

#[cfg(feature = "flex")]
impl Fused<2> for Linear {
    type Saved = [Host; 2];

    fn forward(&self, [x, weight]: [Host; 2]) -> Host {
        Self::forward(&x, &weight, None)
    }

    fn forward_saving(&self, [x, weight]: [Host; 2]) -> (Host, [Host; 2]) {
        (Self::forward(&x, &weight, None), [x, weight])
    }

    fn backward(&self, [x, weight]: [Host; 2], grad: Host, wanted: [bool; 2]) -> [Host; 2] {
        Self::backward(&x, &weight, &grad, wanted)
    }
}

#[cfg(feature = "flex")]
impl Fused<3> for Linear {
    type Saved = [Host; 2];

    fn forward(&self, [x, weight, bias]: [Host; 3]) -> Host {
        Self::forward(&x, &weight, Some(bias))
    }

    fn forward_saving(&self, [x, weight, bias]: [Host; 3]) -> (Host, [Host; 2]) {
        (Self::forward(&x, &weight, Some(bias)), [x, weight])
    }

    fn backward(&self, [x, weight]: [Host; 2], grad: Host, wanted: [bool; 3]) -> [Host; 3] {
        let [of_x, of_weight, of_bias] = wanted;
        let grad = flex::in_order(grad);
        let sums = match of_bias {
            true => slices::column_sums(flex::width(&grad), flex::read(&grad), slices::add_row),
            false => Vec::new(),
        };
        let shape = vec![sums.len()];
        let [d_x, d_weight] = Self::backward(&x, &weight, &grad, [of_x, of_weight]);
        [d_x, d_weight, flex::from_vec(sums, shape.into())]
    }
}
