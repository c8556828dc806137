//! A closed list of answers as tokens.

use std::collections::BTreeSet;

use visrl_vlm::Tokenizer;

use crate::error::Error;

/// The completions that a request may get: the texts of a list, as the tokenizer writes them, each
/// followed by an end token.
///
/// Sampling draws only tokens that lead to one of them, with the probabilities that temperature and
/// filters give among those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenChoices {
    choices: Vec<Vec<u32>>,
}

impl TokenChoices {
    /// The tokens of these texts.
    ///
    /// # Errors
    /// [`Error::Params`] for an empty list or a text without tokens; what the tokenizer says.
    pub fn new<S: AsRef<str>>(tokenizer: &Tokenizer, texts: &[S]) -> Result<Self, Error> {
        let fault = |message: String| Error::Params {
            field: "choices",
            message,
        };
        if texts.is_empty() {
            return Err(fault("is empty".into()));
        }
        let encode = |text: &S| {
            let ids = tokenizer.encode(text.as_ref())?;
            match ids.is_empty() {
                true => Err(fault(format!(
                    "hold {:?}, which has no tokens",
                    text.as_ref()
                ))),
                false => Ok(ids),
            }
        };
        Ok(Self {
            choices: texts.iter().map(encode).collect::<Result<_, _>>()?,
        })
    }

    /// The tokens of each choice, in the order of the list.
    pub fn tokens(&self) -> &[Vec<u32>] {
        &self.choices
    }

    /// The tokens of the longest choice, an end token included.
    pub fn longest(&self) -> usize {
        self.choices.iter().map(Vec::len).max().unwrap_or(0) + 1
    }

    /// The tokens that may follow these, ascending; end tokens where a choice is complete.
    pub fn after(&self, tokens: &[u32], eos: &[u32]) -> Vec<u32> {
        let mut next = BTreeSet::new();
        for choice in &self.choices {
            match choice.strip_prefix(tokens) {
                Some([]) => next.extend(eos),
                Some([first, ..]) => {
                    next.insert(*first);
                }
                None => {}
            }
        }
        next.into_iter().collect()
    }
}
