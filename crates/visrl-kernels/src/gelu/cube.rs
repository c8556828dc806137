//! The activations in kernels of cubecl.

use std::f32::consts::FRAC_1_SQRT_2;

use burn::backend::TensorMetadata;
use cubecl::prelude::*;

use super::op::{Gelu, TANH_CUBE, TANH_SCALE};
use crate::cube::launch::{self, WIDTH};
use crate::cube::reduce::sigmoid;
use crate::cube::{Cube, CubeTensor, element, fresh, rows};
use crate::forms::Fused;

/// What the argument is multiplied by.
#[cube]
fn gate(x: f32, #[comptime] kind: Gelu) -> f32 {
    match kind {
        Gelu::Quick => sigmoid(1.702f32 * x),
        Gelu::Exact => 0.5f32 + 0.5f32 * Erf::erf(x * FRAC_1_SQRT_2),
        Gelu::Tanh => sigmoid(TANH_SCALE * (x + TANH_CUBE * x * x * x)),
    }
}

/// The derivative of [`gate`]: that of a sigmoid s is `s (1 - s)` times that of its argument, that
/// of the normal distribution its density.
#[cube]
fn slope(x: f32, gate: f32, #[comptime] kind: Gelu) -> f32 {
    match kind {
        Gelu::Quick => 1.702f32 * gate * (1.0f32 - gate),
        // 1 / sqrt(2 pi).
        Gelu::Exact => 0.398_942_3f32 * (-0.5f32 * x * x).exp(),
        Gelu::Tanh => {
            let of_argument = TANH_SCALE * (1.0f32 + 3.0f32 * TANH_CUBE * x * x);
            of_argument * gate * (1.0f32 - gate)
        }
    }
}

#[cube(launch)]
fn activate<E: Float>(
    x: &Tensor<E>,
    y: &mut Tensor<E>,
    #[comptime] kind: Gelu,
    #[define(E)] _format: ElemType,
) {
    let columns = x.shape(1);
    let numbers = x.shape(0) * columns;
    let mut at = ABSOLUTE_POS;
    while at < numbers {
        let value = f32::cast_from(x[at / columns * x.stride(0) + at % columns]);
        y[at] = E::cast_from(value * gate(value, kind));
        at += CUBE_COUNT as usize * WIDTH;
    }
}

/// `d x = d y (gate + x gate')`.
#[cube(launch)]
fn activate_backward<E: Float>(
    x: &Tensor<E>,
    grad: &Tensor<E>,
    d_x: &mut Tensor<E>,
    #[comptime] kind: Gelu,
    #[define(E)] _format: ElemType,
) {
    let columns = x.shape(1);
    let numbers = x.shape(0) * columns;
    let mut at = ABSOLUTE_POS;
    while at < numbers {
        let (row, column) = (at / columns, at % columns);
        let value = f32::cast_from(x[row * x.stride(0) + column]);
        let d = f32::cast_from(grad[row * grad.stride(0) + column]);
        let open = gate(value, kind);
        d_x[at] = E::cast_from(d * (open + value * slope(value, open, kind)));
        at += CUBE_COUNT as usize * WIDTH;
    }
}

impl Fused<Cube, 1> for Gelu {
    type Saved = CubeTensor;

    fn forward(&self, [x]: [CubeTensor; 1]) -> CubeTensor {
        let shape = x.shape();
        let y = fresh(&x, &shape, x.dtype);
        activate::launch(
            &y.client,
            launch::cubes_of_units(shape.num_elements()),
            launch::cube(),
            rows(x).into_tensor_arg(),
            y.clone().into_tensor_arg(),
            *self,
            element(&y),
        );
        y
    }

    fn forward_saving(&self, inputs: [CubeTensor; 1]) -> (CubeTensor, CubeTensor) {
        let [saved] = inputs.clone();
        (Fused::<Cube, 1>::forward(self, inputs), saved)
    }

    fn backward(&self, x: CubeTensor, grad: CubeTensor, _: [bool; 1]) -> [Option<CubeTensor>; 1] {
        let shape = grad.shape();
        let d_x = fresh(&grad, &shape, grad.dtype);
        activate_backward::launch(
            &d_x.client,
            launch::cubes_of_units(shape.num_elements()),
            launch::cube(),
            rows(x).into_tensor_arg(),
            rows(grad).into_tensor_arg(),
            d_x.clone().into_tensor_arg(),
            *self,
            element(&d_x),
        );
        [Some(d_x)]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;
    use proptest::prelude::*;

    use super::super::plain;
    use super::*;
    use crate::cube::testing::{compare, device, has_form};
    use crate::testing::values;

    const KINDS: [Gelu; 3] = [Gelu::Quick, Gelu::Exact, Gelu::Tanh];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, rows in 1usize..40, columns in 1usize..90, scale in 0.1f32..10.0,
        ) {
            for kind in KINDS {
                let shape = (rows, columns, scale);
                compare([shape], seed, |[x]| kind.apply(x), |[x]| plain::gelu(kind, x));
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        for kind in KINDS {
            has_form::<1, _>(&kind, |_| vec![3, 4]);
            let x = Tensor::<2>::from_floats([[f32::NAN, 1.0]], &device());
            assert!(values(kind.apply(x))[0].is_nan());
        }
    }
}
