use std::fmt;

/// A number of a run, as it was given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    /// Without a point.
    Whole(i128),
    /// With one; nan and infinities, too.
    Real(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole(value) => value.fmt(f),
            Self::Real(value) => f.write_str(&shown(value)),
        }
    }
}

/// A number as a file writes it. One that was read as 32 bits has their digits only.
fn shown(value: f64) -> String {
    let narrow = value as f32;
    if value.is_nan() {
        return "nan".into();
    }
    let plain = value == 0.0 || (1e-5..1e16).contains(&value.abs()) || value.is_infinite();
    match (f64::from(narrow) == value, plain) {
        (true, true) => narrow.to_string(),
        (true, false) => format!("{narrow:e}"),
        (false, true) => value.to_string(),
        (false, false) => format!("{value:e}"),
    }
}

/// The values that a number may have, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    /// Whole numbers.
    Whole(u64, u64),
    /// Numbers.
    Real(f64, f64),
    /// 0, or a number from one that is large enough to have an effect.
    ZeroOr(f64, f64),
}

impl Bound {
    /// Whether a number has such a value, which single precision can hold: losses and updates are
    /// computed in it.
    pub(super) fn holds(self, number: Number) -> bool {
        match (self, number) {
            (Self::Whole(least, most), Number::Whole(value)) => {
                (i128::from(least)..=i128::from(most)).contains(&value)
            }
            (Self::Whole(..), Number::Real(_)) => false,
            (Self::Real(least, most), _) => (least..=most).contains(&number.value()),
            (Self::ZeroOr(least, most), _) => {
                let value = number.value();
                value == 0.0 || (least..=most).contains(&value)
            }
        }
    }
}

impl Number {
    pub(super) fn value(self) -> f64 {
        match self {
            Self::Whole(value) => value as f64,
            Self::Real(value) => value,
        }
    }

    /// Whether it is 0 or a normal number of single precision.
    pub(super) fn is_single(self) -> bool {
        let value = self.value();
        value == 0.0 || (value as f32).is_normal()
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole(least, most) if most == super::table::MOST_WHOLE => {
                write!(f, "a whole number, at least {least}")
            }
            Self::Whole(least, most) => write!(f, "a whole number, {least} to {most}"),
            Self::Real(least, most) => write!(f, "{} to {}", shown(least), shown(most)),
            Self::ZeroOr(least, most) => write!(f, "0, or {} to {}", shown(least), shown(most)),
        }
    }
}

#[cfg(test)]
#[test]
fn ends_belong_to_a_bound_and_numbers_are_shown_as_given() {
    let real = Bound::Real(0.0, 1.0);
    for (value, held) in [(0.0, true), (1.0, true), (-0.1, false), (f64::NAN, false)] {
        assert_eq!(real.holds(Number::Real(value)), held, "{value}");
    }
    assert!(Bound::ZeroOr(0.5, 1.0).holds(Number::Whole(0)));
    assert!(!Bound::ZeroOr(0.5, 1.0).holds(Number::Real(0.4)));
    assert!(!Bound::Whole(1, 3).holds(Number::Real(2.0)));
    assert!(Bound::Whole(1, 3).holds(Number::Whole(3)));
    for (value, text) in [
        (1e40, "1e40"),
        (f64::from(0.1f32), "0.1"),
        (0.1, "0.1"),
        (-1.0, "-1"),
        (1e-8, "1e-8"),
        (f64::NAN, "nan"),
        (f64::NEG_INFINITY, "-inf"),
        (65536.0, "65536"),
    ] {
        assert_eq!(Number::Real(value).to_string(), text);
    }
}
