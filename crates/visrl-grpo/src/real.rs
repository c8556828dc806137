//! The floating-point types that the crate computes in.

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

mod sealed {
    use crate::batch::TokenBatch;
    use crate::error::Result;
    use crate::grpo_loss::GrpoLoss;
    use crate::policy_loss::LossSummary;

    /// What is compiled here for each type, and not in the crates that use it: every family is
    /// inlined into one loop for each kind of vector, which takes the compiler many seconds.
    pub trait Sealed: Sized {
        fn evaluate(
            loss: &GrpoLoss,
            batch: &TokenBatch<'_, Self>,
            grad: &mut [Self],
            entropy_grad: Option<&mut [Self]>,
        ) -> Result<LossSummary>;
    }

    macro_rules! sealed {
        ($t:ty) => {
            impl Sealed for $t {
                fn evaluate(
                    loss: &GrpoLoss,
                    batch: &TokenBatch<'_, Self>,
                    grad: &mut [Self],
                    entropy_grad: Option<&mut [Self]>,
                ) -> Result<LossSummary> {
                    loss.evaluate_family(batch, grad, entropy_grad)
                }
            }
        };
    }

    sealed!(f32);
    sealed!(f64);
}

/// A floating-point type: `f32` or `f64`, and nothing else (the trait is sealed).
///
/// Token values are computed in `Self` and added in fours; sums over rows and batches are kept in
/// `f64` whatever `Self` is, so that a long `f32` batch loses no digits in its mean.
pub trait Real:
    sealed::Sealed
    + Copy
    + Default
    + PartialOrd
    + Debug
    + Display
    + Send
    + Sync
    + Sum
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + MulAssign
    + 'static
{
    /// The number zero.
    const ZERO: Self;
    /// The number one.
    const ONE: Self;
    /// Not a number: in rewards, "this rule could not score this completion".
    const NAN: Self;

    /// Rounds a `f64` to this type.
    fn from_f64(value: f64) -> Self;
    /// Widens to `f64` (exact).
    fn to_f64(self) -> f64;
    /// `e^self`, within 2 units in the last place, in code that loops can vectorize.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Absolute value.
    fn abs(self) -> Self;
    /// Whether the value is not a number.
    fn is_nan(self) -> bool;
    /// Whether the value is neither infinite nor NaN.
    fn is_finite(self) -> bool;

    /// The smaller of two numbers; the left one where they cannot be compared.
    #[inline]
    fn at_most(self, bound: Self) -> Self {
        if self > bound { bound } else { self }
    }

    /// The larger of two numbers; the left one where they cannot be compared.
    #[inline]
    fn at_least(self, bound: Self) -> Self {
        if self < bound { bound } else { self }
    }
}

macro_rules! real {
    ($t:ty, $exp:path) => {
        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NAN: Self = <$t>::NAN;

            #[inline]
            fn from_f64(value: f64) -> Self {
                value as $t
            }
            #[inline]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $exp(self)
            }
            #[inline]
            fn ln(self) -> Self {
                <$t>::ln(self)
            }
            #[inline]
            fn sqrt(self) -> Self {
                <$t>::sqrt(self)
            }
            #[inline]
            fn abs(self) -> Self {
                <$t>::abs(self)
            }
            #[inline]
            fn is_nan(self) -> bool {
                <$t>::is_nan(self)
            }
            #[inline]
            fn is_finite(self) -> bool {
                <$t>::is_finite(self)
            }
        }
    };
}

real!(f32, crate::exp::exp_f32);
real!(f64, crate::exp::exp_f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_keep_the_left_value_when_incomparable() {
        assert_eq!(2.0f64.at_most(1.0), 1.0);
        assert_eq!(2.0f64.at_least(3.0), 3.0);
        assert!(f64::NAN.at_most(1.0).is_nan());
        assert!(f32::NAN.at_least(1.0).is_nan());
    }

    #[test]
    fn widening_is_exact() {
        assert_eq!(<f32 as Real>::from_f64(0.1).to_f64(), f64::from(0.1f32));
    }
}
