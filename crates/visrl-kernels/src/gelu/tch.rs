//! The activations in LibTorch's operators.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use tch::Tensor as Native;

use super::op::Gelu;
use crate::forms::Fused;
use crate::libtorch::{self, LibTorch, Torch};

/// The quick one is `silu(SLOPE x) / SLOPE`.
const SLOPE: f64 = 1.702;

impl Gelu {
    /// Multiplies by the slope in place, where there is one.
    pub(crate) fn prepare(self, x: &mut Native) {
        if self == Self::Quick {
            let _ = x.g_mul_scalar_(SLOPE);
        }
    }

    /// The activation of what was prepared.
    pub(crate) fn activate(self, prepared: &Native) -> Native {
        match self {
            Self::Quick => {
                let mut y = prepared.silu();
                let _ = y.g_div_scalar_(SLOPE);
                y
            }
            Self::Exact => prepared.gelu("none"),
            Self::Tanh => prepared.gelu("tanh"),
        }
    }

    /// The gradient of what comes before it was prepared.
    pub(crate) fn back(self, prepared: &Native, grad: &Native) -> Native {
        match self {
            Self::Quick => prepared.silu_backward(grad),
            Self::Exact => prepared.gelu_backward(grad, "none"),
            Self::Tanh => prepared.gelu_backward(grad, "tanh"),
        }
    }
}

impl Fused<LibTorch, 1> for Gelu {
    /// What was prepared.
    type Saved = Torch;

    fn forward(&self, inputs: [Torch; 1]) -> Torch {
        Fused::<LibTorch, 1>::forward_saving(self, inputs).0
    }

    fn forward_saving(&self, [x]: [Torch; 1]) -> (Torch, Torch) {
        let prepared = match self {
            Self::Quick => libtorch::fresh(x.tensor.g_mul_scalar(SLOPE)),
            Self::Exact | Self::Tanh => x,
        };
        (libtorch::fresh(self.activate(&prepared.tensor)), prepared)
    }

    fn backward(&self, saved: Torch, grad: Torch, _: [bool; 1]) -> [Option<Torch>; 1] {
        [Some(libtorch::fresh(
            self.back(&saved.tensor, &grad.tensor),
        ))]
    }
}

#[cfg(test)]
mod tests {
    use super::super::plain;
    use super::*;
    use crate::libtorch::testing::{compare, has_form};

    #[test]
    fn equals_the_plain_form() {
        for kind in [Gelu::Quick, Gelu::Exact, Gelu::Tanh] {
            for (seed, rows, columns) in [(1, 1, 1), (2, 5, 9), (3, 60, 70)] {
                compare(
                    [(rows, columns, 5.0)],
                    seed,
                    |[x]| kind.apply(x),
                    |[x]| plain::gelu(kind, x),
                );
                has_form(&kind, [(rows, columns)]);
            }
        }
    }
}
