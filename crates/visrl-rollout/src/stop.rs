//! When a completion ends.

use visrl_core::StopReason;
use visrl_vlm::Tokenizer;

use crate::sampler::SamplingParams;

/// What ends a completion beside its request's own limits.
#[derive(Clone, Copy, Debug)]
pub struct StopRules<'a> {
    /// The tokens that end a completion.
    pub eos_token_ids: &'a [u32],
    /// Turns tokens into text, for stop strings.
    pub tokenizer: &'a Tokenizer,
}

impl StopRules<'_> {
    /// Why a completion ends with the last of its tokens; nothing when it goes on.
    pub fn reason(&self, tokens: &[u32], sampling: &SamplingParams) -> Option<StopReason> {
        if tokens
            .last()
            .is_some_and(|last| self.eos_token_ids.contains(last))
        {
            Some(StopReason::Eos)
        } else if let Some(stop) = self.stop_string(tokens, &sampling.stop_strings) {
            Some(StopReason::StopString(stop.to_owned()))
        } else {
            let full = tokens.len() >= sampling.max_new_tokens;
            full.then_some(StopReason::MaxTokens)
        }
    }

    /// The stop string that the text has come to contain with its last token.
    fn stop_string<'s>(&self, tokens: &[u32], stops: &'s [String]) -> Option<&'s str> {
        let longest = stops.iter().map(String::len).max()?;
        // A token is at least one byte of text; a few more for characters cut in two.
        let tail = &tokens[tokens.len().saturating_sub(longest + 4)..];
        let text = self.tokenizer.decode(tail, false);
        let mut stops = stops.iter().map(String::as_str);
        stops.find(|stop| text.contains(stop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_counts() {
        let tokenizer = Tokenizer::from_dir("../../assets/base".as_ref()).unwrap();
        let rules = StopRules {
            eos_token_ids: &[tokenizer.eos_id()],
            tokenizer: &tokenizer,
        };
        let tokens = tokenizer.encode("a cat and a dog").unwrap();
        let with = |stops: &[&str], max_new_tokens| SamplingParams {
            stop_strings: stops.iter().map(|stop| (*stop).to_owned()).collect(),
            max_new_tokens,
            ..SamplingParams::default()
        };
        let (most, free) = (tokens.len(), with(&[], 100));
        assert_eq!(rules.reason(&tokens, &free), None);
        assert_eq!(rules.reason(&[], &free), None);
        let full = Some(StopReason::MaxTokens);
        assert_eq!(rules.reason(&tokens, &with(&[], most)), full);
        let stopped = Some(StopReason::StopString("dog".into()));
        assert_eq!(rules.reason(&tokens, &with(&["cow", "dog"], most)), stopped);
        // What stands further back was seen when it came.
        let mut later = tokens.clone();
        later.extend(tokenizer.encode(" on the road to nowhere").unwrap());
        assert_eq!(rules.reason(&later, &with(&["cat"], 100)), None);
        later.push(tokenizer.eos_id());
        assert_eq!(
            rules.reason(&later, &with(&["nowhere"], 1)),
            Some(StopReason::Eos)
        );
    }
}
