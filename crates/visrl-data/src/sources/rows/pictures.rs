use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use visrl_core::ImageSource;

use crate::error::Error;
use crate::files::limits::{MAX_PATH, check_length};
use crate::files::paths::join_below;
use crate::sources::parquet::limits::ParquetLimits;
use crate::sources::rows::at::At;
use crate::sources::rows::value::Value;

/// How long a text must be to be a picture in base64.
const LEAST_BASE64: usize = 40;

/// Finds the pictures that rows name or hold.
pub(crate) struct Pictures {
    /// What paths are relative to.
    pub(crate) folder: PathBuf,
    pub(crate) any_path: bool,
    pub(crate) limits: ParquetLimits,
    /// Bytes that are held.
    pub(crate) bytes: u64,
}

/// A picture, and its path as it stands in the row.
pub(crate) struct Picture {
    pub(crate) source: ImageSource,
    pub(crate) path: Option<String>,
}

impl Pictures {
    /// The pictures of a column: a list, or one alone. Nulls are nothing.
    pub(crate) fn of_column(
        &mut self,
        value: &Value,
        at: At<'_>,
        column: &str,
    ) -> Result<Vec<Picture>, Error> {
        let list = match value {
            Value::List(list) => &list[..],
            one => std::slice::from_ref(one),
        };
        let mut pictures = Vec::with_capacity(list.len());
        for value in list {
            pictures.extend(self.picture(value, at, column)?);
        }
        Ok(pictures)
    }

    /// A picture, by its path or its bytes; nothing for null and a structure of nulls.
    pub(crate) fn picture(
        &mut self,
        value: &Value,
        at: At<'_>,
        column: &str,
    ) -> Result<Option<Picture>, Error> {
        match value {
            Value::Null => Ok(None),
            Value::Text(text) => self.of_text(text, at, column).map(Some),
            Value::Bytes(bytes) if bytes.is_empty() => Ok(None),
            Value::Bytes(bytes) => self.held(bytes, None, at, column).map(Some),
            Value::Object(_) => self.of_object(value, at, column),
            other => {
                let message = format!("holds {}, where an image is expected", other.kind());
                Err(at.error(column, message))
            }
        }
    }

    fn of_object(
        &mut self,
        value: &Value,
        at: At<'_>,
        column: &str,
    ) -> Result<Option<Picture>, Error> {
        let path = value.get("path");
        let name = path.and_then(Value::text);
        match value.get("bytes") {
            Some(Value::Bytes(bytes)) if !bytes.is_empty() => {
                return self.held(bytes, name, at, column).map(Some);
            }
            Some(Value::Text(text)) if !text.is_empty() => {
                let bytes = decoded(text)
                    .ok_or_else(|| at.error(column, "has `bytes` that are no base64"))?;
                return self.held(&bytes, name, at, column).map(Some);
            }
            Some(other) if other.is_filled() => {
                let message = format!("has {} as `bytes`", other.kind());
                return Err(at.error(column, message));
            }
            _ => {}
        }
        let known = [
            "path",
            "image",
            "image_url",
            "url",
            "base64",
            "source",
            "data",
        ];
        let held = known.iter().find_map(|key| value.get(key));
        match held {
            Some(held) => self.picture(held, at, column),
            None if value.is_filled() => {
                Err(at.error(column, "has neither `bytes` nor `path` of an image"))
            }
            None => Ok(None),
        }
    }

    fn of_text(&mut self, text: &str, at: At<'_>, column: &str) -> Result<Picture, Error> {
        let text = text.trim();
        if let Some(data) = text.strip_prefix("data:") {
            let bytes = data
                .split_once(";base64,")
                .and_then(|(_, coded)| decoded(coded));
            let bytes =
                bytes.ok_or_else(|| at.error(column, "has a `data:` text that is no base64"))?;
            return self.held(&bytes, None, at, column);
        }
        if let Some(bytes) = bare_base64(text) {
            return self.held(&bytes, None, at, column);
        }
        check_length(text, MAX_PATH, at.path, || at.name(), column)?;
        let path = match text.split_once("://") {
            Some(("file", path)) => path,
            Some((scheme, _)) if is_scheme(scheme) => {
                let message =
                    format!("`{text}` is an address: nothing is downloaded, give a file's path");
                return Err(at.error(column, message));
            }
            _ => text,
        };
        let file = match self.any_path {
            true => self.folder.join(at_home(path)),
            false if path.starts_with('~') => {
                return Err(Error::ImagePath {
                    path: at.path.to_path_buf(),
                    row: at.name(),
                    field: column.into(),
                    value: path.to_owned(),
                });
            }
            false => join_below(&self.folder, path, at.path, || at.name(), column)?,
        };
        if !file.is_file() {
            let message = format!("there is no file {}", file.display());
            return Err(at.error(column, message));
        }
        Ok(Picture {
            source: ImageSource::path(file),
            path: Some(path.to_owned()),
        })
    }

    /// A picture in memory.
    fn held(
        &mut self,
        bytes: &[u8],
        path: Option<String>,
        at: At<'_>,
        column: &str,
    ) -> Result<Picture, Error> {
        if !is_picture(bytes) {
            let message = format!("holds {} bytes that are no picture", bytes.len());
            return Err(at.error(column, message));
        }
        let size = bytes.len() as u64;
        self.bytes = self.bytes.saturating_add(size);
        for (size, limit, advice) in [
            (size, self.limits.image_bytes, "raise `limits.image_bytes`"),
            (
                self.bytes,
                self.limits.total_bytes,
                "raise `limits.total_bytes`, or write the pictures to files",
            ),
        ] {
            if size > limit {
                return Err(Error::TooLarge {
                    path: at.path.to_path_buf(),
                    row: at.name(),
                    field: column.into(),
                    size,
                    unit: "bytes",
                    limit,
                    advice,
                });
            }
        }
        let place = format!("{}: {}: field `{column}`", at.path.display(), at.name());
        let name = match &path {
            Some(path) => format!("{place} ({path})"),
            None => place,
        };
        let source = ImageSource::Encoded {
            name: Arc::from(name),
            bytes: Arc::from(bytes),
        };
        Ok(Picture { source, path: None })
    }
}

/// A path below the user's own folder, where it begins with `~/`.
fn at_home(path: &str) -> PathBuf {
    let home = path.strip_prefix("~/").zip(std::env::var_os("HOME"));
    home.map_or_else(
        || PathBuf::from(path),
        |(rest, home)| Path::new(&home).join(rest),
    )
}

fn is_scheme(text: &str) -> bool {
    text.len() > 1
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// What base64 means, with line breaks in it or not, padded or not.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let text: String = text.split_whitespace().collect();
    let engine = match text.ends_with('=') || text.len().is_multiple_of(4) {
        true => STANDARD.decode(&text),
        false => STANDARD_NO_PAD.decode(&text),
    };
    engine.ok().filter(|bytes| !bytes.is_empty())
}

/// A picture that stands as base64 where a path might: paths do not decode to one.
fn bare_base64(text: &str) -> Option<Vec<u8>> {
    let is_coded = |byte: u8| {
        byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b"+/=".contains(&byte)
    };
    let is_long = text.len() >= LEAST_BASE64 && text.bytes().all(is_coded);
    let bytes = is_long.then(|| decoded(text)).flatten()?;
    // No path is longer than the systems take, whatever the bytes are.
    (is_picture(&bytes) || text.len() > MAX_PATH).then_some(bytes)
}

/// Whether bytes begin as a picture does: PNG, JPEG, GIF, BMP, TIFF or WebP.
fn is_picture(bytes: &[u8]) -> bool {
    let starts: [&[u8]; 7] = [
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"GIF87a",
        b"GIF89a",
        b"BM",
        b"II*\0",
        b"MM\0*",
    ];
    let is_webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    is_webp || starts.iter().any(|start| bytes.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(folder: &Path, json: &str, any_path: bool) -> Result<Vec<String>, String> {
        let mut pictures = Pictures {
            folder: folder.into(),
            any_path,
            limits: ParquetLimits::default(),
            bytes: 0,
        };
        let value: Value = serde_json::from_str(json).unwrap();
        let at = At::line(Path::new("f"), 2);
        let found = pictures.of_column(&value, at, "images");
        found
            .map(|found| found.into_iter().map(|one| one.source.name()).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn pictures_are_found_by_path_and_by_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("1.png");
        std::fs::write(&file, b"").unwrap();
        let file = file.display().to_string();
        let base64 = STANDARD.encode(b"\x89PNG\r\n\x1a\nand what stands in a picture");
        let held = "f: line 2: field `images`".to_owned();
        for (json, names) in [
            ("null", vec![]),
            (r#"[null, {"bytes": null, "path": null}]"#, vec![]),
            (r#""1.png""#, vec![file.clone()]),
            (
                r#"["file://1.png", {"path": "1.png"}]"#,
                vec![file.clone(); 2],
            ),
            (r#"{"image_url": {"url": "1.png"}}"#, vec![file.clone()]),
            (
                &format!(r#"["data:image/jpg;base64,{base64}"]"#),
                vec![held.clone()],
            ),
            (&format!(r#"["{base64}"]"#), vec![held.clone()]),
            (
                &format!(r#"{{"path": "9.png", "bytes": "{base64}"}}"#),
                vec![format!("{held} (9.png)")],
            ),
        ] {
            assert_eq!(find(folder.path(), json, false).unwrap(), names, "{json}");
        }
        let absolute = format!(r#""{file}""#);
        assert_eq!(find(folder.path(), &absolute, true).unwrap(), [file]);
        for json in [
            &absolute[..],
            r#""2.png""#,
            r#""../1.png""#,
            r#""~/1.png""#,
            r#""https://example.org/1.png""#,
            r#""data:image/png;base64,bm8gcGljdHVyZQ==""#,
            r#"{"size": 3}"#,
            "7",
        ] {
            let message = find(folder.path(), json, false).unwrap_err();
            assert!(
                message.starts_with("f: line 2: field `images`: "),
                "{message}"
            );
        }
    }
}
