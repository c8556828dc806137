//! Gaussian error linear units, exact and by a sigmoid.

use burn::tensor::Tensor;
use burn::tensor::activation::{gelu, sigmoid as sigmoid_of};

#[cfg(feature = "flex")]
use super::{
    exp::{erf, exp, sigmoid},
    flex::{self, Fused, Host},
    slices,
};

/// The activations of vision towers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// `x sigmoid(1.702 x)`.
    Quick,
    /// `x (1 + erf(x / sqrt(2))) / 2`.
    Exact,
}

impl Gelu {
    /// Applies the activation to each number.
    pub fn apply<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        #[cfg(feature = "flex")]
        {
            match flex::run(&self, [x.into_dispatch()]) {
                Ok(output) => output,
                Err([x]) => self.plain(Tensor::from_dispatch(x)),
            }
        }
        #[cfg(not(feature = "flex"))]
        self.plain(x)
    }

    /// The same in tensor operations.
    pub(super) fn plain<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Quick => x.clone() * sigmoid_of(x * 1.702),
            Self::Exact => gelu(x),
        }
    }
}

#[cfg(feature = "flex")]
impl Fused<1> for Gelu {
    type Saved = Host;

    fn forward(&self, [x]: [Host; 1]) -> Host {
        let mut x = flex::owned(x);
        slices::rows1(
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
            },
        );
        x
    }

    fn forward_saving(&self, inputs: [Host; 1]) -> (Host, Host) {
        let [saved] = inputs.clone();
        (self.forward(inputs), saved)
    }

    /// With s the sigmoid of 1.702 x, `d (x s) / d x = s (1 + 1.702 x (1 - s))`; with P and p the
    /// normal distribution and its density, `d (x P) / d x = P + x p`.
    fn backward(&self, x: Host, grad: Host, _: [bool; 1]) -> [Host; 1] {
        let mut x = flex::owned(x);
        let grad = flex::in_order(grad);
        slices::rows2(
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
                }
            },
        );
        [x]
    }
}

/// The standard normal distribution function.
#[cfg(feature = "flex")]
#[inline(always)]
fn normal_below(x: f32) -> f32 {
    0.5 + 0.5 * erf(x * std::f32::consts::FRAC_1_SQRT_2)
}
