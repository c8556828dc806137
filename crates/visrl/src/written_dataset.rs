//! A data set as a model's tokenizer writes it.

use std::collections::HashMap;
use std::sync::Arc;

use visrl_core::{Example, warn_once};
use visrl_data::{ChoiceList, Dataset, Error, Record, Split, holds_more, plain_label};
use visrl_rollout::CompletionText;
use visrl_vlm::{Pretrained, Tokenizer, VisionLanguageModel};

/// What a model writes with: its tokenizer and the tokens that end its answers.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    tokenizer: Arc<Tokenizer>,
    eos_token_ids: Vec<u32>,
}

impl Vocabulary {
    /// That of a model.
    pub fn of<M: VisionLanguageModel>(base: &Pretrained<M>) -> Self {
        Self {
            tokenizer: Arc::clone(base.encoder.tokenizer()),
            eos_token_ids: base.model.info().eos_token_ids.clone(),
        }
    }
}

/// A data set whose labels and choices are what a model can write.
///
/// A tokenizer may change a text before it makes tokens of it (Qwen's composes accents, NFC), so
/// that a label as it stands in a file may be one that no completion is equal to. Here a label is
/// its plain name ([`plain_label`]) there and back through the tokenizer, in lists of choices, in
/// what is taught and in what answers are compared with. A [`Trainer`](crate::Trainer) and
/// [`evaluate`](crate::experiment::evaluate) read all data so; a loop of one's own can, too.
///
/// ```
/// use visrl::prelude::*;
/// use visrl::{Vocabulary, WrittenDataset};
///
/// let base = Pretrained::<QwenVl>::load("../../assets/base", &parse_device("flex")?)?;
/// let data = MemoryDataset::new("mine", ["cafe\u{301}", "dog "], "What is it?");
/// let words = Vocabulary::of(&base);
/// assert_eq!(WrittenDataset::new(&data, &words)?.classes(), ["caf\u{e9}", "dog"]);
/// # Ok::<(), visrl::Error>(())
/// ```
pub struct WrittenDataset<'a> {
    inner: &'a dyn Dataset,
    writer: Writer<'a>,
    classes: Vec<String>,
    /// By the names as they are in the data set.
    written: HashMap<String, String>,
}

impl std::fmt::Debug for WrittenDataset<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WrittenDataset")
            .field("inner", &self.inner.name())
            .field("classes", &self.classes)
            .finish_non_exhaustive()
    }
}

impl<'a> WrittenDataset<'a> {
    /// A data set, for a model.
    ///
    /// # Errors
    /// [`Error::Dataset`] with a class that has no name, or whose name holds a token that no answer
    /// can hold; [`Error::AlikeClasses`] for two classes that are one text to the tokenizer.
    pub fn new(inner: &'a dyn Dataset, vocabulary: &'a Vocabulary) -> Result<Self, Error> {
        let writer = Writer::new(vocabulary);
        let mut classes = Vec::with_capacity(inner.classes().len());
        let mut by_name = HashMap::new();
        let mut cut = false;
        let mut first: HashMap<String, &String> = HashMap::new();
        for (place, class) in inner.classes().iter().enumerate() {
            let written = writer.write(class).map_err(|fault| {
                Error::dataset(inner.name(), format!("class {place}, `{class}`: {fault}"))
            })?;
            let other = *first.entry(written.clone()).or_insert(class);
            if other != class {
                return Err(Error::AlikeClasses {
                    path: inner.name().into(),
                    first: other.as_str().into(),
                    second: class.as_str().into(),
                    why: "are one text to the tokenizer of the model",
                    advice: "give the two one name, or other names",
                });
            }
            if holds_more(class, &written) && !cut {
                cut = true;
                warn_once(format!(
                    "{}: class {place}, `{class}`, holds more than an answer: of this and other \
                     such labels the answer alone is taken, here `{written}`",
                    inner.name()
                ));
            }
            by_name.insert(class.clone(), written.clone());
            classes.push(written);
        }
        Ok(Self {
            inner,
            writer,
            classes,
            written: by_name,
        })
    }

    fn written(&self, mut example: Example) -> Result<Example, Error> {
        let own = |text: &String| -> Result<String, Error> {
            if let Some(written) = self.written.get(text) {
                return Ok(written.clone());
            }
            self.writer.write(text).map_err(|fault| {
                let place = format!("`{}`: the label or choice `{text}` {fault}", example.id);
                Error::dataset(self.inner.name(), place)
            })
        };
        let label = own(&example.label)?;
        let choices: Result<_, Error> = example.choices.iter().map(own).collect();
        example.choices = choices?;
        example.label = label;
        Ok(example)
    }
}

impl Dataset for WrittenDataset<'_> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn question(&self) -> &str {
        self.inner.question()
    }

    fn open_question(&self) -> &str {
        self.inner.open_question()
    }

    fn records(&self, split: Split) -> Result<&[Record], Error> {
        self.inner.records(split)
    }

    fn records_if_any(&self, split: Split) -> Result<Option<&[Record]>, Error> {
        self.inner.records_if_any(split)
    }

    fn example(&self, record: &Record, choices: Vec<String>) -> Result<Example, Error> {
        self.written(self.inner.example(record, choices)?)
    }

    fn draw_example(
        &self,
        record: &Record,
        choices: &ChoiceList,
        round: u64,
        index: u64,
    ) -> Result<Example, Error> {
        self.written(self.inner.draw_example(record, choices, round, index)?)
    }

    fn examples(
        &self,
        split: Split,
        choices: &ChoiceList,
        round: u64,
    ) -> Result<Vec<Example>, Error> {
        let examples = self.inner.examples(split, choices, round)?;
        examples
            .into_iter()
            .map(|example| self.written(example))
            .collect()
    }
}

/// Writes texts as a model does.
struct Writer<'a> {
    tokenizer: &'a Tokenizer,
    text: CompletionText<'a>,
    /// Whether the tokenizer leaves plain words of ASCII as they are.
    keeps_ascii: bool,
}

impl<'a> Writer<'a> {
    fn new(vocabulary: &'a Vocabulary) -> Self {
        const WORDS: &str = "A kite, 7";
        let mut writer = Self {
            tokenizer: &vocabulary.tokenizer,
            text: CompletionText::new(&vocabulary.tokenizer, &vocabulary.eos_token_ids),
            keeps_ascii: false,
        };
        writer.keeps_ascii = writer.write(WORDS).is_ok_and(|written| written == WORDS);
        writer
    }

    /// The plain name in a text, there and back through the tokenizer; or why it can be no answer.
    fn write(&self, text: &str) -> Result<String, String> {
        let plain = plain_label(text).map_err(|fault| fault.to_string())?;
        // Tokens that are no plain words have one of these signs.
        let is_plain = plain.is_ascii() && !plain.contains(['<', '[', '{']);
        if self.keeps_ascii && is_plain {
            return Ok(plain.into_owned());
        }
        let tokens = self
            .tokenizer
            .encode(&plain)
            .map_err(|error| error.to_string())?;
        if let Some(&token) = tokens.iter().find(|&&token| self.text.is_hidden(token)) {
            let token = self.tokenizer.decode(&[token], false);
            return Err(format!(
                "holds `{token}`, a token that no answer can hold; rename it"
            ));
        }
        match self.text.text(&tokens) {
            written if written.trim().is_empty() => {
                Err("has nothing that the model's tokenizer can write; rename it".into())
            }
            written => Ok(written),
        }
    }
}

#[cfg(test)]
mod tests {
    use visrl_core::ImageSource;
    use visrl_data::{ChoiceRule, MemoryDataset};

    use super::*;

    fn vocabulary(normalizer: &str) -> Vocabulary {
        let path = "../../assets/base/tokenizer.json";
        let text = std::fs::read_to_string(path).unwrap();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json["normalizer"] = serde_json::json!({ "type": normalizer });
        Vocabulary {
            tokenizer: Arc::new(Tokenizer::from_json(&json.to_string()).unwrap()),
            eos_token_ids: Vec::new(),
        }
    }

    fn dataset(classes: &[&str]) -> MemoryDataset {
        let record = |label| Record::new("1", ImageSource::path("1.png"), label);
        let records = (0..classes.len()).map(record).collect();
        let dataset = MemoryDataset::new("mine", classes.iter().copied(), "?");
        dataset.with_split(Split::Train, records).unwrap()
    }

    #[test]
    fn labels_and_choices_are_what_the_tokenizer_writes() {
        let classes = ["cafe\u{301}", "<answer>drum</answer>", "kite ", "m\u{b2}"];
        let data = dataset(&classes);
        let all = ChoiceList::new(ChoiceRule::All, 1);
        for (normalizer, wanted) in [
            ("NFC", ["caf\u{e9}", "drum", "kite", "m\u{b2}"]),
            ("NFD", ["cafe\u{301}", "drum", "kite", "m\u{b2}"]),
            ("NFKC", ["caf\u{e9}", "drum", "kite", "m2"]),
        ] {
            let vocabulary = vocabulary(normalizer);
            let written = WrittenDataset::new(&data, &vocabulary).unwrap();
            assert_eq!(written.classes(), wanted, "{normalizer}");
            let before = data.examples(Split::Train, &all, 0).unwrap();
            let after = written.examples(Split::Train, &all, 0).unwrap();
            for ((before, after), label) in before.iter().zip(&after).zip(wanted) {
                assert_eq!(after.label, label);
                // The list keeps its order.
                let place = |name: &String| classes.iter().position(|class| class == name).unwrap();
                let choices: Vec<_> = before.choices.iter().map(|c| wanted[place(c)]).collect();
                assert_eq!(after.choices, choices);
            }
            let record = &written.records(Split::Train).unwrap()[0];
            let drawn = written.draw_example(record, &all, 0, 0).unwrap();
            assert_eq!(drawn, after[0]);
            assert_eq!(written.example(record, vec![]).unwrap().label, wanted[0]);
        }
    }

    #[test]
    fn classes_that_no_answer_can_tell_apart_are_refused() {
        let (nfc, nfkc) = (vocabulary("NFC"), vocabulary("NFKC"));
        let fault = |classes: &[&str], vocabulary: &Vocabulary| {
            let data = dataset(classes);
            WrittenDataset::new(&data, vocabulary)
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(fault(&["m2", "m\u{b2}"], &nfc), None);
        // Two classes of one name, as ImageNet has them, are the data set's own.
        assert_eq!(fault(&["missile", "missile"], &nfc), None);
        for (classes, vocabulary, start) in [
            (
                ["m2", "m\u{b2}"],
                &nfkc,
                "mine: the classes `m2` and `m\u{b2}` are one text",
            ),
            (
                ["kite", "kite "],
                &nfc,
                "mine: the classes `kite` and `kite ` are one text",
            ),
            (
                ["kite", " "],
                &nfc,
                "data set `mine`: class 1, ` `: is empty",
            ),
            (
                ["a<|im_end|>", "b"],
                &nfc,
                "data set `mine`: class 0, `a<|im_end|>`: holds `<|im_",
            ),
        ] {
            let message = fault(&classes, vocabulary).unwrap();
            assert!(message.starts_with(start), "{message}");
        }
    }
}
