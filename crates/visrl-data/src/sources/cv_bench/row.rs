use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use visrl_core::ImageSource;

use crate::error::Error;
use crate::files::limits::{MAX_LABEL, MAX_QUESTION, check_length};
use crate::plain_label::plain_label;
use crate::prompt::letters::{MAX_OPTIONS, place_of, with_options};
use crate::sources::cv_bench::task::{CvBenchFacts, CvBenchTask};

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
pub(crate) struct Fields {
    pub(crate) task: String,
    pub(crate) question: String,
    pub(crate) choices: Vec<String>,
    pub(crate) answer: String,
    #[serde(default)]
    pub(crate) prompt: Option<String>,
    #[serde(default, rename = "type")]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) source: Option<String>,
    #[serde(default)]
    pub(crate) filename: Option<String>,
    #[serde(default)]
    pub(crate) image: Option<Value>,
}

impl Fields {
    /// Checks the fields and puts them in order.
    pub(crate) fn row(
        self,
        path: &Path,
        row: &str,
        id: String,
        image: ImageSource,
    ) -> Result<CvBenchRow, Error> {
        let fail = |field: &str, message| Error::Row {
            path: path.to_path_buf(),
            row: row.to_owned(),
            field: field.into(),
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
        let answer = plain_label(&self.answer).unwrap_or_default();
        let label = place_of(&answer).filter(|place| *place < self.choices.len());
        let label = label.ok_or_else(|| Error::UnknownLabel {
            path: path.to_path_buf(),
            row: row.to_owned(),
            field: "answer".into(),
            label: self.answer.as_str().into(),
            of: format!("letters of the choices [ {}]", self.choices.join(", ")).into(),
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
