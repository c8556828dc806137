//! From the tokens of a completion to the text that is judged.

use visrl_vlm::Tokenizer;
use visrl_vlm::tokenizer::SPECIAL_TOKENS;

/// The paper's tags, which stay whatever they are in the vocabulary.
const TAGS: [&str; 6] = [
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "<reason>",
    "</reason>",
];

/// Names of tokens that steer a model and are no text.
const STEERING: [&str; 8] = [
    "<s>", "</s>", "<pad>", "<unk>", "<bos>", "<eos>", "<mask>", "[pad]",
];

/// Turns tokens into the text that reward rules and evaluations see: all that was written but for
/// the tokens that steer a chat.
///
/// Of the tokenizer's special tokens those are left out that end a completion, and those of the
/// chat, of images and of padding (Qwen's own, the likes of `<|name|>` and of `</s>`). Other special
/// tokens are text: some vocabularies hold the tags of answers as special tokens, and a tag that is
/// not seen is not paid for.
#[derive(Clone, Debug)]
pub struct CompletionText<'a> {
    tokenizer: &'a Tokenizer,
    /// Ascending.
    hidden: Vec<u32>,
}

impl<'a> CompletionText<'a> {
    /// The text of completions that these tokens end.
    pub fn new(tokenizer: &'a Tokenizer, eos_token_ids: &[u32]) -> Self {
        let named = [tokenizer.pad_id(), tokenizer.eos_id()];
        let is_named = |id| named.contains(&id) || eos_token_ids.contains(&id);
        let steers = |id| steers(&tokenizer.decode(&[id], false));
        let special = tokenizer.special_ids().iter().copied();
        let special = special.filter(|&id| is_named(id) || steers(id));
        // An end token need not be special; a word that ends completions is still a word.
        let ends = eos_token_ids.iter().chain(&named).copied();
        let ends = ends.filter(|&id| steers(id));
        let mut hidden: Vec<u32> = special.chain(ends).collect();
        let tags = TAGS.map(|tag| tokenizer.token_id(tag));
        hidden.retain(|&id| !tags.contains(&Some(id)));
        hidden.sort_unstable();
        hidden.dedup();
        Self { tokenizer, hidden }
    }

    /// The text of a completion's tokens.
    pub fn text(&self, tokens: &[u32]) -> String {
        let seen = tokens.iter().copied().filter(|&id| !self.is_hidden(id));
        self.tokenizer.decode(&seen.collect::<Vec<_>>(), false)
    }

    /// Whether a token is no part of the text.
    pub fn is_hidden(&self, token: u32) -> bool {
        self.hidden.binary_search(&token).is_ok()
    }
}

/// Whether a special token is one of those that steer.
fn steers(token: &str) -> bool {
    let name = token.to_lowercase();
    let framed = name.strip_prefix("<|").and_then(|n| n.strip_suffix("|>"));
    framed.is_some() || STEERING.contains(&&*name) || SPECIAL_TOKENS.contains(&token)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tokenizer with tags in its vocabulary, of which these are special.
    fn tokenizer(special: &[&str]) -> Tokenizer {
        let path = "../../assets/base/tokenizer.json";
        let text = std::fs::read_to_string(path).unwrap();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let tokens = json["added_tokens"].as_array_mut().unwrap();
        let more = ["</s>", "<shape>"];
        for (token, id) in TAGS.into_iter().chain(more).zip(5000..) {
            tokens.push(serde_json::json!({
                "id": id, "content": token, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false,
                "special": special.contains(&token) || more.contains(&token),
            }));
        }
        Tokenizer::from_json(&json.to_string()).unwrap()
    }

    const WRITTEN: &str = "<think>a <shape></think> <answer>Bag</answer><reason>b</reason>";

    #[test]
    fn tags_are_seen_whether_they_are_special_or_not() {
        let mut cases: Vec<Vec<&str>> = TAGS.map(|tag| vec![tag]).to_vec();
        cases.extend([vec![], TAGS.to_vec()]);
        for special in cases {
            let tokenizer = tokenizer(&special);
            let text = CompletionText::new(&tokenizer, &[tokenizer.eos_id()]);
            let ids = tokenizer.encode(&format!("{WRITTEN}<|im_end|>")).unwrap();
            assert_eq!(text.text(&ids), WRITTEN, "{special:?}");
        }
    }

    #[test]
    fn what_steers_a_chat_is_not_seen() {
        let tokenizer = tokenizer(&TAGS);
        let text = CompletionText::new(&tokenizer, &[tokenizer.eos_id()]);
        for token in SPECIAL_TOKENS.into_iter().chain(["</s>"]) {
            let ids = tokenizer.encode(&format!("a{token}b")).unwrap();
            assert_eq!(text.text(&ids), "ab", "{token}");
        }
        // What ends completions is left out if it is special, but a tag is still a tag, and a word
        // a word.
        let ids = tokenizer.encode("<answer>b<shape></answer>").unwrap();
        let text = CompletionText::new(&tokenizer, &ids);
        assert_eq!(text.text(&ids), "<answer>b</answer>");
    }
}
