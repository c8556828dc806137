use std::path::Path;

use serde_json::Value;
use visrl_core::ImageSource;
use visrl_core::files::{fault_in_line, from_json};

use crate::error::Error;
use crate::files::limits::MAX_LINE;
use crate::files::limits::{MAX_PATH, check_length};
use crate::files::lines::for_each_line;
use crate::files::paths::join_below;
use crate::sources::cv_bench::row::{CvBenchRow, Fields};

/// Reads CV-Bench's JSON lines.
pub(crate) fn read_json_lines(path: &Path) -> Result<Vec<CvBenchRow>, Error> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut rows = Vec::new();
    for_each_line(path, "CV-Bench's questions", MAX_LINE, |line, text| {
        let row = format!("line {line}");
        let fail = |field: &str, message| Error::Row {
            path: path.to_path_buf(),
            row: row.clone(),
            field: field.into(),
            message,
        };
        let fields: Fields = from_json(text).map_err(|error| fail("row", fault_in_line(&error)))?;
        let named = fields.filename.as_deref();
        let named = named.or(fields.image.as_ref().and_then(Value::as_str));
        let file = named
            .map(str::to_owned)
            .ok_or_else(|| fail("filename", "is missing; give the path of the image".into()))?;
        check_length(&file, MAX_PATH, path, || row.clone(), "filename")?;
        let image = ImageSource::path(join_below(folder, &file, path, || row.clone(), "image")?);
        rows.push(fields.row(path, &row, file, image)?);
        Ok(())
    })?;
    Ok(rows)
}
