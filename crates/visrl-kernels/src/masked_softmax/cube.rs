//! The softmax in kernels of cubecl.

use burn::backend::TensorMetadata;
use cubecl::prelude::*;

use super::mask::Mask;
use super::op::MaskedSoftmax;
use crate::cube::launch::{self, WIDTH};
use crate::cube::reduce::{LOWEST, cube_max, cube_sum};
use crate::cube::{Cube, CubeTensor, element, fresh, rows};
use crate::forms::Fused;

/// The number of columns that a row sees.
#[cube]
fn seen(row: usize, len: usize, past: usize, columns: usize) -> usize {
    let mut seen = past + row % len + 1;
    if seen > columns {
        seen = columns;
    }
    seen
}

#[cube(launch)]
fn softmax<E: Float>(
    x: &Tensor<E>,
    y: &mut Tensor<E>,
    len: usize,
    past: usize,
    #[define(E)] _format: ElemType,
) {
    let columns = x.shape(1);
    let mut row = CUBE_POS;
    while row < x.shape(0) {
        let start = row * x.stride(0);
        let seen = seen(row, len, past, columns);
        let mut largest = f32::new(LOWEST);
        let mut column = UNIT_POS as usize;
        while column < seen {
            let value = f32::cast_from(x[start + column]);
            if value > largest {
                largest = value;
            }
            column += WIDTH;
        }
        let largest = cube_max(largest);
        let mut sum = 0.0f32;
        let mut column = UNIT_POS as usize;
        while column < seen {
            sum += (f32::cast_from(x[start + column]) - largest).exp();
            column += WIDTH;
        }
        let scale = 1.0f32 / cube_sum(sum);
        let mut column = UNIT_POS as usize;
        while column < columns {
            let mut share = 0.0f32;
            if column < seen {
                share = (f32::cast_from(x[start + column]) - largest).exp() * scale;
            }
            y[row * columns + column] = E::cast_from(share);
            column += WIDTH;
        }
        row += CUBE_COUNT as usize;
    }
}

/// With p the result, `d x = p (d p - sum(p d p))`; what a row does not see has a p of 0.
#[cube(launch)]
fn softmax_backward<E: Float>(
    p: &Tensor<E>,
    grad: &Tensor<E>,
    d_x: &mut Tensor<E>,
    #[define(E)] _format: ElemType,
) {
    let columns = p.shape(1);
    let mut row = CUBE_POS;
    while row < p.shape(0) {
        let start = row * p.stride(0);
        let of_grad = row * grad.stride(0);
        let mut sum = 0.0f32;
        let mut column = UNIT_POS as usize;
        while column < columns {
            sum += f32::cast_from(p[start + column]) * f32::cast_from(grad[of_grad + column]);
            column += WIDTH;
        }
        let sum = cube_sum(sum);
        let mut column = UNIT_POS as usize;
        while column < columns {
            let d = f32::cast_from(grad[of_grad + column]) - sum;
            let share = f32::cast_from(p[start + column]);
            d_x[row * columns + column] = E::cast_from(share * d);
            column += WIDTH;
        }
        row += CUBE_COUNT as usize;
    }
}

impl Fused<Cube, 1> for MaskedSoftmax {
    type Saved = CubeTensor;

    fn forward(&self, [scores]: [CubeTensor; 1]) -> CubeTensor {
        let shape = scores.shape();
        let y = fresh(&scores, &shape, scores.dtype);
        let x = rows(scores);
        let columns = x.meta.shape()[1];
        let (len, past) = match self.0 {
            Mask::Causal { len, past } => (len.max(1), past),
            Mask::Full => (1, columns),
        };
        softmax::launch(
            &y.client,
            launch::cubes(x.meta.shape()[0]),
            launch::cube(),
            x.into_tensor_arg(),
            y.clone().into_tensor_arg(),
            len,
            past,
            element(&y),
        );
        y
    }

    fn forward_saving(&self, inputs: [CubeTensor; 1]) -> (CubeTensor, CubeTensor) {
        let output = Fused::<Cube, 1>::forward(self, inputs);
        (output.clone(), output)
    }

    fn backward(
        &self,
        output: CubeTensor,
        grad: CubeTensor,
        _: [bool; 1],
    ) -> [Option<CubeTensor>; 1] {
        let shape = grad.shape();
        let d_x = fresh(&grad, &shape, grad.dtype);
        let (p, grad) = (rows(output), rows(grad));
        softmax_backward::launch(
            &d_x.client,
            launch::cubes(p.meta.shape()[0]),
            launch::cube(),
            p.into_tensor_arg(),
            grad.into_tensor_arg(),
            d_x.clone().into_tensor_arg(),
            element(&d_x),
        );
        [Some(d_x)]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;
    use proptest::prelude::*;

    use super::super::op::masked_softmax;
    use super::super::plain;
    use super::*;
    use crate::cube::testing::{compare, device, has_form, takes_no_rows};
    use crate::testing::values;

    fn check(seed: u64, shape: (usize, usize, f32), mask: Mask) {
        compare(
            [shape],
            seed,
            |[x]| masked_softmax(x, mask),
            |[x]| plain::masked_softmax(x, mask),
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, groups in 1usize..5, len in 1usize..9, past in 0usize..40,
            scale in 0.1f32..30.0,
        ) {
            let shape = (groups * len, past + len, scale);
            check(seed, shape, Mask::Full);
            check(seed, shape, Mask::Causal { len, past });
        }
    }

    #[test]
    fn tensors_of_all_sizes() {
        for (rows, columns) in [(1, 1), (1, 256), (300, 301), (3, 1000)] {
            check(7, (rows, columns, 5.0), Mask::Full);
        }
        let (len, past) = (300, 1);
        check(7, (2 * len, past + len, 5.0), Mask::Causal { len, past });
        takes_no_rows([[0, 5]], |[x]| masked_softmax(x, Mask::Full));
        has_form::<1, _>(&MaskedSoftmax(Mask::Full), |_| vec![2, 3, 4]);
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        let x = Tensor::<2>::from_floats([[f32::NAN, 1.0]], &device());
        let found = values(masked_softmax(x, Mask::Full));
        assert!(found.iter().all(|x| x.is_nan()));
    }
}
