//! The floating-point types that the crate computes in.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// A floating-point type: `f32` or `f64`.
///
/// Values of tokens are computed in `Self`; sums over tokens and rows are kept in `f64` whatever
/// `Self` is, so that a long `f32` batch loses no digits in its mean.
pub trait Real:
    Copy
    + PartialOrd
    + Debug
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
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
    /// `e^self`.
    fn exp(self) -> Self;
    /// Whether the value is not a number.
    #[allow(clippy::eq_op)] // only NaN differs from itself
    fn is_nan(self) -> bool {
        self != self
    }

    /// The smaller of two numbers; the left one where they cannot be compared.
    fn at_most(self, bound: Self) -> Self {
        if self > bound { bound } else { self }
    }

    /// The larger of two numbers; the left one where they cannot be compared.
    fn at_least(self, bound: Self) -> Self {
        if self < bound { bound } else { self }
    }
}

macro_rules! real {
    ($t:ty) => {
        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NAN: Self = <$t>::NAN;

            fn from_f64(value: f64) -> Self {
                value as $t
            }

            fn to_f64(self) -> f64 {
                f64::from(self)
            }

            fn exp(self) -> Self {
                <$t>::exp(self)
            }
        }
    };
}

real!(f32);
real!(f64);
