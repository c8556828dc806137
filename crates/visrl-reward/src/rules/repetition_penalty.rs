use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};
use visrl_core::Example;

use crate::error::Error;
use crate::reward_rule::RewardRule;
use crate::text::words;

/// Punishment of repeated n-grams (Yeo et al., "Demystifying Long Chain-of-Thought Reasoning in
/// LLMs", arXiv 2502.03373).
///
/// With the words of the lower-cased completion, `max_penalty * (1 - distinct / all)` over its
/// n-grams: 0 when none occurs twice, near `max_penalty` when all are the same. A completion of
/// fewer than n words scores 0. Time grows with the length of the text, and with log n at
/// most.
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
        let n = self.ngram.max(1);
        // Lower-casing does not make or join words; without enough of them it can be saved.
        if words(completion).take(n).count() < n {
            return Some(0.0);
        }
        let lower = completion.to_lowercase();
        let (words, distinct) = number_words(&lower);
        let all = words.len() - n + 1;
        let distinct = count_ngrams(words, distinct, n);
        Some(self.max_penalty * (1.0 - distinct as f64 / all as f64) as f32)
    }

    fn range(&self) -> (f32, f32) {
        (self.max_penalty, 0.0)
    }
}

/// Numbers the words of a text from 0 by first occurrence; also tells how many numbers it took.
fn number_words(text: &str) -> (Vec<u32>, usize) {
    let mut short = Numbers::default();
    let mut long = Numbers::default();
    let mut distinct = 0;
    // Most words of a text are the same few short ones, which are looked for here first. No key is
    // the greatest number.
    let mut common = [(u64::MAX, 0); 256];
    let ids = words(text)
        .map(|word| {
            let Some(key) = packed(word.as_bytes()) else {
                return long.number(word, &mut distinct);
            };
            let slot = &mut common[(key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize];
            if slot.0 != key {
                *slot = (key, short.number(key, &mut distinct));
            }
            slot.1
        })
        .collect();
    (ids, distinct)
}

/// A word of at most seven bytes and its length, as a number.
fn packed(word: &[u8]) -> Option<u64> {
    let length = word.len() as u64;
    let key = |word: &[u8]| {
        word.iter()
            .fold(length, |key, byte| key << 8 | u64::from(*byte))
    };
    (length < 8).then(|| key(word))
}

/// How many different n-grams there are of `words`, numbers below `distinct`; there are at least
/// n >= 1 of them.
///
/// As many ids as fit in 64 bits name a longer gram exactly, which then gets an id of its own; the
/// last step lets grams overlap.
fn count_ngrams(words: Vec<u32>, distinct: usize, n: usize) -> usize {
    let mut ids = words;
    let mut distinct = distinct;
    let mut length = 1;
    while length < n {
        let bits = (distinct.max(2) - 1).ilog2().min(31) + 1;
        let parts = n.div_ceil(length).min((64 / bits) as usize);
        let next = n.min(length * parts);
        let offsets: Vec<usize> = (0..parts)
            .map(|part| (part * length).min(next - length))
            .collect();
        let count = ids.len() - (next - length);
        let gram = |at: usize, ids: &[u32]| {
            let part = |key: u64, offset: &usize| key << bits | u64::from(ids[at + offset]);
            offsets.iter().fold(0, part)
        };
        if next == n {
            let grams = (0..count).map(|at| gram(at, &ids));
            return count_distinct(grams, bits as usize * parts);
        }
        let mut numbers = Numbers::default();
        distinct = 0;
        // A gram only needs ids from its place on, so the new ids take the places of the old.
        for at in 0..count {
            ids[at] = numbers.number(gram(at, &ids), &mut distinct);
        }
        ids.truncate(count);
        length = next;
    }
    distinct
}

/// How many different numbers there are, each of so many bits.
fn count_distinct(numbers: impl Iterator<Item = u64>, bits: usize) -> usize {
    if bits > 20 {
        return numbers.collect::<HashSet<u64, RandomState>>().len();
    }
    let mut seen = vec![false; 1 << bits];
    numbers.for_each(|number| seen[number as usize] = true);
    seen.into_iter().filter(|seen| *seen).count()
}

/// Things and their numbers.
struct Numbers<T>(HashMap<T, u32, RandomState>);

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<T: Eq + Hash> Numbers<T> {
    /// The number of `thing`: the next one, which `used` then counts, if it has none yet.
    fn number(&mut self, thing: T, used: &mut usize) -> u32 {
        if let Some(number) = self.0.get(&thing) {
            return *number;
        }
        // Only a text of more than eight gigabytes has so many words; the last number is shared
        // then.
        let number = u32::try_from(*used).unwrap_or(u32::MAX);
        *used += 1;
        self.0.insert(thing, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::rules::test_example::example;

    #[test]
    fn counts_as_by_definition() {
        for kinds in [1, 2, 4, 9, 300, 70_000] {
            let words: Vec<u32> = (0..400)
                .map(|i: u32| (i * i * 7 + i / 3) % 40 * 1_777 % kinds)
                .collect();
            for n in 1..=200 {
                let want: HashSet<&[u32]> = words.windows(n).collect();
                let distinct = if n == 1 { want.len() } else { kinds as usize };
                let got = count_ngrams(words.clone(), distinct, n);
                assert_eq!(got, want.len(), "n = {n}, {kinds} words");
            }
        }
    }

    #[test]
    fn words_are_told_apart() {
        let text = "a a\0 \0 abcdefg abcdefgh abcdefg\0 abcdefgh a é";
        assert_eq!(
            number_words(text),
            (vec![0, 1, 2, 3, 4, 5, 4, 0, 6], 7),
            "zero bytes count"
        );
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
