use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::files::limits::MAX_LIST;
use crate::files::paths::join_below;
use crate::files::told::tell;
use crate::sources::rows::at::At;
use crate::sources::rows::columns::{Column, Fields, Found};
use crate::sources::rows::json::whole;
use crate::sources::rows::turns::{TurnNames, TurnTags};
use crate::sources::rows::value::Value;

/// An entry of LLaMA-Factory's `dataset_info.json`: a file, and what its columns mean. What an
/// entry with `columns` does not name is not used.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The data file.
    pub(crate) file: PathBuf,
    pub(crate) turns: TurnNames,
    has_turns: bool,
    columns: Vec<(&'static str, String)>,
}

/// Columns that an entry may name.
const COLUMNS: [&str; 13] = [
    "prompt", "query", "response", "history", "messages", "system", "tools", "images", "videos",
    "audios", "chosen", "rejected", "kto_tag",
];
/// What they are called in an entry without `columns`.
const DEFAULTS: [(&str, &str); 4] = [
    ("prompt", "instruction"),
    ("query", "input"),
    ("response", "output"),
    ("messages", "conversations"),
];
/// Where an entry has its data elsewhere.
const ELSEWHERE: [&str; 5] = [
    "hf_hub_url",
    "ms_hub_url",
    "om_hub_url",
    "script_url",
    "cloud_file_name",
];
/// Keys that change nothing here.
const NEUTRAL: [&str; 5] = ["file_name", "formatting", "columns", "tags", "ranking"];

/// Whether a file is a `dataset_info.json`: an object whose values name files or addresses.
pub(crate) fn parse(path: &Path) -> Option<Value> {
    let is_named = path
        .file_name()
        .is_some_and(|name| name == "dataset_info.json");
    let is_json = path
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("json"));
    if !is_json {
        return None;
    }
    let bytes = whole(path, MAX_LIST, "dataset_info.json").ok()?;
    let value = Value::of_json(&bytes).ok()?;
    let Value::Object(entries) = &value else {
        return None;
    };
    let names_data = |entry: &Value| {
        let keys = ELSEWHERE.iter().chain(&["file_name"]);
        keys.into_iter().any(|key| entry.get(key).is_some())
    };
    let all = !entries.is_empty() && entries.iter().all(|(_, entry)| names_data(entry));
    (is_named || all).then_some(value)
}

impl Entry {
    /// The entry of a name, or the only one.
    pub(crate) fn of(
        path: &Path,
        info: &Value,
        name: Option<&str>,
        any_path: bool,
    ) -> Result<Self, Error> {
        let fail = |row: &str, field: &str, message: String| Error::Row {
            path: path.to_path_buf(),
            row: match row {
                "" => "file".into(),
                row => format!("entry `{row}`"),
            },
            field: field.into(),
            message,
        };
        let Value::Object(entries) = info else {
            return Err(fail("", "dataset", "is no object of entries".into()));
        };
        let names: Vec<&str> = entries.iter().map(|(name, _)| &name[..]).collect();
        let known = names.join(", ");
        let (name, entry) = match (name, &entries[..]) {
            (Some(name), entries) => {
                let found = entries.iter().find(|(entry, _)| entry == name);
                let found = found.map(|(_, entry)| (name, entry));
                let none = || fail(name, "dataset", format!("is not there; there are {known}"));
                found.ok_or_else(none)?
            }
            (None, [(name, entry)]) => (&name[..], entry),
            (None, _) => {
                let message = format!("is not named, and there are several: {known}");
                return Err(fail("", "dataset", message));
            }
        };
        if let Some(key) = ELSEWHERE.into_iter().find(|key| entry.get(key).is_some()) {
            let message = "is an address: nothing is downloaded, give a `file_name`";
            return Err(fail(name, key, message.into()));
        }
        if entry.get("ranking") == Some(&Value::Bool(true)) {
            let message = "is set: pairs of a better and a worse answer are not read";
            return Err(fail(name, "ranking", message.into()));
        }
        if entry.get("num_samples").is_some() {
            let message = "is set: take a part of the data by `shots`";
            return Err(fail(name, "num_samples", message.into()));
        }
        let has_turns = match entry.get("formatting").and_then(Value::text).as_deref() {
            None | Some("alpaca") => false,
            Some("sharegpt") => true,
            Some(other) => {
                let message = format!("is `{other}`; alpaca and sharegpt are read");
                return Err(fail(name, "formatting", message));
            }
        };
        let file = entry.get("file_name").and_then(Value::text);
        let file = file.ok_or_else(|| fail(name, "file_name", "is missing".into()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let file = match any_path {
            true => folder.join(&file),
            false => join_below(
                folder,
                &file,
                path,
                || format!("entry `{name}`"),
                "file_name",
            )?,
        };
        if !file.is_file() {
            let message = format!("there is no file {}", file.display());
            return Err(fail(name, "file_name", message));
        }
        let tags = tags(entry.get("tags")).map_err(|message| fail(name, "tags", message))?;
        let columns = columns(entry.get("columns"));
        let columns = columns.map_err(|message| fail(name, "columns", message))?;
        if let Value::Object(keys) = entry {
            let unused = keys.iter().filter(|(key, value)| {
                let is_train = key == "split" && value.text().as_deref() == Some("train");
                value.is_filled() && !is_train && !NEUTRAL.contains(&&key[..])
            });
            for (key, _) in unused {
                tell(path, &format!("entry `{name}`: `{key}` is not used"));
            }
        }
        Ok(Self {
            file,
            turns: TurnNames::Named(tags),
            has_turns,
            columns,
        })
    }

    /// What the entry calls a column.
    fn name(&self, of: &str) -> Option<&str> {
        let found = self.columns.iter().find(|(column, _)| *column == of);
        found.map(|(_, name)| &name[..])
    }

    /// What stands where in a row.
    pub(crate) fn find<'r>(&'r self, fields: &Fields<'r>, at: At<'_>) -> Result<Found<'r>, Error> {
        let column = |of: &str| -> Option<Column<'r>> {
            let name = self.name(of)?;
            let found = fields.0.iter().find(|(field, _)| field == name);
            found.map(|(field, value)| (&field[..], value))
        };
        let there = |of: &str| column(of).filter(|(_, value)| *value != &Value::Null);
        for (of, what) in [
            (
                "history",
                "earlier questions with their answers: one of each is read",
            ),
            ("videos", "a video"),
            ("audios", "a sound"),
        ] {
            if let Some((column, _)) = column(of).filter(|(_, value)| value.is_filled()) {
                return Err(at.error(column, format!("is filled: {what}")));
            }
        }
        let mut found = Found {
            known: vec!["id"],
            images_name: self.name("images").unwrap_or("images"),
            no_answer: "row",
            images: there("images"),
            system: there("system"),
            ..Found::default()
        };
        let names: &[&str] = match self.has_turns {
            true => &["messages"],
            false => &["prompt", "query"],
        };
        found.question = names.iter().filter_map(|of| there(of)).collect();
        let name = self.name(names[0]).unwrap_or(names[0]);
        if found.question.is_empty() {
            return Err(at.error(name, "is missing; it holds the question"));
        }
        if self.has_turns && !found.has_turns() {
            return Err(at.error(name, "is no list of turns"));
        }
        found.no_answer = match self.has_turns {
            true => name,
            false => self.name("response").unwrap_or("response"),
        };
        if !self.has_turns {
            found.answer = there("response");
        }
        let used = [found.images, found.system, found.answer];
        let used = used
            .into_iter()
            .flatten()
            .chain(found.question.iter().copied());
        let used: Vec<&str> = used.map(|(column, _)| column).collect();
        found.known.extend(used);
        Ok(found)
    }
}

fn columns(given: Option<&Value>) -> Result<Vec<(&'static str, String)>, String> {
    let Some(given) = given else {
        let defaults = DEFAULTS.into_iter();
        return Ok(defaults.map(|(of, name)| (of, name.to_owned())).collect());
    };
    let Value::Object(fields) = given else {
        return Err(format!("is {}, expected is an object", given.kind()));
    };
    let mut columns = Vec::new();
    for (of, name) in fields {
        let known = COLUMNS.into_iter().find(|column| column == of);
        let known = known.ok_or_else(|| format!("has `{of}`, which is no column known"))?;
        columns.extend(name.text().map(|name| (known, name)));
    }
    Ok(columns)
}

fn tags(given: Option<&Value>) -> Result<TurnTags, String> {
    let Some(given) = given else {
        return Ok(TurnTags {
            role: "from".into(),
            content: "value".into(),
            user: Some("human".into()),
            assistant: Some("gpt".into()),
            system: Some("system".into()),
        });
    };
    let tag = |key: &str| given.get(key).and_then(Value::text);
    let need = |key: &str| tag(key).ok_or_else(|| format!("does not name `{key}`"));
    Ok(TurnTags {
        role: need("role_tag")?,
        content: need("content_tag")?,
        user: tag("user_tag"),
        assistant: tag("assistant_tag"),
        system: tag("system_tag"),
    })
}
