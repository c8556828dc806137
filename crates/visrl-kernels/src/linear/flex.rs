//! Linear maps over slices.

use burn::backend::Flex;

use super::op::Linear;
use crate::flex::{self, Host};
use crate::forms::Fused;
use crate::parallel;
use crate::product::{Matrix, Threads, product};

/// `x W + b`.
fn forward(x: &Host, weight: &Host, bias: Option<Host>) -> Host {
    let ([x, weight], bias) = ([x, weight].map(Matrix::of), bias.map(flex::in_order));
    let [rows, columns] = [x.rows(), weight.columns()];
    let mut out = vec![0.0; rows * columns];
    if let Some(bias) = &bias {
        let bias = flex::read(bias);
        parallel::for_rows(columns, &mut out, |_, rows| {
            for row in rows.chunks_exact_mut(columns) {
                row.copy_from_slice(bias);
            }
        });
    }
    product(x, weight, &mut out, columns, bias.is_some(), Threads::All);
    flex::from_vec(out, [rows, columns])
}

/// `d x = d y W^T` and `d W = x^T d y`, as far as they are wanted.
fn backward(x: &Host, weight: &Host, grad: &Host, wanted: [bool; 2]) -> [Option<Host>; 2] {
    let [x, weight, grad] = [x, weight, grad].map(Matrix::of);
    let of = |a: Matrix<'_>, b: Matrix<'_>| {
        let [rows, columns] = [a.rows(), b.columns()];
        let mut out = vec![0.0; rows * columns];
        product(a, b, &mut out, columns, false, Threads::All);
        flex::from_vec(out, [rows, columns])
    };
    [
        wanted[0].then(|| of(grad, weight.transposed())),
        wanted[1].then(|| of(x.transposed(), grad)),
    ]
}

impl Fused<Flex, 2> for Linear {
    type Saved = [Host; 2];

    fn forward(&self, [x, weight]: [Host; 2]) -> Host {
        forward(&x, &weight, None)
    }

    fn forward_saving(&self, [x, weight]: [Host; 2]) -> (Host, [Host; 2]) {
        (forward(&x, &weight, None), [x, weight])
    }

    fn saved(&self, inputs: [Host; 2]) -> [Host; 2] {
        inputs
    }

    fn backward(&self, [x, weight]: [Host; 2], grad: Host, wanted: [bool; 2]) -> [Option<Host>; 2] {
        backward(&x, &weight, &grad, wanted)
    }
}

impl Fused<Flex, 3> for Linear {
    type Saved = [Host; 2];

    fn forward(&self, [x, weight, bias]: [Host; 3]) -> Host {
        forward(&x, &weight, Some(bias))
    }

    fn forward_saving(&self, [x, weight, bias]: [Host; 3]) -> (Host, [Host; 2]) {
        (forward(&x, &weight, Some(bias)), [x, weight])
    }

    fn saved(&self, [x, weight, _]: [Host; 3]) -> [Host; 2] {
        [x, weight]
    }

    fn backward(&self, [x, weight]: [Host; 2], grad: Host, wanted: [bool; 3]) -> [Option<Host>; 3] {
        let [of_x, of_weight, of_bias] = wanted;
        let grad = flex::in_order(grad);
        let d_bias = of_bias.then(|| {
            let width = flex::width(&grad);
            let sums = parallel::column_sums(width, flex::read(&grad), parallel::add_row);
            flex::from_vec(sums, [width])
        });
        let [d_x, d_weight] = backward(&x, &weight, &grad, [of_x, of_weight]);
        [d_x, d_weight, d_bias]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::op::linear;
    use super::super::plain;
    use super::*;
    use crate::testing::{compare, has_form};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, rows in 1usize..90, inner in 1usize..50, columns in 1usize..70,
        ) {
            let [x, weight, bias] = [(rows, inner, 2.0), (inner, columns, 2.0), (1, columns, 2.0)];
            compare([x, weight], seed, 2e-5, |[x, w]| linear(x, w, None), |[x, w]| {
                plain::linear(x, w, None)
            });
            compare(
                [x, weight, bias],
                seed,
                2e-5,
                |[x, w, b]| linear(x, w, Some(b.squeeze_dim(0))),
                |[x, w, b]| plain::linear(x, w, Some(b.squeeze_dim(0))),
            );
            let sizes = [(rows, inner), (inner, columns), (1, columns)];
            has_form::<2, _>(&Linear, [sizes[0], sizes[1]]);
            has_form::<3, _>(&Linear, sizes);
        }
    }
}
