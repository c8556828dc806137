use std::collections::HashMap;
use std::hash::Hash;

use serde::{Deserialize, Serialize};
use visrl_core::Example;

use crate::Error;
use crate::rule::RewardRule;
use crate::text::is_blank;

/// Punishment of repeated n-grams (Yeo et al., "Demystifying Long Chain-of-Thought Reasoning in
/// LLMs", arXiv 2502.03373).
///
/// With the words of the lower-cased completion, `max_penalty * (1 - distinct / all)` over its
/// n-grams: 0 when none occurs twice, near `max_penalty` when all are the same. A completion of
/// fewer than n words scores 0. Time grows with the number of words times log n.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepetitionPenalty {
    /// The n of the n-grams, in words; at least 1.
    pub ngram: usize,
    /// The score that full repetition would get; not above 0.
    pub max_penalty: f32,
}

impl Default for RepetitionPenalty {
    /// Trigrams, down to -1.
    fn default() -> Self {
        Self {
            ngram: 3,
            max_penalty: -1.0,
        }
    }
}

impl RepetitionPenalty {
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let error = |field, value, hint| {
            Err(Error::Setting {
                rule: "repetition_penalty",
                field,
                value,
                hint,
            })
        };
        if self.ngram == 0 {
            return error("ngram", self.ngram.to_string(), "give 1 or more");
        }
        if !(self.max_penalty.is_finite() && self.max_penalty <= 0.0) {
            return error(
                "max_penalty",
                self.max_penalty.to_string(),
                "give 0 or less",
            );
        }
        Ok(())
    }
}

impl RewardRule for RepetitionPenalty {
    fn name(&self) -> &str {
        "repetition_penalty"
    }

    fn score(&self, completion: &str, _: &Example) -> Option<f32> {
        let lower = completion.to_lowercase();
        let words = number(lower.split(is_blank).filter(|word| !word.is_empty())).0;
        let n = self.ngram.max(1);
        if words.len() < n {
            return Some(0.0);
        }
        let all = words.len() - n + 1;
        let distinct = count_ngrams(words, n);
        Some(self.max_penalty * (1.0 - distinct as f64 / all as f64) as f32)
    }

    fn range(&self) -> (f32, f32) {
        (self.max_penalty, 0.0)
    }
}

/// How many different n-grams there are; `words` holds at least n >= 1 of them.
///
/// An n-gram is named by a number, so that one of twice the length is a pair of numbers; the last
/// step lets two of them overlap.
fn count_ngrams(words: Vec<usize>, n: usize) -> usize {
    let mut ids = words;
    let mut length = 1;
    let mut distinct = ids.iter().max().map_or(0, |max| max + 1);
    while length < n {
        let step = length.min(n - length);
        let pairs = ids.iter().zip(ids.iter().skip(step)).map(|(a, b)| (*a, *b));
        (ids, distinct) = number(pairs);
        length += step;
    }
    distinct
}

/// Numbers items from 0 by first occurrence; also tells how many numbers it took.
fn number<T: Eq + Hash>(items: impl Iterator<Item = T>) -> (Vec<usize>, usize) {
    let mut numbers = HashMap::new();
    let ids = items
        .map(|item| {
            let next = numbers.len();
            *numbers.entry(item).or_insert(next)
        })
        .collect();
    (ids, numbers.len())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::rules::example;

    #[test]
    fn counts_as_by_definition() {
        let words: Vec<usize> = (0..200).map(|i| (i * i + i / 3) % 4).collect();
        for n in 1..=9 {
            let want: HashSet<&[usize]> = words.windows(n).collect();
            assert_eq!(count_ngrams(words.clone(), n), want.len(), "n = {n}");
        }
    }

    #[test]
    fn repetition_costs() {
        let score = |text, ngram, max_penalty| {
            RepetitionPenalty { ngram, max_penalty }.score(text, &example("x", &[]))
        };
        assert_eq!(score("a b c d", 2, -1.0), Some(0.0));
        assert_eq!(score("a b A B a b", 2, -1.0), Some(-0.6));
        assert_eq!(score("a a a a", 1, -2.0), Some(-1.5));
        assert_eq!(score("a a", 3, -1.0), Some(0.0));
        assert_eq!(score("", 1, -1.0), Some(0.0));
        assert_eq!(score("a", usize::MAX, -1.0), Some(0.0));
    }

    #[test]
    fn settings_are_checked() {
        assert!(
            RepetitionPenalty {
                ngram: 0,
                max_penalty: -1.0
            }
            .validate()
            .is_err()
        );
        assert!(
            RepetitionPenalty {
                ngram: 3,
                max_penalty: 0.5
            }
            .validate()
            .is_err()
        );
        assert!(
            RepetitionPenalty {
                ngram: 3,
                max_penalty: f32::NAN
            }
            .validate()
            .is_err()
        );
        assert!(RepetitionPenalty::default().validate().is_ok());
    }
}
