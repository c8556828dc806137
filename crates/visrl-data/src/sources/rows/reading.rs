use std::path::{Path, PathBuf};
use std::sync::Arc;

use visrl_core::{Columns, Content, ImageSource, Layout, Place};

use crate::error::Error;
use crate::files::limits::{MAX_LABEL, MAX_QUESTION, check_length};
use crate::record::Record;
use crate::sources::labels::LabelIndex;
use crate::sources::questions::Questions;
use crate::sources::rows::answers::{answer, is_same};
use crate::sources::rows::at::At;
use crate::sources::rows::columns::{ColumnNames, Fields, Found, find};
use crate::sources::rows::dataset_info::Entry;
use crate::sources::rows::list::{check_same, checked, choices, holds_list, take_list};
use crate::sources::rows::marks::{Piece, check_bare, pieces};
use crate::sources::rows::pictures::Pictures;
use crate::sources::rows::placing::{Part, contents, merged, place_images, without_marks};
use crate::sources::rows::told::{Fact, Told};
use crate::sources::rows::tool::Tool;
use crate::sources::rows::turns::{TurnNames, bare, question_pieces, turns, with_turns};
use crate::sources::rows::value::Value;
use crate::split::Split;

/// What stands where in the rows of a file.
#[derive(Clone, Copy)]
pub(crate) enum Mapping<'a> {
    /// By the table of columns, and by names that are given.
    Table(&'a ColumnNames),
    /// As an entry of `dataset_info.json` says.
    Entry(&'a Entry),
}

/// How [`ParquetConfig`](crate::ParquetConfig) reads rows: all files are parquet, whatever their
/// names end in.
#[derive(Clone, Copy)]
pub(crate) struct OnlyParquet<'a> {
    /// The column of the questions, where one question is asked in its place.
    pub(crate) not_asked: Option<&'a str>,
}

/// A data set while its files are read.
pub(crate) struct Reading<'a> {
    pub(crate) mapping: Mapping<'a>,
    pub(crate) only: Option<OnlyParquet<'a>>,
    pub(crate) tool: Option<Tool>,
    /// The split of rows that name none.
    pub(crate) split: Split,
    /// The names of class numbers in `label`.
    pub(crate) numbered: Option<Vec<String>>,
    pub(crate) labels: LabelIndex,
    pub(crate) pictures: Pictures,
    pub(crate) questions: Questions,
    pub(crate) told: Told,
    pub(crate) splits: [Option<Vec<Record>>; 3],
    /// Files without a row, and the split that they were to be.
    pub(crate) empty: Vec<(PathBuf, Split)>,
    /// The column of the answers, for what is told of them.
    pub(crate) answers: String,
    columns: Option<Arc<Columns>>,
    rows: u64,
    /// Which of the named columns were met.
    met: Vec<String>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(
        mapping: Mapping<'a>,
        tool: Option<Tool>,
        labels: LabelIndex,
        pictures: Pictures,
    ) -> Self {
        Self {
            mapping,
            only: None,
            tool,
            split: Split::Train,
            numbered: None,
            labels,
            pictures,
            questions: Questions::default(),
            told: Told::default(),
            splits: [None, None, None],
            empty: Vec::new(),
            answers: "label".into(),
            columns: None,
            rows: 0,
            met: Vec::new(),
        }
    }

    /// Rows read so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends a file: tells what was not used, and refuses a name that no row had.
    pub(crate) fn end_of_file(&mut self, path: &Path) -> Result<(), Error> {
        std::mem::take(&mut self.told).tell(path);
        self.columns = None;
        let met = std::mem::take(&mut self.met);
        let Mapping::Table(names) = self.mapping else {
            return Ok(());
        };
        match names
            .given()
            .find(|name| !met.iter().any(|met| met == name))
        {
            Some(name) if self.rows > 0 => Err(Error::Row {
                path: path.to_path_buf(),
                row: "file".into(),
                field: name.into(),
                message: "was named, and no row has it".into(),
            }),
            _ => Ok(()),
        }
    }

    /// Reads a row into a record.
    pub(crate) fn row(&mut self, at: At<'_>, row: &Value) -> Result<(), Error> {
        let Value::Object(columns) = row else {
            let message = format!("is {}, expected is an object", row.kind());
            return Err(at.error("row", message));
        };
        self.rows += 1;
        let columns = &with_turns(columns)[..];
        let fields = Fields(columns);
        let found = match self.mapping {
            Mapping::Table(names) => {
                let met = names.given().filter(|name| fields.named(name).is_some());
                for name in met {
                    if !self.met.iter().any(|known| known == name) {
                        self.met.push(name.to_owned());
                    }
                }
                let not_asked = self.only.and_then(|only| only.not_asked);
                find(&fields, names, not_asked, self.tool, at)?
            }
            Mapping::Entry(entry) => entry.find(&fields, at)?,
        };
        found.check(at)?;
        let asked = self.asked(&found, at)?;
        let label = self.label(&found, &asked, at)?;
        for (column, value) in columns {
            if value.is_filled() && !found.known.contains(&&column[..]) {
                self.told.column(column);
            }
        }
        let split = split(&found, at)?.unwrap_or(self.split);
        let record = self.record(&found, asked, label, split, at)?;
        self.splits[split as usize]
            .get_or_insert_default()
            .push(record);
        Ok(())
    }

    /// Question, system turn and the answer among the turns.
    fn asked<'r>(&mut self, found: &Found<'r>, at: At<'_>) -> Result<Asked<'r>, Error> {
        let mut asked = Asked::default();
        let system = match found.system {
            None => None,
            Some((column, value)) => {
                let text = bare(value, at, column)?;
                check_bare(&text, at, column)?;
                Some((column, text))
            }
        };
        match found.question[..] {
            [] => {}
            [(column, value)] if found.has_turns() => {
                let names = self.turn_names(found, column, value);
                let said = turns(value, &names, at, column, &mut self.told)?;
                if let ("prompt", Some(_)) = (column, said.answer) {
                    let message = "ends in a turn of the assistant; a prompt ends in the question";
                    return Err(at.error(column, message));
                }
                asked.pieces = question_pieces(said.question, at, column, &mut self.told)?;
                asked.column = column;
                asked.answer = said.answer;
                asked.system = said.system;
                if let (true, Some((name, text))) = (asked.system.is_some(), &system)
                    && !text.trim().is_empty()
                {
                    let fact = format!("is not used where `{column}` has a system turn");
                    self.told.fact(at, name, Fact::NotUsed, &fact);
                }
            }
            [(column, _), ..] => {
                let mut text = String::new();
                for (column, value) in &found.question {
                    let half = value.text().ok_or_else(|| {
                        let message = format!("is {}, expected is a text", value.kind());
                        at.error(column, message)
                    })?;
                    if !half.trim().is_empty() {
                        if !text.is_empty() {
                            text.push('\n');
                        }
                        text.push_str(&half);
                    }
                }
                if text.trim().is_empty() {
                    let message = "is empty; ask something, or leave the column out to ask the \
                                   data set's question";
                    return Err(at.error(column, message));
                }
                asked.pieces = pieces(&text, at, column, column != "prompt")?;
                asked.column = column;
            }
        }
        asked.system = asked.system.or(system.map(|(_, text)| text));
        let is_entry = matches!(self.mapping, Mapping::Entry(_));
        if is_entry || self.tool == Some(Tool::LlamaFactory) {
            asked.system = asked.system.filter(|text| !text.is_empty());
        }
        Ok(asked)
    }

    fn turn_names(&self, found: &Found<'_>, column: &str, value: &Value) -> TurnNames {
        if let Mapping::Entry(entry) = self.mapping {
            return entry.turns.clone();
        }
        let in_order = self.is_vlm_r1(found)
            && match (self.tool, value) {
                (Some(_), _) => column == "conversations",
                (None, Value::List(turns)) => {
                    let known = ["system", "user", "human", "assistant", "gpt", "bot"];
                    let mut roles = turns.iter().filter_map(|turn| turn.get("from")?.text());
                    turns.len() == 2 && roles.all(|role| !known.contains(&&role[..]))
                }
                (None, _) => false,
            };
        match in_order {
            true => TurnNames::InOrder,
            false => TurnNames::Usual,
        }
    }

    /// Whether all images stand in front, whatever the marks.
    fn is_vlm_r1(&self, found: &Found<'_>) -> bool {
        let column = found.question.first().map(|(column, _)| *column);
        match self.tool {
            Some(tool) => tool == Tool::VlmR1,
            None => {
                matches!(self.mapping, Mapping::Table(_))
                    && column == Some("conversations")
                    && found.images_name == "image"
            }
        }
    }

    /// The tool that the row's columns speak of, where none is given.
    fn marks_all(&self, found: &Found<'_>) -> bool {
        let has = |column: &str| found.known.contains(&column);
        match (self.tool, self.mapping) {
            (Some(tool), _) => tool.marks_all(),
            (None, Mapping::Entry(_)) => true,
            (None, Mapping::Table(_)) => {
                let is_easy = found
                    .question
                    .iter()
                    .any(|(column, _)| *column == "problem")
                    && found.answer.is_some_and(|(column, _)| column == "answer");
                is_easy || has("reward_model")
            }
        }
    }

    /// The number of the row's class.
    fn label(&mut self, found: &Found<'_>, asked: &Asked<'_>, at: At<'_>) -> Result<usize, Error> {
        let turn = asked.answer.map(|content| (asked.column, content));
        let completion = match found.answer {
            Some((column, value @ Value::List(_))) if column == "completion" => {
                Some((column, completion(value, at, column)?))
            }
            other => other,
        };
        let (column, value) = found.truth.or(turn).or(completion).ok_or_else(|| {
            let message = match found.no_answer {
                "reward_model" => "has no `ground_truth`, which is the answer",
                "row" => "has no column that holds the answer",
                _ => "holds no answer; each row needs one",
            };
            at.error(found.no_answer, message)
        })?;
        if let (Some((solution, value)), Some(content)) = (found.truth, asked.answer) {
            let joined = bare(content, at, asked.column).map(Value::Text)?;
            if !is_same(value, &joined, at) {
                let fact = format!("its answers are not used: `{solution}` holds the answer");
                self.told.fact(at, asked.column, Fact::NotUsed, &fact);
            }
        }
        if let (Some(_), None, Some((column, _))) = (turn, found.truth, found.answer) {
            self.told.column(column);
        }
        if self.answers != column {
            column.clone_into(&mut self.answers);
        }
        if let (Some(names), Value::Number(number)) = (&self.numbered, value) {
            let known = number.parse().ok().filter(|label| *label < names.len());
            return known.ok_or_else(|| {
                let classes = names.len();
                let message = format!(
                    "`{number}` is no class number: they are 0 to {}",
                    classes - 1
                );
                at.error(column, message)
            });
        }
        let joined;
        let value = match value {
            Value::List(parts) if parts.iter().any(|part| part.get("text").is_some()) => {
                joined = Value::Text(bare(value, at, column)?);
                &joined
            }
            value => value,
        };
        let answer = answer(value, at, column)?;
        check_length(&answer.label, MAX_LABEL, at.path, || at.name(), column)?;
        if answer.more {
            let fact = format!(
                "holds more than an answer: of this and other such labels the answer alone is \
                 taken, here `{}`",
                answer.label
            );
            self.told.fact(at, column, Fact::MoreThanAnswer, &fact);
        }
        self.labels.place(&answer.label, || at.name(), column)
    }

    fn record(
        &mut self,
        found: &Found<'_>,
        mut asked: Asked<'_>,
        label: usize,
        split: Split,
        at: At<'_>,
    ) -> Result<Record, Error> {
        let images = match found.images {
            Some((column, value)) => self.pictures.of_column(value, at, column)?,
            None => Vec::new(),
        };
        let column = match asked.column {
            "" => found.images_name,
            column => column,
        };
        let asked_list = take_list(&mut asked.pieces, self.labels.name(label));
        let list = match found.choices {
            Some((field, value)) => {
                let names = choices(value, at, field)?;
                if let Some(asked_list) = &asked_list {
                    check_same(asked_list, &names, at, (column, field))?;
                }
                Some((field, names))
            }
            None => asked_list.map(|names| (column, names)),
        };
        if list.is_some() && holds_list(&asked.pieces) {
            let message = "asks to choose from a second list of choices; leave one";
            return Err(at.error(column, message));
        }
        let list = list.map(|(column, names)| {
            let name = self.labels.name(label);
            checked(names, name, at, column, &mut self.told)
        });
        let list = list.transpose()?;
        let images_name = found.images_name;
        let marks_all = self.marks_all(found);
        let pictures = &mut self.pictures;
        let picture = |value: &Value| {
            let picture = pictures.picture(value, at, column)?;
            picture.ok_or_else(|| at.error(column, "has a part with an image that is null"))
        };
        let placed = place_images(asked.pieces, images, at, (column, images_name), picture)?;
        if placed.fewer_marks && marks_all {
            let fact = "marks fewer images than there are; the others stand in front";
            self.told.fact(at, column, Fact::FewerMarks, fact);
        }
        if let Some(mark) = placed.again {
            let fact = format!(
                "has {mark} again: the image stands at the first such mark, and of this and other \
                 rows the later ones stay as text"
            );
            self.told.fact(at, column, Fact::NamedAgain, &fact);
        }
        let mut parts = placed.parts;
        if self.is_vlm_r1(found) {
            // Sorting is stable: the images keep their order, and so do the texts.
            parts.sort_by_key(|part| matches!(part, Part::Text(_)));
            parts = merged(parts);
        }
        let text = without_marks(&parts);
        check_length(&text, MAX_QUESTION, at.path, || at.name(), column)?;
        let id = match parts.iter().find_map(Part::path) {
            Some(path) => path.to_owned(),
            None => {
                let number = self.splits[split as usize].as_ref().map_or(0, Vec::len);
                format!("{split}[{number}]")
            }
        };
        let contents = contents(parts);
        let image = contents.iter().find_map(|part| match part {
            Content::Image(image) => Some(image.clone()),
            Content::Text(_) => None,
        });
        let image = image.unwrap_or_else(|| ImageSource::path(""));
        let mut record = Record::new(id, image, label);
        record.question = match text.trim() {
            "" => None,
            text => Some(self.questions.share(text)),
        };
        if let Some(list) = list {
            record = record.with_choices(list);
        }
        let is_plain = matches!(
            contents[..],
            [Content::Image(_)] | [Content::Image(_), Content::Text(_)]
        );
        if !is_plain || asked.system.is_some() {
            record.row.layout = Some(Arc::new(Layout {
                parts: if is_plain { Vec::new() } else { contents },
                system: asked.system,
            }));
        }
        let (images, question) = (images_name.to_owned(), column.to_owned());
        record.row.place = Some(self.place(at, images, question));
        Ok(record)
    }

    fn place(&mut self, at: At<'_>, images: String, question: String) -> Place {
        let columns = Columns {
            file: at.path.to_path_buf(),
            unit: at.unit,
            images,
            question,
        };
        let shared = match &self.columns {
            Some(known) if **known == columns => Arc::clone(known),
            _ => Arc::clone(self.columns.insert(Arc::new(columns))),
        };
        Place {
            columns: shared,
            number: at.number,
        }
    }
}

/// What a row asks.
#[derive(Default)]
struct Asked<'r> {
    pieces: Vec<Piece>,
    /// The column of the question; empty where the data set's is asked.
    column: &'r str,
    answer: Option<&'r Value>,
    system: Option<String>,
}

fn split(found: &Found<'_>, at: At<'_>) -> Result<Option<Split>, Error> {
    let Some((column, value)) = found.split else {
        return Ok(None);
    };
    let name = value.text();
    let split = name.as_deref().and_then(Split::named);
    split.map(Some).ok_or_else(|| {
        let name = name.unwrap_or_else(|| value.kind().into());
        let message = format!("`{name}` is no split; a split is {}", Split::NAMES);
        at.error(column, message)
    })
}

/// The answer that a `completion` holds as a turn.
fn completion<'r>(value: &'r Value, at: At<'_>, column: &str) -> Result<&'r Value, Error> {
    let Value::List(turns) = value else {
        return Ok(value);
    };
    let [turn] = &turns[..] else {
        let message = format!("has {} turns; one answer is read", turns.len());
        return Err(at.error(column, message));
    };
    let said = ["role", "from"]
        .iter()
        .find_map(|key| turn.get(key)?.text());
    match said.as_deref() {
        None | Some("assistant" | "gpt" | "bot") => {}
        Some(role) => {
            let message = format!("has a turn of the role `{role}`, expected is the assistant's");
            return Err(at.error(column, message));
        }
    }
    let content = ["content", "value"].iter().find_map(|key| turn.get(key));
    content.ok_or_else(|| at.error(column, "has a turn without `content`"))
}
