//! The gated activation over slices.

use burn::backend::Flex;

use super::op::SiluMul;
use crate::flex::{self, Host};
use crate::forms::Fused;
use crate::parallel;
use crate::simd::sigmoid;

impl Fused<Flex, 2> for SiluMul {
    type Saved = [Host; 2];

    fn forward(&self, [gate, up]: [Host; 2]) -> Host {
        let mut gate = flex::owned(gate);
        let up = flex::in_order(up);
        parallel::for_rows_with(
            1,
            gate.storage_mut(),
            flex::read(&up),
            #[inline(always)]
            |_, gate, up| {
                for (gate, up) in gate.iter_mut().zip(up) {
                    *gate = *gate * sigmoid(*gate) * up;
                }
            },
        );
        gate
    }

    fn forward_saving(&self, inputs: [Host; 2]) -> (Host, [Host; 2]) {
        let saved = inputs.clone();
        (Fused::<Flex, 2>::forward(self, inputs), saved)
    }

    fn saved(&self, inputs: [Host; 2]) -> [Host; 2] {
        inputs
    }

    /// With s the sigmoid of the gate g, `d up = d g s` and `d gate = d up s (1 + g (1 - s))`.
    fn backward(&self, [gate, up]: [Host; 2], grad: Host, _: [bool; 2]) -> [Option<Host>; 2] {
        let (mut gate, mut up) = (flex::owned(gate), flex::owned(up));
        let grad = flex::in_order(grad);
        let (gates, ups) = (gate.storage_mut(), up.storage_mut());
        parallel::for_row_pairs_with(
            1,
            gates,
            ups,
            flex::read(&grad),
            #[inline(always)]
            |_, gate, up, grad| {
                for ((gate, up), grad) in gate.iter_mut().zip(up).zip(grad) {
                    let s = sigmoid(*gate);
                    let d_gate = grad * *up * s * (1.0 + *gate * (1.0 - s));
                    *up = grad * *gate * s;
                    *gate = d_gate;
                }
            },
        );
        [Some(gate), Some(up)]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};
    use proptest::prelude::*;

    use super::super::op::silu_mul;
    use super::super::plain;
    use super::*;
    use crate::testing::{compare, has_form, values};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, rows in 1usize..40, columns in 1usize..90, scale in 0.1f32..30.0,
        ) {
            let shapes = [(rows, columns, scale); 2];
            compare(shapes, seed, 4e-6, |[a, b]| silu_mul(a, b), |[a, b]| plain::silu_mul(a, b));
        }
    }

    /// Large enough for several tasks.
    #[test]
    fn large_tensors() {
        has_form(&SiluMul, [(3, 4); 2]);
        compare(
            [(300, 301, 5.0); 2],
            8,
            4e-6,
            |[a, b]| silu_mul(a, b),
            |[a, b]| plain::silu_mul(a, b),
        );
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        let x = || Tensor::<2>::from_floats([[f32::NAN, 1.0]], &Device::flex());
        assert!(values(silu_mul(x(), x()))[0].is_nan());
    }
}
