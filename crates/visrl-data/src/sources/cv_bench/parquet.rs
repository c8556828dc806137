use std::path::Path;

use parquet::data_type::ByteArray;

use crate::error::Error;
use crate::files::limits::{MAX_LABEL, MAX_QUESTION};
use crate::sources::cv_bench::row::{CvBenchRow, Fields};
use crate::sources::parquet::columns::{ImageColumns, text};
use crate::sources::parquet::limits::ParquetLimits;
use crate::sources::parquet::table::ParquetTable;

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
                    field: field.into(),
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
