//! The settings of a request.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// How tokens are drawn from logits.
///
/// The filters come in Hugging Face's order: repetition penalty, banned ids, temperature, top-k,
/// top-p, min-p, typical-p. Each works on what the one before it left.
///
/// The defaults are the paper's (temperature 1, top-k 50, which was Hugging Face's silent default
/// at the time). They are never taken from a checkpoint's `generation_config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingParams {
    /// Positive logits of tokens seen in the prompt or the completion are divided by this,
    /// negative ones multiplied; 1 changes nothing, and it counts when greedy, too (Keskar et al.,
    /// "CTRL", arXiv 1909.05858).
    pub repetition_penalty: f64,
    /// Logits are divided by this before the softmax; 0 takes the most likely token, and the
    /// filters below have no effect.
    pub temperature: f64,
    /// Keep the k most likely tokens and all that tie with the last of them; 0 keeps all.
    pub top_k: usize,
    /// Keep the most likely tokens whose probabilities sum to at least this; 1 keeps all
    /// (Holtzman et al., "The curious case of neural text degeneration", arXiv 1904.09751).
    pub top_p: f64,
    /// Keep tokens with at least this share of the most likely token's probability; 0 keeps all.
    pub min_p: f64,
    /// Keep the tokens whose surprise is nearest to the entropy and whose probabilities sum to at
    /// least this; 1 keeps all (Meister et al., "Locally typical sampling", arXiv 2202.00666).
    pub typical_p: f64,
    /// The most tokens of a completion, end token included.
    pub max_new_tokens: usize,
    /// A completion ends when its text contains one of these, which stay in it; for example
    /// `</answer>`. None by default.
    pub stop_strings: Vec<String>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            repetition_penalty: 1.0,
            temperature: 1.0,
            top_k: 50,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            max_new_tokens: 1024,
            stop_strings: Vec::new(),
        }
    }
}

impl SamplingParams {
    /// The most likely token at each position.
    pub fn greedy(max_new_tokens: usize) -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            max_new_tokens,
            ..Self::default()
        }
    }

    /// Checks that every parameter is in its range.
    ///
    /// # Errors
    /// [`Error::Params`] names the first that is not.
    pub fn validate(&self) -> Result<(), Error> {
        let check = |field, good: bool, message: String| match good {
            true => Ok(()),
            false => Err(Error::Params { field, message }),
        };
        // Logits are f32: what is 0 or infinite there cannot divide them.
        let usable = |value: f64| value > 0.0 && (value as f32).is_normal();
        let (penalty, t) = (self.repetition_penalty, self.temperature);
        let message =
            format!("is {penalty}, expected a positive number in f32's range, 1 for none");
        check("repetition_penalty", usable(penalty), message)?;
        let message = format!("is {t}, expected 0 or a positive number in f32's range");
        check("temperature", t == 0.0 || usable(t), message)?;
        for (field, p) in [("top_p", self.top_p), ("typical_p", self.typical_p)] {
            let message = format!("is {p}, expected more than 0, at most 1");
            check(field, p > 0.0 && p <= 1.0, message)?;
        }
        let m = self.min_p;
        check(
            "min_p",
            (0.0..=1.0).contains(&m),
            format!("is {m}, expected 0 to 1"),
        )?;
        let message = "holds an empty text, which every completion contains".to_owned();
        let stops = self.stop_strings.iter().all(|stop| !stop.is_empty());
        check("stop_strings", stops, message)?;
        let positive = self.max_new_tokens > 0;
        check(
            "max_new_tokens",
            positive,
            "is 0, expected at least 1".to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_out_of_range_is_named() {
        let good = SamplingParams::default();
        assert!(good.validate().is_ok());
        assert!(SamplingParams::greedy(1).validate().is_ok());
        let faults = [
            (
                "repetition_penalty",
                SamplingParams {
                    repetition_penalty: 0.0,
                    ..good.clone()
                },
            ),
            (
                "repetition_penalty",
                SamplingParams {
                    repetition_penalty: f64::NAN,
                    ..good.clone()
                },
            ),
            (
                "temperature",
                SamplingParams {
                    temperature: -1.0,
                    ..good.clone()
                },
            ),
            (
                "temperature",
                SamplingParams {
                    temperature: 1e-60,
                    ..good.clone()
                },
            ),
            (
                "temperature",
                SamplingParams {
                    temperature: 1e60,
                    ..good.clone()
                },
            ),
            (
                "top_p",
                SamplingParams {
                    top_p: 0.0,
                    ..good.clone()
                },
            ),
            (
                "top_p",
                SamplingParams {
                    top_p: f64::NAN,
                    ..good.clone()
                },
            ),
            (
                "typical_p",
                SamplingParams {
                    typical_p: 1.5,
                    ..good.clone()
                },
            ),
            (
                "min_p",
                SamplingParams {
                    min_p: -0.1,
                    ..good.clone()
                },
            ),
            (
                "max_new_tokens",
                SamplingParams {
                    max_new_tokens: 0,
                    ..good
                },
            ),
        ];
        for (expected, params) in faults {
            match params.validate() {
                Err(Error::Params { field, .. }) => assert_eq!(field, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }
}
