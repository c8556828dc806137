//! The activations in LibTorch's operators.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use super::op::Gelu;
use crate::forms::Fused;
use crate::libtorch::{self, LibTorch, Torch};

/// The quick one is `silu(SLOPE x) / SLOPE`.
const SLOPE: f64 = 1.702;

impl Fused<LibTorch, 1> for Gelu {
    /// What was given, times the slope where there is one.
    type Saved = Torch;

    fn forward(&self, inputs: [Torch; 1]) -> Torch {
        Fused::<LibTorch, 1>::forward_saving(self, inputs).0
    }

    fn forward_saving(&self, [x]: [Torch; 1]) -> (Torch, Torch) {
        match self {
            Self::Quick => {
                let steep = x.tensor.g_mul_scalar(SLOPE);
                let mut y = steep.silu();
                let _ = y.g_div_scalar_(SLOPE);
                (libtorch::fresh(y), libtorch::fresh(steep))
            }
            Self::Exact => (libtorch::fresh(x.tensor.gelu("none")), x),
            Self::Tanh => (libtorch::fresh(x.tensor.gelu("tanh")), x),
        }
    }

    fn backward(&self, saved: Torch, grad: Torch, _: [bool; 1]) -> [Option<Torch>; 1] {
        let (saved, grad) = (saved.tensor, grad.tensor);
        [Some(libtorch::fresh(match self {
            Self::Quick => saved.silu_backward(&grad),
            Self::Exact => saved.gelu_backward(&grad, "none"),
            Self::Tanh => saved.gelu_backward(&grad, "tanh"),
        }))]
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
