use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::text::strip;

use super::matcher::Matcher;

/// Both are numbers, and equal within a tolerance.
///
/// The whole text must be one number: `-3`, `3.50`, `.5`, `1e3`, `1,000`, `50%` (a half), a
/// fraction `1/2` or `\frac{1}{2}` (also `\dfrac`, `\tfrac`), each alone or within `$…$`, `\(…\)`
/// or `\boxed{…}`. There is no symbolic mathematics: `x=2`, `\sqrt{4}`, `1+1` and `two` are no
/// numbers here, and a number inside a sentence is not looked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Numeric {
    /// The largest |answer - label| that counts as equal.
    pub absolute: f64,
    /// The largest |answer - label| / |label| that counts as equal.
    pub relative: f64,
}

impl Default for Numeric {
    /// Equal to six decimals, as the `math_verify` that the paper's code uses rounds.
    fn default() -> Self {
        Self {
            absolute: 5e-7,
            relative: 0.0,
        }
    }
}

impl Numeric {
    pub(crate) fn validate(&self) -> Result<(), Error> {
        for (field, value) in [("absolute", self.absolute), ("relative", self.relative)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::Setting {
                    rule: "numeric",
                    field,
                    value: value.to_string(),
                    hint: "give a finite tolerance of 0 or more",
                });
            }
        }
        Ok(())
    }
}

impl Matcher for Numeric {
    fn name(&self) -> &str {
        "numeric"
    }

    fn matches(&self, answer: &str, label: &str) -> bool {
        let (Some(answer), Some(label)) = (number(answer), number(label)) else {
            return false;
        };
        (answer - label).abs() <= self.absolute.max(self.relative * label.abs())
    }
}

/// The finite number that the whole text is, if it is one.
fn number(text: &str) -> Option<f64> {
    let text = unwrap_latex(text);
    let (text, scale) = match text.strip_suffix('%') {
        Some(rest) => (strip(rest.strip_suffix('\\').unwrap_or(rest)), 0.01),
        None => (text, 1.0),
    };
    let (sign, text) = signed(text);
    let value = match frac(text).or_else(|| text.split_once('/')) {
        Some((over, under)) => {
            let ((over_sign, over), (under_sign, under)) =
                (signed(strip(over)), signed(strip(under)));
            over_sign * under_sign * decimal(over)? / decimal(under)?
        }
        None => decimal(text)?,
    };
    Some(sign * value * scale).filter(|value| value.is_finite())
}

fn unwrap_latex(text: &str) -> &str {
    const PAIRS: [(&str, &str); 5] = [
        ("$$", "$$"),
        ("$", "$"),
        ("\\(", "\\)"),
        ("\\[", "\\]"),
        ("\\boxed{", "}"),
    ];
    let mut text = strip(text);
    while let Some(inner) = PAIRS
        .iter()
        .find_map(|(open, close)| text.strip_prefix(open)?.strip_suffix(close))
    {
        text = strip(inner);
    }
    text
}

fn signed(text: &str) -> (f64, &str) {
    match text.strip_prefix(['-', '\u{2212}']) {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// The two parts of `\frac{a}{b}`.
fn frac(text: &str) -> Option<(&str, &str)> {
    let rest = ["\\frac", "\\dfrac", "\\tfrac"]
        .iter()
        .find_map(|name| text.strip_prefix(name))?;
    let inner = strip(rest).strip_prefix('{')?.strip_suffix('}')?;
    let (over, under) = inner.split_once('}')?;
    Some((over, strip(under).strip_prefix('{')?))
}

/// Digits with at most one point, thousands in groups of three and an exponent.
fn decimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    if let Some(exponent) = exponent {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if !is_digits(digits) {
            return None;
        }
    }
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    if fraction.is_some_and(|digits| !digits.is_empty() && !is_digits(digits)) {
        return None;
    }
    if !whole.is_empty() {
        let mut groups = whole.split(',');
        let first = groups.next().filter(|digits| is_digits(digits))?;
        let grouped = whole.contains(',');
        if grouped && (first.len() > 3 || !groups.all(|g| g.len() == 3 && is_digits(g))) {
            return None;
        }
    }
    if whole.is_empty() && fraction.is_none_or(str::is_empty) {
        return None;
    }
    text.replace(',', "").parse().ok()
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_whole() {
        let cases = [
            ("3", 3.0),
            (" -3.50 ", -3.5),
            ("\u{2212}3", -3.0),
            ("+.5", 0.5),
            ("5.", 5.0),
            ("1,234,567.5", 1_234_567.5),
            ("1e3", 1000.0),
            ("2.5E-1", 0.25),
            ("50%", 0.5),
            ("50 \\%", 0.5),
            ("1/2", 0.5),
            ("-1 / -4", 0.25),
            ("$\\frac{1}{2}$", 0.5),
            ("-\\dfrac{3}{ -4 }", 0.75),
            ("\\boxed{$3$}", 3.0),
            ("\\(7\\)", 7.0),
        ];
        for (text, want) in cases {
            assert_eq!(number(text), Some(want), "{text}");
        }
        for text in [
            "",
            ".",
            "-",
            "x=2",
            "two",
            "1 2",
            "3 dogs",
            "1,00",
            "1,,000",
            "1/0",
            "0/0",
            "inf",
            "nan",
            "NaN",
            "1e",
            "e3",
            "1e999",
            "1.2.3",
            "--3",
            "\\sqrt{4}",
            "\\frac{1}",
            "1/2/3",
            "٣",
            "$",
            "$$",
            "%",
            "1_000",
        ] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn tolerance_is_a_setting() {
        assert!(Numeric::default().matches("0.3333333", "1/3"));
        assert!(!Numeric::default().matches("0.333", "1/3"));
        assert!(
            Numeric {
                absolute: 0.0,
                relative: 0.01
            }
            .matches("101", "100")
        );
        assert!(
            Numeric {
                absolute: -1.0,
                relative: 0.0
            }
            .validate()
            .is_err()
        );
        assert!(
            Numeric {
                absolute: 0.0,
                relative: f64::NAN
            }
            .validate()
            .is_err()
        );
    }
}
