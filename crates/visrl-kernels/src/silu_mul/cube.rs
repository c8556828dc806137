//! The gated activation in a kernel of cubecl.

use burn::backend::TensorMetadata;
use cubecl::prelude::*;

use super::op::SiluMul;
use crate::cube::launch::{self, WIDTH};
use crate::cube::reduce::sigmoid;
use crate::cube::{Cube, CubeTensor, element, fresh, rows};
use crate::forms::Fused;

/// `silu(gate) up`.
#[cube(launch)]
fn gated<E: Float>(
    gate: &Tensor<E>,
    up: &Tensor<E>,
    out: &mut Tensor<E>,
    #[define(E)] _format: ElemType,
) {
    let columns = gate.shape(1);
    let numbers = gate.shape(0) * columns;
    let mut at = ABSOLUTE_POS;
    while at < numbers {
        let (row, column) = (at / columns, at % columns);
        let g = f32::cast_from(gate[row * gate.stride(0) + column]);
        let u = f32::cast_from(up[row * up.stride(0) + column]);
        let silu = f32::cast_from(E::cast_from(g * sigmoid(g)));
        out[at] = E::cast_from(silu * u);
        at += CUBE_COUNT as usize * WIDTH;
    }
}

/// With s the sigmoid of the gate g, `d up = d g s` and `d gate = d up s (1 + g (1 - s))`.
#[cube(launch)]
fn gated_backward<E: Float>(
    gate: &Tensor<E>,
    up: &Tensor<E>,
    grad: &Tensor<E>,
    d_gate: &mut Tensor<E>,
    d_up: &mut Tensor<E>,
    #[define(E)] _format: ElemType,
) {
    let columns = gate.shape(1);
    let numbers = gate.shape(0) * columns;
    let mut at = ABSOLUTE_POS;
    while at < numbers {
        let (row, column) = (at / columns, at % columns);
        let g = f32::cast_from(gate[row * gate.stride(0) + column]);
        let u = f32::cast_from(up[row * up.stride(0) + column]);
        let d = f32::cast_from(grad[row * grad.stride(0) + column]);
        let s = sigmoid(g);
        d_gate[at] = E::cast_from(d * u * s * (1.0f32 + g * (1.0f32 - s)));
        d_up[at] = E::cast_from(d * g * s);
        at += CUBE_COUNT as usize * WIDTH;
    }
}

impl Fused<Cube, 2> for SiluMul {
    type Saved = [CubeTensor; 2];

    fn forward(&self, [gate, up]: [CubeTensor; 2]) -> CubeTensor {
        let shape = gate.shape();
        let out = fresh(&gate, &shape, gate.dtype);
        let (gate, up) = (rows(gate), rows(up));
        gated::launch(
            &out.client,
            launch::cubes_of_units(shape.num_elements()),
            launch::cube(),
            gate.into_tensor_arg(),
            up.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            element(&out),
        );
        out
    }

    fn forward_saving(&self, inputs: [CubeTensor; 2]) -> (CubeTensor, [CubeTensor; 2]) {
        let saved = inputs.clone();
        (Fused::<Cube, 2>::forward(self, inputs), saved)
    }

    fn backward(
        &self,
        [gate, up]: [CubeTensor; 2],
        grad: CubeTensor,
        _: [bool; 2],
    ) -> [Option<CubeTensor>; 2] {
        let shape = grad.shape();
        let d_gate = fresh(&grad, &shape, grad.dtype);
        let d_up = fresh(&grad, &shape, grad.dtype);
        let [gate, up, grad] = [gate, up, grad].map(rows);
        gated_backward::launch(
            &d_up.client,
            launch::cubes_of_units(shape.num_elements()),
            launch::cube(),
            gate.into_tensor_arg(),
            up.into_tensor_arg(),
            grad.into_tensor_arg(),
            d_gate.clone().into_tensor_arg(),
            d_up.clone().into_tensor_arg(),
            element(&d_up),
        );
        [d_gate, d_up].map(Some)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;
    use proptest::prelude::*;

    use super::super::op::silu_mul;
    use super::super::plain;
    use super::*;
    use crate::cube::testing::{compare, device, has_form, takes_no_rows};
    use crate::testing::values;

    fn check(seed: u64, rows: usize, columns: usize, scale: f32) {
        compare(
            [(rows, columns, scale); 2],
            seed,
            |[a, b]| silu_mul(a, b),
            |[a, b]| plain::silu_mul(a, b),
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, rows in 1usize..40, columns in 1usize..90, scale in 0.1f32..30.0,
        ) {
            check(seed, rows, columns, scale);
        }
    }

    #[test]
    fn tensors_of_all_sizes() {
        for (rows, columns) in [(1, 1), (1, 255), (1, 257), (513, 1), (300, 301)] {
            check(8, rows, columns, 5.0);
        }
        takes_no_rows([[0, 5]; 2], |[a, b]| silu_mul(a, b));
        has_form::<2, _>(&SiluMul, |_| vec![3, 4]);
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        let x = || Tensor::<2>::from_floats([[f32::NAN, 1.0]], &device());
        assert!(values(silu_mul(x(), x()))[0].is_nan());
    }
}
