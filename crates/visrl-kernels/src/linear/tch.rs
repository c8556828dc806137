//! Linear maps in LibTorch's operators.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use super::op::{Linear, LinearOnto};
use crate::forms::Fused;
use crate::libtorch::{self, LibTorch, Torch};

/// `d x = d y W^T` and `d W = x^T d y`, as far as they are wanted.
fn backward(x: &Torch, weight: &Torch, grad: &Torch, wanted: [bool; 2]) -> [Option<Torch>; 2] {
    [
        wanted[0].then(|| libtorch::fresh(grad.tensor.mm(&weight.tensor.tr()))),
        wanted[1].then(|| libtorch::fresh(x.tensor.tr().mm(&grad.tensor))),
    ]
}

impl Fused<LibTorch, 2> for Linear {
    type Saved = [Torch; 2];

    fn forward(&self, [x, weight]: [Torch; 2]) -> Torch {
        libtorch::fresh(x.tensor.mm(&weight.tensor))
    }

    fn forward_saving(&self, inputs: [Torch; 2]) -> (Torch, [Torch; 2]) {
        let saved = inputs.clone();
        (Fused::<LibTorch, 2>::forward(self, inputs), saved)
    }

    fn backward(
        &self,
        [x, weight]: [Torch; 2],
        grad: Torch,
        wanted: [bool; 2],
    ) -> [Option<Torch>; 2] {
        backward(&x, &weight, &grad, wanted)
    }
}

impl Fused<LibTorch, 3> for Linear {
    type Saved = [Torch; 2];

    fn forward(&self, [x, weight, bias]: [Torch; 3]) -> Torch {
        libtorch::fresh(bias.tensor.addmm(&x.tensor, &weight.tensor))
    }

    fn forward_saving(&self, [x, weight, bias]: [Torch; 3]) -> (Torch, [Torch; 2]) {
        let saved = [x.clone(), weight.clone()];
        (
            Fused::<LibTorch, 3>::forward(self, [x, weight, bias]),
            saved,
        )
    }

    fn backward(
        &self,
        [x, weight]: [Torch; 2],
        grad: Torch,
        wanted: [bool; 3],
    ) -> [Option<Torch>; 3] {
        let [of_x, of_weight, of_bias] = wanted;
        let d_bias = of_bias.then(|| {
            let kind = grad.tensor.kind();
            libtorch::fresh(grad.tensor.sum_dim_intlist(0, false, kind))
        });
        let [d_x, d_weight] = backward(&x, &weight, &grad, [of_x, of_weight]);
        [d_x, d_weight, d_bias]
    }
}

impl Fused<LibTorch, 3> for LinearOnto {
    type Saved = [Torch; 2];

    fn forward(&self, [mut y, x, weight]: [Torch; 3]) -> Torch {
        match y.can_mut() {
            true => {
                let _ = y.tensor.addmm_(&x.tensor, &weight.tensor);
                y
            }
            false => libtorch::fresh(y.tensor.addmm(&x.tensor, &weight.tensor)),
        }
    }

    fn forward_saving(&self, [y, x, weight]: [Torch; 3]) -> (Torch, [Torch; 2]) {
        let saved = [x.clone(), weight.clone()];
        (Fused::<LibTorch, 3>::forward(self, [y, x, weight]), saved)
    }

    fn backward(
        &self,
        [x, weight]: [Torch; 2],
        grad: Torch,
        wanted: [bool; 3],
    ) -> [Option<Torch>; 3] {
        let [of_y, of_x, of_weight] = wanted;
        let [d_x, d_weight] = backward(&x, &weight, &grad, [of_x, of_weight]);
        [of_y.then_some(grad), d_x, d_weight]
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::{linear, linear_onto};
    use super::super::plain;
    use super::*;
    use crate::libtorch::testing::{compare, has_form};

    #[test]
    fn equals_the_plain_form() {
        for (seed, rows, inner, columns) in [(1, 1, 1, 1), (2, 9, 17, 30), (3, 64, 32, 5)] {
            let [x, weight, bias] = [(rows, inner, 2.0), (inner, columns, 2.0), (1, columns, 2.0)];
            compare(
                [x, weight],
                seed,
                |[x, w]| linear(x, w, None),
                |[x, w]| plain::linear(x, w, None),
            );
            compare(
                [x, weight, bias],
                seed,
                |[x, w, b]| linear(x, w, Some(b.squeeze_dim(0))),
                |[x, w, b]| plain::linear(x, w, Some(b.squeeze_dim(0))),
            );
            compare(
                [(rows, columns, 2.0), x, weight],
                seed,
                |[y, x, w]| linear_onto(y, x, w),
                |[y, x, w]| y + plain::linear(x, w, None),
            );
            let sizes = [(rows, columns), (rows, inner), (inner, columns)];
            has_form(&LinearOnto, sizes);
            let sizes = [(rows, inner), (inner, columns), (1, columns)];
            has_form::<2, _>(&Linear, [sizes[0], sizes[1]]);
            has_form::<3, _>(&Linear, sizes);
        }
    }
}
