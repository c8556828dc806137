use serde::{Deserialize, Serialize};
use visrl_core::Example;

use crate::error::Error;
use crate::reward_rule::RewardRule;
use crate::text::words;

/// What a completion's length is counted in.
///
/// Rules see text, so no unit counts tokens; with token counts at hand, see
/// [`OverlongPenalty::penalty`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LengthUnit {
    /// Unicode scalar values.
    #[default]
    Chars,
    /// Words between blanks.
    Words,
    /// UTF-8 bytes.
    Bytes,
}

impl LengthUnit {
    /// The length of `text` in this unit.
    pub fn length(self, text: &str) -> usize {
        match self {
            Self::Chars => text.chars().count(),
            Self::Words => words(text).count(),
            Self::Bytes => text.len(),
        }
    }
}

/// Soft punishment of overlong completions, from 0 down to -1 (DAPO, arXiv 2503.14476, equation
/// 13).
///
/// With L = `max_length` and B = `buffer`, a completion of length n scores 0 up to L - B, falls
/// linearly to -1 at L and stays there:
///
/// ```text
/// 0                   n <= L - B
/// ((L - B) - n) / B   L - B < n <= L
/// -1                  n > L
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OverlongPenalty {
    /// The length from which on the penalty is full.
    pub max_length: usize,
    /// Over how much of that length the penalty grows; at most `max_length`. 0 makes a step.
    pub buffer: usize,
    /// What lengths are counted in.
    pub unit: LengthUnit,
}

impl Default for OverlongPenalty {
    /// 4096 characters, the last 1024 of them punished: about the paper's limit of 1024 tokens, at
    /// four characters each.
    fn default() -> Self {
        Self {
            max_length: 4096,
            buffer: 1024,
            unit: LengthUnit::Chars,
        }
    }
}

impl OverlongPenalty {
    /// The penalty, from -1 to 0, for a length counted by the caller, in tokens for instance.
    pub fn penalty(&self, length: usize) -> f32 {
        let free = self.max_length.saturating_sub(self.buffer);
        if length <= free {
            0.0
        } else if length > self.max_length {
            -1.0
        } else {
            -((length - free) as f32 / (self.max_length - free) as f32)
        }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        if self.buffer > self.max_length {
            return Err(Error::Setting {
                rule: "overlong_penalty",
                field: "buffer",
                value: self.buffer.to_string(),
                hint: "give at most `max_length`",
            });
        }
        Ok(())
    }
}

impl RewardRule for OverlongPenalty {
    fn name(&self) -> &str {
        "overlong_penalty"
    }

    fn score(&self, completion: &str, _: &Example) -> Option<f32> {
        Some(self.penalty(self.unit.length(completion)))
    }

    fn range(&self) -> (f32, f32) {
        (-1.0, 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_penalty_is_dapos() {
        let rule = OverlongPenalty {
            max_length: 20,
            buffer: 4,
            unit: LengthUnit::Chars,
        };
        let got = [0, 16, 17, 18, 20, 21, usize::MAX].map(|n| rule.penalty(n));
        assert_eq!(got, [0.0, 0.0, -0.25, -0.5, -1.0, -1.0, -1.0]);
        let step = OverlongPenalty { buffer: 0, ..rule };
        assert_eq!([20, 21].map(|n| step.penalty(n)), [0.0, -1.0]);
        assert!(OverlongPenalty { buffer: 21, ..rule }.validate().is_err());
    }

    #[test]
    fn units() {
        let text = " é \u{3000}ab\n";
        let got = [LengthUnit::Chars, LengthUnit::Words, LengthUnit::Bytes].map(|u| u.length(text));
        assert_eq!(got, [7, 2, 10]);
    }
}
