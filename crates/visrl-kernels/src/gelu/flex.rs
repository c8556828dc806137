//! The activations over slices.

use burn::backend::Flex;

use super::op::{Gelu, TANH_CUBE, TANH_SCALE};
use crate::flex::{self, Host};
use crate::forms::Fused;
use crate::parallel;
use crate::simd::{erf, exp, sigmoid};

impl Fused<Flex, 1> for Gelu {
    type Saved = Host;

    fn forward(&self, [x]: [Host; 1]) -> Host {
        let mut x = flex::owned(x);
        parallel::for_rows(
            1,
            x.storage_mut(),
            #[inline(always)]
            |_, x| match self {
                Self::Quick => {
                    for x in x {
                        *x *= sigmoid(1.702 * *x);
                    }
                }
                Self::Exact => {
                    for x in x {
                        *x *= normal_below(*x);
                    }
                }
                Self::Tanh => {
                    for x in x {
                        *x *= tanh_gate(*x);
                    }
                }
            },
        );
        x
    }

    fn forward_saving(&self, inputs: [Host; 1]) -> (Host, Host) {
        let [saved] = inputs.clone();
        (Fused::<Flex, 1>::forward(self, inputs), saved)
    }

    fn saved(&self, [x]: [Host; 1]) -> Host {
        x
    }

    /// With s the sigmoid of 1.702 x, `d (x s) / d x = s (1 + 1.702 x (1 - s))`, and so for the
    /// other sigmoid, whose argument has the derivative `scale (1 + 3 cube x^2)`; with P and p the
    /// normal distribution and its density, `d (x P) / d x = P + x p`.
    fn backward(&self, x: Host, grad: Host, _: [bool; 1]) -> [Option<Host>; 1] {
        let mut x = flex::owned(x);
        let grad = flex::in_order(grad);
        parallel::for_rows_with(
            1,
            x.storage_mut(),
            flex::read(&grad),
            #[inline(always)]
            |_, x, grad| {
                let both = x.iter_mut().zip(grad);
                match self {
                    Self::Quick => {
                        for (x, grad) in both {
                            let s = sigmoid(1.702 * *x);
                            *x = grad * s * (1.0 + 1.702 * *x * (1.0 - s));
                        }
                    }
                    Self::Exact => {
                        for (x, grad) in both {
                            /// 1 / sqrt(2 pi).
                            const PEAK: f32 = 0.398_942_3;
                            let density = PEAK * exp(-0.5 * *x * *x);
                            *x = grad * (normal_below(*x) + *x * density);
                        }
                    }
                    Self::Tanh => {
                        for (x, grad) in both {
                            let s = tanh_gate(*x);
                            let slope = TANH_SCALE * (1.0 + 3.0 * TANH_CUBE * *x * *x);
                            *x = grad * s * (1.0 + *x * slope * (1.0 - s));
                        }
                    }
                }
            },
        );
        [Some(x)]
    }
}

/// What [`Gelu::Tanh`] multiplies its argument by.
#[inline(always)]
fn tanh_gate(x: f32) -> f32 {
    sigmoid(TANH_SCALE * (x + TANH_CUBE * x * x * x))
}

/// The standard normal distribution function.
#[inline(always)]
fn normal_below(x: f32) -> f32 {
    0.5 + 0.5 * erf(x * std::f32::consts::FRAC_1_SQRT_2)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};
    use proptest::prelude::*;

    use super::super::plain;
    use super::*;
    use crate::testing::{compare, has_form, values};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, rows in 1usize..40, columns in 1usize..90, scale in 0.1f32..10.0,
        ) {
            for kind in [Gelu::Quick, Gelu::Exact, Gelu::Tanh] {
                let shape = (rows, columns, scale);
                compare([shape], seed, 4e-6, |[x]| kind.apply(x), |[x]| plain::gelu(kind, x));
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        has_form(&Gelu::Quick, [(3, 4)]);
        let x = Tensor::<2>::from_floats([[f32::NAN, 1.0]], &Device::flex());
        assert!(values(Gelu::Exact.apply(x))[0].is_nan());
    }
}
