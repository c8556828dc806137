use std::path::Path;

use parquet::data_type::ByteArray;
use serde::Deserialize;
use serde_json::Value;
use visrl_core::ImageSource;

use crate::cv_bench::{CvBenchFacts, CvBenchTask};
use crate::letters::{MAX_OPTIONS, place_of, with_options};
use crate::lines::{MAX_LABEL, MAX_PATH, MAX_QUESTION, check_length, for_each_line};
use crate::parquet_dataset::{ImageColumns, text};
use crate::parquet_table::ParquetTable;
use crate::paths::join_below;
use crate::{Error, ParquetLimits};

/// A question that was found to be in order.
pub(crate) struct CvBenchRow {
    pub(crate) id: String,
    pub(crate) image: ImageSource,
    pub(crate) question: String,
    pub(crate) choices: Vec<String>,
    pub(crate) label: usize,
    pub(crate) facts: CvBenchFacts,
}

/// The fields of a row, in either kind of file.
#[derive(Deserialize)]
struct Fields {
    task: String,
    question: String,
    choices: Vec<String>,
    answer: String,
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    filename: Option<String>,
    #[serde(default)]
    image: Option<Value>,
}

impl Fields {
    /// Checks the fields and puts them in order.
    fn row(
        self,
        path: &Path,
        row: &str,
        id: String,
        image: ImageSource,
    ) -> Result<CvBenchRow, Error> {
        let fail = |field, message| Error::Row {
            path: path.to_path_buf(),
            row: row.to_owned(),
            field,
            message,
        };
        let task = CvBenchTask::named(&self.task).ok_or_else(|| {
            let known = CvBenchTask::ALL.map(CvBenchTask::as_str).join(", ");
            fail("task", format!("`{}` is not one of {known}", self.task))
        })?;
        if !(2..=MAX_OPTIONS).contains(&self.choices.len()) {
            let found = self.choices.len();
            let message = format!("there are {found}, but 2 to {MAX_OPTIONS} are needed");
            return Err(fail("choices", message));
        }
        for choice in &self.choices {
            check_length(choice, MAX_LABEL, path, || row.to_owned(), "choices")?;
        }
        let label = place_of(&self.answer).filter(|place| *place < self.choices.len());
        let label = label.ok_or_else(|| Error::UnknownLabel {
            path: path.to_path_buf(),
            row: row.to_owned(),
            field: "answer",
            label: self.answer.clone(),
            of: format!("letters of the choices [ {}]", self.choices.join(", ")),
            advice: "an answer is a letter such as (A)",
        })?;
        let question = match self.prompt {
            Some(prompt) if !prompt.trim().is_empty() => prompt,
            _ => with_options(&self.question, &self.choices),
        };
        check_length(&question, MAX_QUESTION, path, || row.to_owned(), "prompt")?;
        Ok(CvBenchRow {
            id,
            image,
            question,
            choices: self.choices,
            label,
            facts: CvBenchFacts {
                task,
                kind: self.kind.unwrap_or_default(),
                source: self.source.unwrap_or_default(),
            },
        })
    }
}

/// Reads CV-Bench's JSON lines.
pub(crate) fn read_json_lines(path: &Path) -> Result<Vec<CvBenchRow>, Error> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut rows = Vec::new();
    for_each_line(path, "CV-Bench's questions", |line, text| {
        let row = format!("line {line}");
        let fail = |field, message| Error::Row {
            path: path.to_path_buf(),
            row: row.clone(),
            field,
            message,
        };
        let fields: Fields =
            serde_json::from_slice(text).map_err(|error| fail("row", error.to_string()))?;
        let named = fields.filename.as_deref();
        let named = named.or(fields.image.as_ref().and_then(Value::as_str));
        let file = named
            .map(str::to_owned)
            .ok_or_else(|| fail("filename", "is missing; give the path of the image".into()))?;
        check_length(&file, MAX_PATH, path, || row.clone(), "filename")?;
        let image = ImageSource::path(join_below(folder, &file, path, || row.clone())?);
        rows.push(fields.row(path, &row, file, image)?);
        Ok(())
    })?;
    Ok(rows)
}

/// Reads CV-Bench's parquet file; `before` rows were read from other files, with `bytes` of images.
pub(crate) fn read_parquet(
    path: &Path,
    limits: ParquetLimits,
    before: usize,
    bytes: &mut u64,
) -> Result<Vec<CvBenchRow>, Error> {
    let table = ParquetTable::open(path, limits)?;
    let advice = "is it a file of CV-Bench?";
    let images = ImageColumns::find(&table, "image")?;
    let [task, question, answer] =
        ["task", "question", "answer"].map(|name| table.need(&[name], advice));
    let (task, question, answer) = (task?, question?, answer?);
    let choices = table.find_list("choices").ok_or_else(|| {
        table.fail(
            None,
            "choices",
            &format!("is not there as lists of texts; {advice}"),
        )
    })?;
    let optional = ["prompt", "type", "source", "filename"].map(|name| table.find(&[name]));
    let mut rows = Vec::new();
    for group in 0..table.groups() {
        let read = |column| table.bytes(group, column);
        let (task, question, answer) = (read(task)?, read(question)?, read(answer)?);
        let mut choices = table.lists(group, choices)?.into_iter();
        let mut more = [const { None }; 4];
        for (texts, column) in more.iter_mut().zip(optional) {
            *texts = column.map(read).transpose()?;
        }
        let images = images.read(&table, group)?;
        for place in 0..table.rows(group) {
            let number = before + rows.len();
            let row = format!("test[{number}]");
            let value = |value: Option<&ByteArray>, field: &str, limit: usize| {
                value
                    .map(|value| text(&table, value, &row, field, limit).map(str::to_owned))
                    .transpose()
            };
            let needed = |texts: &[Option<ByteArray>], field: &'static str| {
                value(texts[place].as_ref(), field, MAX_QUESTION)?.ok_or_else(|| Error::Row {
                    path: path.to_path_buf(),
                    row: row.clone(),
                    field,
                    message: "is null".into(),
                })
            };
            let other = |at: usize, field: &str| {
                let texts: Option<&Vec<Option<ByteArray>>> = more[at].as_ref();
                value(
                    texts.and_then(|texts| texts[place].as_ref()),
                    field,
                    MAX_QUESTION,
                )
            };
            let choices = choices.next().unwrap_or_default().into_iter();
            let choices = choices
                .map(|choice| text(&table, &choice, &row, "choices", MAX_LABEL).map(str::to_owned))
                .collect::<Result<_, _>>()?;
            let fields = Fields {
                task: needed(&task, "task")?,
                question: needed(&question, "question")?,
                choices,
                answer: needed(&answer, "answer")?,
                prompt: other(0, "prompt")?,
                kind: other(1, "type")?,
                source: other(2, "source")?,
                filename: other(3, "filename")?,
                image: None,
            };
            let image = images.image(&table, place, &row, bytes)?;
            let id = fields.filename.clone().unwrap_or_else(|| row.clone());
            rows.push(fields.row(path, &row, id, image)?);
        }
    }
    Ok(rows)
}
