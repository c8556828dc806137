use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use visrl_core::ImageSource;
use visrl_core::files::{FileError, fault_in_line, from_json, read_json};

use crate::error::Error;
use crate::files::limits::{MAX_LABEL, MAX_LINE, MAX_LIST, MAX_PATH, MAX_QUESTION, check_length};
use crate::files::lines::for_each_line;
use crate::files::paths::join_below;
use crate::memory::MemoryDataset;
use crate::plain_label::plain_label;
use crate::prompt::letters::{inline_options, letter, lettered_options, place_of, with_options};
use crate::record::Record;
use crate::sources::labels::LabelIndex;
use crate::split::Split;

/// What to do with a question about several images. An example has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeveralImages {
    /// An error that names the row.
    #[default]
    Refuse,
    /// Leave the row out.
    Skip,
    /// Ask about the first image.
    First,
}

/// The form of the answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SatAnswers {
    /// As they stand in the file. Where the question lists options by letters, the answer must be
    /// one of the letters or of the options.
    #[default]
    AsWritten,
    /// Letters in brackets, such as `(B)`, as CV-Bench wants them. Where the question has its
    /// options in a sentence (`Choose between the following options: 4, 3 or 2`), they are listed
    /// by letters instead. A question without options is an error.
    Letters,
}

/// SAT (Ray et al., "SAT: Dynamic Spatial Aptitude Training for Multimodal Language Models"), in
/// the JSON that the paper trains on: rows
/// `{"messages": [{"role": "user", "content": "<image> ..."}, {"role": "assistant", "content":
/// answer}], "images": ["SAT_images_train/0_0.png"]}`, in one array or one on each line.
///
/// Images are relative to the file's folder. The marks `<image>` are taken out of the questions;
/// the paper's program leaves them in as text, beside the image itself.
/// Where the options are known, they are the record's choices; the question spells them out, so
/// ask with [`PromptTemplate::multiple_choice`](crate::PromptTemplate::multiple_choice).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SatConfig {
    /// The form of the answers.
    pub answers: SatAnswers,
    /// What to do with a question about several images.
    pub several_images: SeveralImages,
    /// The split of all rows.
    pub split: Split,
}

impl Default for SatConfig {
    fn default() -> Self {
        Self {
            answers: SatAnswers::default(),
            several_images: SeveralImages::default(),
            split: Split::Train,
        }
    }
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: String,
}

#[derive(Deserialize)]
struct Row {
    messages: Vec<Message>,
    images: Vec<String>,
}

impl SatConfig {
    /// Reads the rows. The data set is named like the file; a record's id is its image and, from
    /// the second question about the same image on, the question's number.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::File`], also for an array that does not parse;
    /// [`Error::Row`] for a row without exactly one question, answer and image, or, where letters
    /// are wanted, without options; [`Error::UnknownLabel`] for an answer that is none of the
    /// options; [`Error::ImagePath`]; [`Error::TooLarge`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<MemoryDataset, Error> {
        let path = path.as_ref();
        let mut labels = LabelIndex::new(path, None)?;
        let mut asked: HashMap<String, usize> = HashMap::new();
        let mut records = Vec::new();
        read_rows(path, |name, row| {
            let name = || name.to_owned();
            let Some((image, question, answer)) = self.parts(path, &name, row)? else {
                return Ok(());
            };
            let folder = path.parent().unwrap_or(Path::new(""));
            let file = ImageSource::path(join_below(folder, &image, path, name, "images")?);
            let asked_of = self.ask(path, &name, question, answer)?;
            let label = labels.place(&asked_of.answer, name, "answer")?;
            let times = asked.entry(image.clone()).or_default();
            *times += 1;
            let id = match times {
                1 => image,
                times => format!("{image}#{times}"),
            };
            let mut record = Record::new(id, file, label).with_question(asked_of.question);
            if let Some(options) = asked_of.options {
                record = record.with_choices(options);
            }
            records.push(record);
            Ok(())
        })?;
        if records.is_empty() {
            return Err(Error::no_row(path));
        }
        let classes = labels.finish(&mut records);
        let name = path
            .file_stem()
            .map_or("sat".into(), |name| name.to_string_lossy());
        MemoryDataset::new(name, classes, "").with_split(self.split, records)
    }

    /// Image, question and answer of a row; `None` for one that is left out.
    fn parts(
        &self,
        path: &Path,
        name: &impl Fn() -> String,
        row: Row,
    ) -> Result<Option<(String, String, String)>, Error> {
        let fail = |field: &str, message: String| Error::Row {
            path: path.to_path_buf(),
            row: name(),
            field: field.into(),
            message,
        };
        let total = row.images.len();
        let mut images = row.images.into_iter();
        let image = images
            .next()
            .ok_or_else(|| fail("images", "is empty; one image is needed".into()))?;
        match (images.len(), self.several_images) {
            (0, _) | (_, SeveralImages::First) => {}
            (_, SeveralImages::Skip) => return Ok(None),
            (more, SeveralImages::Refuse) => {
                let message = format!(
                    "there are {}; set `several_images` to `skip` or `first`",
                    more + 1
                );
                return Err(fail("images", message));
            }
        }
        check_length(&image, MAX_PATH, path, name, "images")?;
        let of = |role: &str| {
            let mut turns = row.messages.iter().filter(|turn| turn.role == role);
            match (turns.next(), turns.next()) {
                (Some(turn), None) => Ok(turn.content.clone()),
                _ => {
                    let message = format!("not one turn of role `{role}`, as there should be");
                    Err(fail("messages", message))
                }
            }
        };
        let (question, answer) = (of("user")?, of("assistant")?);
        let marks = question.matches("<image>").count();
        if marks > total {
            let message =
                format!("the question marks the places of {marks} images, there are {total}");
            return Err(fail("messages", message));
        }
        let question = question.replace("<image>", "").trim().to_owned();
        check_length(&question, MAX_QUESTION, path, name, "messages")?;
        check_length(&answer, MAX_LABEL, path, name, "messages")?;
        let answer = plain_label(&answer).map_err(|fault| fail("answer", fault.to_string()))?;
        Ok(Some((image, question, answer.into_owned())))
    }

    /// Finds the options of a question and the right one among them.
    fn ask(
        &self,
        path: &Path,
        name: &impl Fn() -> String,
        question: String,
        answer: String,
    ) -> Result<Asked, Error> {
        let letters = self.answers == SatAnswers::Letters;
        let (question, options) = match (lettered_options(&question), inline_options(&question)) {
            (Some(options), _) => (question, options),
            (None, Some((bare, options))) if letters => (with_options(bare, &options), options),
            (None, _) if letters => {
                return Err(Error::Row {
                    path: path.to_path_buf(),
                    row: name(),
                    field: "messages".into(),
                    message: "the question has no options to give letters to; take the answers \
                              `as_written`"
                        .into(),
                });
            }
            (None, _) => {
                let options = None;
                return Ok(Asked {
                    question,
                    answer,
                    options,
                });
            }
        };
        let place = options.iter().position(|option| *option == answer);
        let place = place.or(place_of(&answer).filter(|place| *place < options.len()));
        let place = place.ok_or_else(|| Error::UnknownLabel {
            path: path.to_path_buf(),
            row: name(),
            field: "messages".into(),
            label: answer.as_str().into(),
            of: format!("options [ {}]", options.join(", ")).into(),
            advice: "an answer is one of them, or its letter",
        })?;
        let answer = if letters { letter(place) } else { answer };
        let options = Some(options);
        Ok(Asked {
            question,
            answer,
            options,
        })
    }
}

/// A question as it will be asked.
struct Asked {
    question: String,
    answer: String,
    options: Option<Vec<String>>,
}

/// Gives each row of an array or of JSON lines to a function, with its name in errors.
fn read_rows(
    path: &Path,
    mut use_row: impl FnMut(&str, Row) -> Result<(), Error>,
) -> Result<(), Error> {
    let hint = "SAT's questions, as JSON";
    if !starts_with_bracket(path, hint)? {
        return for_each_line(path, hint, MAX_LINE, |line, text| {
            let name = format!("line {line}");
            let row = from_json(text).map_err(|error| Error::Row {
                path: path.to_path_buf(),
                row: name.clone(),
                field: "row".into(),
                message: fault_in_line(&error),
            })?;
            use_row(&name, row)
        });
    }
    let rows: Vec<Row> = read_json(path, MAX_LIST).map_err(|error| match error {
        FileError::TooLarge { path, bytes, limit } => Error::TooLarge {
            path,
            row: "file".into(),
            field: "bytes".into(),
            size: bytes,
            unit: "bytes",
            limit,
            advice: "write one row on each line instead of one array",
        },
        error => Error::file(hint)(error),
    })?;
    let mut rows = rows.into_iter().enumerate();
    rows.try_for_each(|(place, row)| use_row(&format!("row {place}"), row))
}

fn starts_with_bracket(path: &Path, hint: &str) -> Result<bool, Error> {
    use std::io::Read;

    let file = std::fs::File::open(path).map_err(Error::io(path, hint))?;
    let mut start = Vec::new();
    file.take(4096)
        .read_to_end(&mut start)
        .map_err(Error::io(path, hint))?;
    Ok(start.trim_ascii_start().first() == Some(&b'['))
}
