//! Data files of other training tools, against what their own code makes of them
//! (`tests/fixtures/data-forms`, or the folder `VISRL_DATA_FORMS`).

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use visrl_core::{Content, ImageSource};
use visrl_data::{Dataset, MemoryDataset, PromptTemplate, Record, RowsConfig, Split};
use visrl_testing::warnings_of;

fn forms() -> Vec<PathBuf> {
    let own = "tests/fixtures/data-forms".into();
    let folder = std::env::var_os("VISRL_DATA_FORMS").unwrap_or(own);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = root.join(folder);
    let mut forms: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("expected.json").is_file())
        .collect();
    forms.sort();
    assert!(forms.len() > 20, "{}", folder.display());
    forms
}

fn config(options: &Value) -> RowsConfig {
    let mut config = RowsConfig::default();
    for (name, value) in options.as_object().unwrap() {
        let text = || value.as_str().map(String::from);
        match &name[..] {
            "question" => config.columns.question = text(),
            "answer" => config.columns.answer = text(),
            "images" => config.columns.images = text(),
            "system" => config.columns.system = text(),
            "dataset" => config.dataset = text(),
            "images_folder" => config.images_folder = text(),
            "any_path" => config.any_path = value.as_bool().unwrap(),
            other => panic!("the option {other}"),
        }
    }
    config
}

fn is_read(file: &str) -> bool {
    cfg!(feature = "parquet") || !file.ends_with(".parquet")
}

/// An image as `expected.json` has it.
fn image(image: &ImageSource, form: &Path) -> Value {
    match image {
        ImageSource::Path(path) => {
            let path = fs::canonicalize(path).unwrap();
            let form = fs::canonicalize(form).unwrap();
            json!(path.strip_prefix(form).unwrap())
        }
        ImageSource::Encoded { bytes, .. } => {
            let side = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
            json!({ "bytes": true, "width": side(16), "height": side(20) })
        }
        other => panic!("{other:?}"),
    }
}

/// A row as `expected.json` has it; texts of parts are trimmed.
fn row(data: &MemoryDataset, split: Split, record: &Record, form: &Path) -> Value {
    let choices = record.choices.as_deref().unwrap_or_default().to_vec();
    let mut example = data.example(record, Vec::new()).unwrap();
    example.choices = choices;
    let prompt = PromptTemplate::no_instruction().render(&example);
    let mut number = 0;
    let parts = prompt.messages.last().unwrap().content.iter();
    let parts = parts.map(|part| match part {
        Content::Text(text) => json!({ "text": text.trim() }),
        Content::Image(_) => {
            number += 1;
            json!({ "image": number - 1 })
        }
    });
    let parts: Vec<Value> = parts.collect();
    let layout = example.row.layout.as_deref();
    json!({
        "question": example.question,
        "parts": parts,
        "images": example.images().map(|one| image(one, form)).collect::<Vec<_>>(),
        "system": layout.and_then(|layout| layout.system.clone()),
        "answer": example.label,
        "choices": record.choices.as_deref(),
        "split": split,
    })
}

fn is_equal(expected: &Value, found: &Value) -> bool {
    let keys = expected.as_object().unwrap().iter();
    keys.filter(|(key, _)| found.get(key).is_some())
        .all(|(key, value)| {
            let mut value = value.clone();
            if key == "parts" {
                for part in value.as_array_mut().unwrap() {
                    if let Some(text) = part.get("text").and_then(Value::as_str) {
                        *part = json!({ "text": text.trim() });
                    }
                }
            }
            value == found[key]
        })
}

fn is_right(expected: &Value, found: &Value) -> bool {
    let others = expected["or"].as_array().cloned().unwrap_or_default();
    let others = others.into_iter().map(|other| {
        let mut row = expected.clone();
        row.as_object_mut()
            .unwrap()
            .extend(other.as_object().unwrap().clone());
        row
    });
    std::iter::once(expected.clone())
        .chain(others)
        .any(|row| is_equal(&row, found))
}

#[test]
fn the_forms_of_other_tools_are_read_as_these_read_them() {
    let mut faults = Vec::new();
    for form in forms() {
        let expected = fs::read_to_string(form.join("expected.json")).unwrap();
        let expected: Value = serde_json::from_str(&expected).unwrap();
        for file in expected["files"].as_array().unwrap() {
            let name = file["file"].as_str().unwrap();
            if !is_read(name) {
                continue;
            }
            let path = form.join(name);
            let (data, told) = warnings_of(|| config(&file["options"]).open(&path));
            let data = match data {
                Ok(data) => data,
                Err(error) => {
                    faults.push(error.to_string());
                    continue;
                }
            };
            let records = Split::ALL.into_iter().flat_map(|split| {
                let records = data.records_if_any(split).unwrap().unwrap_or_default();
                records.iter().map(move |record| (split, record))
            });
            let found: Vec<Value> = records
                .map(|(split, record)| row(&data, split, record, &form))
                .collect();
            let rows = file["rows"].as_array().unwrap();
            if rows.len() != found.len() {
                faults.push(format!("{}: {} rows", path.display(), found.len()));
            }
            for (expected, found) in rows.iter().zip(&found) {
                if !is_right(expected, found) {
                    faults.push(format!("{}: {expected}\n  found {found}", path.display()));
                }
            }
            let report = told.join("\n");
            let wanted = file["told"].as_array().unwrap();
            for fact in wanted {
                let word = fact.as_str().unwrap().split(':').next().unwrap();
                if report.matches(&format!("`{word}`")).count() == 0 {
                    faults.push(format!("{}: `{word}` is not told", path.display()));
                }
            }
            if wanted.is_empty() && !told.is_empty() {
                faults.push(format!("{}: told without need: {report}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn wrong_rows_are_refused_with_file_place_and_field() {
    let mut faults = Vec::new();
    let mut count = 0;
    for form in forms() {
        let expected = fs::read_to_string(form.join("expected.json")).unwrap();
        let expected: Value = serde_json::from_str(&expected).unwrap();
        for wrong in expected["refused"].as_array().unwrap() {
            let name = wrong["file"].as_str().unwrap();
            if !is_read(name) {
                continue;
            }
            count += 1;
            let path = form.join(name);
            let (opened, told) = warnings_of(|| config(&wrong["options"]).open(&path));
            let message = match opened {
                Err(error) => error.to_string(),
                Ok(_) if wrong["or_told"] == true => told.join("\n"),
                Ok(_) => String::new(),
            };
            let place = ["line", "row", "entry"].into_iter().find_map(|unit| {
                let number = wrong.get(unit)?;
                Some(format!(": {unit} {number}: "))
            });
            let is_placed = wrong["or_told"] == true || place.is_some_and(|p| message.contains(&p));
            let fields = wrong["field"].as_array().unwrap();
            let is_named = fields
                .iter()
                .any(|field| message.contains(&format!("`{}`", field.as_str().unwrap())));
            let file = match name {
                "dataset_info.json" => form.display().to_string(),
                _ => path.display().to_string(),
            };
            if !(message.starts_with(&file) && is_placed && is_named) {
                faults.push(format!("{}: {wrong}\n  found {message}", path.display()));
            }
        }
    }
    assert!(count > 15);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
