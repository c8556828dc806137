use std::path::{Path, PathBuf};

use saphyr_parser::{Event, Parser};

use crate::error::Error;
use crate::files::limits::MAX_LINE;
use crate::files::paths::join_below;
use crate::files::told::tell;
use crate::sources::rows::at::At;
use crate::sources::rows::json::whole;
use crate::sources::rows::value::Value;

/// The most levels of a YAML document.
const MAX_DEPTH: usize = 64;

/// A file of VLM-R1's list, and which of its rows are read.
pub(crate) struct ListedFile {
    pub(crate) file: PathBuf,
    pub(crate) part: RowPart,
}

/// Which rows of a file are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowPart {
    All,
    First(Count),
    End(Count),
}

/// A number of rows, or so many of a hundred, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    Rows(usize),
    Percent(usize),
}

impl RowPart {
    /// How many rows are asked for beyond so many that there are.
    pub(crate) fn missing(self, rows: usize) -> usize {
        match self {
            Self::First(Count::Rows(count)) | Self::End(Count::Rows(count)) => {
                count.saturating_sub(rows)
            }
            _ => 0,
        }
    }

    /// The rows out of so many.
    pub(crate) fn range(self, rows: usize) -> std::ops::Range<usize> {
        let count = |count| match count {
            Count::Rows(count) => rows.min(count),
            Count::Percent(percent) => rows.min(rows.saturating_mul(percent).div_ceil(100)),
        };
        match self {
            Self::All => 0..rows,
            Self::First(part) => 0..count(part),
            Self::End(part) => rows - count(part)..rows,
        }
    }

    fn named(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let (name, count) = text.split_once(':').unwrap_or((text, ""));
        let (name, count) = (name.trim_end(), count.trim());
        let parsed = match count.strip_suffix('%') {
            Some(percent) => percent.trim_end().parse().map(Count::Percent),
            None => count.parse().map(Count::Rows),
        };
        if let (true, Ok(Count::Rows(0) | Count::Percent(0))) = (name != "random", &parsed) {
            return Err(format!("`{text}` leaves no row"));
        }
        if let Ok(Count::Percent(101..)) = parsed {
            return Err(format!("`{text}` is more than 100 %"));
        }
        match (name, parsed) {
            ("first", Ok(count)) => Ok(Self::First(count)),
            ("end", Ok(count)) => Ok(Self::End(count)),
            ("random", Ok(_)) => Err(format!(
                "`{text}` would need a seed; write `first:N`, or draw by `shots`"
            )),
            _ => Err(format!(
                "`{text}` is none of all, first:N, end:N, first:N% and end:N%"
            )),
        }
    }
}

/// Reads VLM-R1's list of files: `datasets` of `json_path` and `sampling_strategy`.
pub(crate) fn read_list(path: &Path, any_path: bool) -> Result<Vec<ListedFile>, Error> {
    let fail = |message: String| Error::Row {
        path: path.to_path_buf(),
        row: "file".into(),
        field: "datasets".into(),
        message,
    };
    let bytes = whole(path, MAX_LINE, "a YAML list of files")?;
    let text = String::from_utf8(bytes).map_err(|error| fail(format!("is not UTF-8: {error}")))?;
    let value = parse(&text).map_err(fail)?;
    let Some(Value::List(entries)) = value.get("datasets") else {
        return Err(fail("is missing, or is no list".into()));
    };
    tell_unknown(path, "", &value, &["datasets"]);
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let at = At {
            path,
            unit: "entry",
            number: number as u64,
        };
        let name = entry.get("json_path");
        let name = name.ok_or_else(|| at.error("json_path", "is missing"))?;
        let text = name.text();
        let name = text
            .ok_or_else(|| at.error("json_path", format!("is {}, expected a path", name.kind())))?;
        let file = match any_path {
            true => folder.join(&name),
            false => join_below(folder, &name, path, || at.name(), "json_path")?,
        };
        let ending = file
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        if !matches!(&ending[..], "json" | "jsonl") {
            return Err(at.error(
                "json_path",
                format!("`{name}` ends in neither .json nor .jsonl"),
            ));
        }
        if !file.is_file() {
            let message = format!("there is no file {}", file.display());
            return Err(at.error("json_path", message));
        }
        let part = match entry.get("sampling_strategy") {
            None => RowPart::All,
            Some(value) => {
                let text = value.text().unwrap_or_else(|| value.kind().into());
                let part = RowPart::named(&text);
                part.map_err(|message| at.error("sampling_strategy", message))?
            }
        };
        let known = ["json_path", "sampling_strategy"];
        tell_unknown(path, &format!("entry {number}: "), entry, &known);
        files.push(ListedFile { file, part });
    }
    Ok(files)
}

/// Tells of the keys of a mapping that are none of the known ones.
fn tell_unknown(path: &Path, place: &str, value: &Value, known: &[&str]) {
    let Value::Object(keys) = value else {
        return;
    };
    for (key, value) in keys {
        if value.is_filled() && !known.contains(&&key[..]) {
            tell(path, &format!("{place}`{key}` is not used"));
        }
    }
}

/// A YAML document as a value. Anchors are refused: what they stand for can grow without bound; and
/// a key that is there twice, of which YAML's readers take one or the other.
fn parse(text: &str) -> Result<Value, String> {
    let mut open: Vec<(Value, Option<String>)> = Vec::new();
    let mut whole = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| error.to_string())?;
        if open.len() > MAX_DEPTH {
            return Err(format!("is nested deeper than {MAX_DEPTH} levels"));
        }
        let done = match event {
            Event::Alias(_) => return Err("has an alias, which is not read".into()),
            Event::Scalar(text, style, _, _) => {
                let is_plain = matches!(style, saphyr_parser::ScalarStyle::Plain);
                match (is_plain, &*text) {
                    (true, "" | "~" | "null") => Value::Null,
                    _ => Value::Text(text.into_owned()),
                }
            }
            Event::SequenceStart(..) => {
                open.push((Value::List(Vec::new()), None));
                continue;
            }
            Event::MappingStart(..) => {
                open.push((Value::Object(Vec::new()), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some((value, _)) => value,
                None => continue,
            },
            _ => continue,
        };
        match open.last_mut() {
            None if whole.is_some() => return Err("has a second document behind it".into()),
            None => whole = Some(done),
            Some((Value::List(list), _)) => list.push(done),
            Some((Value::Object(fields), key)) => match key.take() {
                Some(key) => fields.push((key, done)),
                None => {
                    let name = done.text().ok_or("has a key that is no text")?;
                    if fields.iter().any(|(there, _)| *there == name) {
                        let line = span.start.line();
                        return Err(format!("has `{name}` twice, the second in line {line}"));
                    }
                    *key = Some(name);
                }
            },
            Some(_) => return Err("is nested in a way that is not read".into()),
        }
    }
    Ok(whole.unwrap_or(Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_taken_as_the_tool_takes_them() {
        let part = |text| RowPart::named(text).unwrap();
        assert_eq!(part("all").range(5), 0..5);
        assert_eq!(part("first:2").range(5), 0..2);
        assert_eq!(part("end:2").range(5), 3..5);
        assert_eq!(part("first:50%").range(5), 0..3);
        assert_eq!(part("end:9").range(5), 0..5);
        assert_eq!(part("first: 100 %").range(5), 0..5);
        for (text, fault) in [
            ("last:1", "is none of all, first:N"),
            ("first", "is none of"),
            ("first:x", "is none of"),
            ("first:-1", "is none of"),
            ("first:1.5%", "is none of"),
            ("First:1", "is none of"),
            ("last:0", "leaves no row"),
            ("first:0", "leaves no row"),
            ("end:0%", "leaves no row"),
            ("first:150%", "is more than 100 %"),
            ("end:101%", "is more than 100 %"),
            ("random:3", "would need a seed"),
            ("", "is none of"),
        ] {
            let message = RowPart::named(text).unwrap_err();
            assert!(
                message.starts_with(&format!("`{text}` {fault}")),
                "{message}"
            );
        }
    }

    #[test]
    fn yaml_is_read_without_anchors() {
        let value = parse("datasets:\n  - json_path: a.jsonl\n    # all\n  - {json_path: 'b'}\n");
        let json = r#"{"datasets": [{"json_path": "a.jsonl"}, {"json_path": "b"}]}"#;
        assert_eq!(value.unwrap(), serde_json::from_str::<Value>(json).unwrap());
        assert!(parse("a: &x [1]\nb: *x\n").is_err());
        assert!(parse("a: [").is_err());
        for (text, fault) in [
            ("a: 1\nb: 2\na: 3\n", "has `a` twice, the second in line 3"),
            (
                "datasets:\n  - json_path: a\n    json_path: b\n",
                "has `json_path` twice, the second in line 3",
            ),
            ("- {a: 1, a: 1}\n", "has `a` twice, the second in line 1"),
            ("a: 1\n---\na: 2\n", "has a second document behind it"),
        ] {
            assert_eq!(parse(text).unwrap_err(), fault, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse(&deep).is_err());
        let deep = "- ".repeat(1000);
        assert_eq!(parse(&deep).unwrap_err(), "is nested deeper than 64 levels");
    }
}
