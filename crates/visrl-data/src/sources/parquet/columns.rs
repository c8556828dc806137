use std::path::Path;
use std::sync::Arc;

use parquet::data_type::ByteArray;
use visrl_core::ImageSource;

use crate::error::Error;
use crate::files::limits::{MAX_PATH, check_length};
use crate::files::paths::join_below;
use crate::sources::parquet::table::ParquetTable;

/// A value as text, at most so long.
pub(crate) fn text<'v>(
    table: &ParquetTable,
    value: &'v ByteArray,
    row: &str,
    field: &str,
    limit: usize,
) -> Result<&'v str, Error> {
    let text = std::str::from_utf8(value.data()).map_err(|error| {
        let message = format!("row `{row}`: is not UTF-8 text: {error}");
        table.fail(None, field, &message)
    })?;
    check_length(text, limit, table.path(), || row.to_owned(), field)?;
    Ok(text)
}

/// The columns that make up images.
pub(crate) struct ImageColumns {
    bytes: usize,
    path: Option<usize>,
}

impl ImageColumns {
    /// A structure of `bytes` and `path`, or a column of bytes.
    pub(crate) fn find(table: &ParquetTable, name: &str) -> Result<Self, Error> {
        let [bytes, path] = ["bytes", "path"].map(|field| format!("{name}.{field}"));
        let advice = "set `image` to the column of images";
        Ok(Self {
            bytes: table.need(&[&bytes, name], advice)?,
            path: table.find(&[&path]),
        })
    }

    pub(crate) fn read(&self, table: &ParquetTable, group: usize) -> Result<Images, Error> {
        let path = self.path.map(|column| table.bytes(group, column));
        Ok(Images {
            field: table.column_name(self.bytes),
            bytes: table.bytes(group, self.bytes)?,
            paths: path.transpose()?,
        })
    }
}

/// The images of a row group.
pub(crate) struct Images {
    field: String,
    bytes: Vec<Option<ByteArray>>,
    paths: Option<Vec<Option<ByteArray>>>,
}

impl Images {
    /// The path of an image, as it stands in the file.
    pub(crate) fn path(
        &self,
        table: &ParquetTable,
        place: usize,
        row: &str,
    ) -> Result<Option<&str>, Error> {
        let path = self.paths.as_ref().and_then(|paths| paths[place].as_ref());
        path.map(|path| text(table, path, row, "path", MAX_PATH))
            .transpose()
    }

    /// An image; its bytes are added to `total`.
    pub(crate) fn image(
        &self,
        table: &ParquetTable,
        place: usize,
        row: &str,
        total: &mut u64,
    ) -> Result<ImageSource, Error> {
        let path = self.path(table, place, row)?;
        let Some(value) = self.bytes[place].as_ref().filter(|v| !v.data().is_empty()) else {
            let path = path.ok_or_else(|| Error::Row {
                path: table.path().to_path_buf(),
                row: row.to_owned(),
                field: "image".into(),
                message: "has neither bytes nor a path".into(),
            })?;
            let folder = table.path().parent().unwrap_or(Path::new(""));
            let file = join_below(folder, path, table.path(), || row.to_owned(), "path")?;
            return Ok(ImageSource::path(file));
        };
        let limits = table.limits();
        let size = value.data().len() as u64;
        *total = total.saturating_add(size);
        let checks = [
            (
                size,
                limits.image_bytes,
                "is it an image? otherwise raise `limits.image_bytes`",
            ),
            (
                *total,
                limits.total_bytes,
                "raise `limits.total_bytes`, or write the images to files and list them in JSON \
                 lines",
            ),
        ];
        for (size, limit, advice) in checks {
            if size > limit {
                return Err(table.too_large(row, &self.field, size, "bytes", limit, advice));
            }
        }
        let file = table.path().display();
        let name = match path {
            Some(path) => format!("{file}: {row} ({path})"),
            None => format!("{file}: {row}"),
        };
        Ok(ImageSource::Encoded {
            name: Arc::from(name),
            bytes: Arc::from(value.data()),
        })
    }
}
