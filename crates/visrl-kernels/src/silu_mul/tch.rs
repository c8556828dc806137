//! The gated activation in LibTorch's operators.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use super::op::SiluMul;
use crate::forms::Fused;
use crate::libtorch::{self, LibTorch, Torch};

impl Fused<LibTorch, 2> for SiluMul {
    type Saved = [Torch; 2];

    fn forward(&self, [gate, up]: [Torch; 2]) -> Torch {
        let mut gate = match gate.can_mut() {
            true => gate,
            false => return libtorch::fresh(gate.tensor.silu() * up.tensor),
        };
        let _ = gate.tensor.silu_();
        let _ = gate.tensor.g_mul_(&up.tensor);
        gate
    }

    fn forward_saving(&self, inputs: [Torch; 2]) -> (Torch, [Torch; 2]) {
        let saved = inputs.clone();
        (Fused::<LibTorch, 2>::forward(self, inputs), saved)
    }

    fn backward(
        &self,
        [gate, up]: [Torch; 2],
        grad: Torch,
        wanted: [bool; 2],
    ) -> [Option<Torch>; 2] {
        let (gate, up, grad) = (gate.tensor, up.tensor, grad.tensor);
        let d_gate = wanted[0].then(|| libtorch::fresh(gate.silu_backward(&(&grad * up))));
        let d_up = wanted[1].then(|| libtorch::fresh(gate.silu() * grad));
        [d_gate, d_up]
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::silu_mul;
    use super::super::plain;
    use super::*;
    use crate::libtorch::testing::{compare, has_form};

    #[test]
    fn equals_the_plain_form() {
        for (seed, rows, columns) in [(1, 1, 1), (2, 5, 9), (3, 60, 70)] {
            let shapes = [(rows, columns, 8.0); 2];
            compare(
                shapes,
                seed,
                |[a, b]| silu_mul(a, b),
                |[a, b]| plain::silu_mul(a, b),
            );
            has_form(&SiluMul, shapes.map(|(rows, columns, _)| (rows, columns)));
        }
    }
}
