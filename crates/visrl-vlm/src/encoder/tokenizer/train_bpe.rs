//! Training small tokenizers, for models that are trained from nothing.

use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, TokenizerImpl};

use super::special_tokens::SPECIAL_TOKENS;
use crate::error::Error;

/// How Qwen2's tokenizers cut text into words before merging.
const WORDS: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// The number of byte values, each of which is a token.
const BYTES: usize = 256;

/// Trains a byte-level BPE tokenizer with Qwen2's rules on texts and gives its `tokenizer.json`.
///
/// The vocabulary holds the 256 bytes, merges, and then Qwen2-VL's
/// [special tokens](SPECIAL_TOKENS): `vocab_size` tokens together, or fewer when the texts have no
/// more pairs to merge. The result depends on the texts' words and their counts alone, not on the
/// order of the texts.
///
/// # Errors
/// [`Error::Input`] when `vocab_size` is below 270, the bytes and the special tokens.
///
/// ```
/// use visrl_vlm::tokenizer::{Tokenizer, train_bpe};
///
/// let json = train_bpe(["a cat on a mat", "a hat"], 280)?;
/// let tokenizer = Tokenizer::from_json(&json)?;
/// let ids = tokenizer.encode("a cat<|im_end|>")?;
/// assert_eq!(ids.last(), Some(&tokenizer.eos_id()));
/// assert_eq!(tokenizer.decode(&ids, true), "a cat");
/// # Ok::<(), visrl_vlm::Error>(())
/// ```
pub fn train_bpe<I>(texts: I, vocab_size: usize) -> Result<String, Error>
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let words = vocab_size
        .checked_sub(SPECIAL_TOKENS.len())
        .filter(|&words| words >= BYTES);
    let words = words.ok_or_else(|| {
        Error::Input(format!(
            "cannot train a tokenizer of {vocab_size} tokens: the bytes and the special tokens \
             alone are {}",
            BYTES + SPECIAL_TOKENS.len()
        ))
    })?;
    let texts: Vec<String> = texts
        .into_iter()
        .map(|text| text.as_ref().to_owned())
        .collect();
    train(texts, words).map_err(|error| Error::Input(format!("cannot train a tokenizer: {error}")))
}

fn train(texts: Vec<String>, words: usize) -> tokenizers::Result<String> {
    let pattern = SplitPattern::Regex(WORDS.to_owned());
    let pre_tokenizer = Sequence::new(vec![
        PreTokenizerWrapper::Split(Split::new(
            pattern,
            SplitDelimiterBehavior::Isolated,
            false,
        )?),
        PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, false)),
    ]);
    let mut tokenizer: TokenizerImpl<BPE, NFC, Sequence, ByteLevel, ByteLevel> =
        TokenizerImpl::new(BPE::default());
    tokenizer.with_normalizer(Some(NFC))?;
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    tokenizer.with_post_processor(Some(ByteLevel::default().trim_offsets(false)));
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(words)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer.train(&mut trainer, texts.into_iter())?;
    tokenizer.add_special_tokens(SPECIAL_TOKENS.map(|token| AddedToken::from(token, true)))?;
    serde_json::to_string_pretty(&tokenizer).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::tokenizer::byte_level::Tokenizer;

    const TEXTS: [&str; 4] = [
        "What type of object is in the photo?",
        "It's a Boeing 747.",
        "naïve 中国菜 😀",
        "\r\n\n  x",
    ];

    #[test]
    fn training_is_repeatable_and_ignores_the_order_of_texts() {
        let json = train_bpe(TEXTS, 320).unwrap();
        assert_eq!(train_bpe(TEXTS.iter().rev(), 320).unwrap(), json);
        assert_eq!(train_bpe(TEXTS, 320).unwrap(), json);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            value["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"],
            WORDS
        );
        assert_eq!(value["added_tokens"][0]["id"], 306);
        assert_eq!(value["added_tokens"][13]["content"], "<|video_pad|>");
        assert_eq!(value["model"]["merges"].as_array().map(Vec::len), Some(50));
    }

    #[test]
    fn any_text_comes_back() {
        let tokenizer = Tokenizer::from_json(&train_bpe(TEXTS, 300).unwrap()).unwrap();
        for text in TEXTS.into_iter().chain(["never seen: ß∂ƒ\u{0}\u{7f}"]) {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&ids, false), text);
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
        }
    }

    #[test]
    fn sizes_have_a_floor_and_texts_a_ceiling() {
        assert!(train_bpe(TEXTS, 269).is_err());
        let none = Tokenizer::from_json(&train_bpe([""; 0], 400).unwrap()).unwrap();
        assert_eq!((none.vocab_size(), none.image_pad_id()), (270, 268));
    }
}
