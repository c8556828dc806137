use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::basic::{Compression, ConvertedType, Type};
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArray, ByteArrayType, DataType};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::TypePtr;

use crate::error::Error;
use crate::sources::parquet::guard::{check_footer, check_page, guarded, page_header};
use crate::sources::parquet::limits::ParquetLimits;

/// Records read at a time, so that no number in a page sets the size of a buffer.
const BATCH: usize = 1024;

/// A parquet file whose columns are read one row group at a time.
///
/// Pages are looked at before the `parquet` crate decodes them, and a panic of it becomes an error.
pub(crate) struct ParquetTable {
    path: PathBuf,
    length: u64,
    /// For the headers of pages; the reader seeks before each read of its own.
    file: File,
    reader: SerializedFileReader<File>,
    limits: ParquetLimits,
}

/// The column of one row group: levels as the format defines them, and the values that are not
/// null.
struct Levels<T> {
    definition: Vec<i16>,
    repetition: Vec<i16>,
    values: Vec<T>,
}

impl ParquetTable {
    /// Reads the footer of a file.
    pub(crate) fn open(path: &Path, limits: ParquetLimits) -> Result<Self, Error> {
        let hint = "a parquet file";
        let file = File::open(path).map_err(Error::io(path, hint))?;
        let metadata = file.metadata().map_err(Error::io(path, hint))?;
        let fail = |message: String| Error::Parquet {
            path: path.to_path_buf(),
            row_group: None,
            column: String::new(),
            message,
        };
        if !metadata.is_file() {
            return Err(fail("is not a file".into()));
        }
        let length = metadata.len();
        let footer = check_footer(&file, length);
        let pages = file.try_clone().map_err(Error::io(path, hint))?;
        let reader = footer
            .and_then(|()| guarded(|| SerializedFileReader::new(file)))
            .map_err(|message| {
                fail(format!(
                    "the footer cannot be read: {message}; is it a parquet file, and whole?"
                ))
            })?;
        let table = Self {
            path: path.to_path_buf(),
            length,
            file: pages,
            reader,
            limits,
        };
        let rows = (0..table.groups()).try_fold(0u64, |sum, group| {
            let rows = u64::try_from(table.reader.metadata().row_group(group).num_rows());
            let rows = rows.map_err(|_| table.fail(Some(group), "", "has fewer than 0 rows"))?;
            Ok::<_, Error>(sum.saturating_add(rows))
        })?;
        if rows > limits.rows {
            let advice = "raise `limits.rows`, if so many are meant";
            return Err(table.too_large("file", "", rows, "rows", limits.rows, advice));
        }
        Ok(table)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn limits(&self) -> &ParquetLimits {
        &self.limits
    }

    pub(crate) fn groups(&self) -> usize {
        self.reader.metadata().num_row_groups()
    }

    /// Rows of a row group.
    pub(crate) fn rows(&self, group: usize) -> usize {
        // Not negative, and below the limit: `open` has seen to it.
        self.reader.metadata().row_group(group).num_rows() as usize
    }

    /// A text of the file's key-value metadata.
    pub(crate) fn note(&self, key: &str) -> Option<&str> {
        let notes = self
            .reader
            .metadata()
            .file_metadata()
            .key_value_metadata()?;
        notes.iter().find(|note| note.key == key)?.value.as_deref()
    }

    /// The number of the first column that has one of these dotted paths.
    pub(crate) fn find(&self, paths: &[&str]) -> Option<usize> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        paths.iter().find_map(|path| {
            (0..schema.num_columns()).find(|&i| schema.column(i).path().string() == *path)
        })
    }

    /// [`ParquetTable::find`] where the column has to be there.
    pub(crate) fn need(&self, paths: &[&str], advice: &str) -> Result<usize, Error> {
        self.find(paths).ok_or_else(|| {
            let schema = self.reader.metadata().file_metadata().schema_descr();
            let names: Vec<String> = (0..schema.num_columns())
                .map(|i| schema.column(i).path().string())
                .collect();
            let there = names.join("`, `");
            let column = paths.first().copied().unwrap_or_default();
            let message = format!("is not there, but `{there}`; {advice}");
            self.fail(None, column, &message)
        })
    }

    /// The number of the column of lists of texts below a name, however its writer called the
    /// elements.
    pub(crate) fn find_list(&self, name: &str) -> Option<usize> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        (0..schema.num_columns()).find(|&i| {
            let column = schema.column(i);
            column.max_rep_level() == 1 && column.path().parts().first().is_some_and(|p| p == name)
        })
    }

    /// The texts or bytes of a column in a row group, one for each row.
    pub(crate) fn bytes(
        &self,
        group: usize,
        column: usize,
    ) -> Result<Vec<Option<ByteArray>>, Error> {
        self.flat::<ByteArrayType>(group, column, Type::BYTE_ARRAY)
    }

    /// The lists of texts of a column in a row group, one for each row; null is an empty list.
    pub(crate) fn lists(&self, group: usize, column: usize) -> Result<Vec<Vec<ByteArray>>, Error> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let full = schema.column(column).max_def_level();
        let levels = self.levels::<ByteArrayType>(group, column, Type::BYTE_ARRAY, 1)?;
        let mut values = levels.values.into_iter();
        let mut lists: Vec<Vec<ByteArray>> = Vec::new();
        for (definition, repetition) in levels.definition.iter().zip(levels.repetition) {
            if repetition == 0 {
                lists.push(Vec::new());
            }
            if *definition == full
                && let (Some(list), Some(value)) = (lists.last_mut(), values.next())
            {
                list.push(value);
            }
        }
        self.check_count(group, column, lists.len())?;
        Ok(lists)
    }

    /// The columns as a tree.
    pub(crate) fn schema(&self) -> TypePtr {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        schema.root_schema_ptr()
    }

    /// Gives each row of a row group to a function, after its pages were found acceptable.
    pub(crate) fn for_each_row(
        &self,
        group: usize,
        mut use_row: impl FnMut(&[(String, Field)]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let fail = |message: String| self.fail(Some(group), "", &message);
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let chunks = self.reader.metadata().row_group(group).columns();
        for (column, chunk) in chunks.iter().enumerate() {
            let lists = schema.column(column).max_rep_level() > 0;
            let name = self.column_name(column);
            let pages = self.check_pages(chunk, lists);
            let values = pages.map_err(|message| self.fail(Some(group), &name, &message))?;
            let rows = self.rows(group);
            if !lists && usize::try_from(values) != Ok(rows) {
                let message = format!("has {values} of {rows} rows; the file is damaged");
                return Err(self.fail(Some(group), &name, &message));
            }
        }
        let damaged = |message| fail(format!("cannot be read: {message}"));
        let reader = guarded(|| self.reader.get_row_group(group)).map_err(damaged)?;
        let mut rows = guarded(|| reader.get_row_iter(None)).map_err(damaged)?;
        for place in 0..self.rows(group) {
            let row = guarded(|| rows.next().transpose());
            let row = row.map_err(|message| match self.no_text(group, place) {
                Some(name) => {
                    let message = format!("row {place} of it is not UTF-8 text");
                    self.fail(Some(group), &name, &message)
                }
                None => damaged(format!("row {place} of it: {message}")),
            })?;
            let row = row.ok_or_else(|| fail("has fewer rows than it says".into()))?;
            use_row(&row.into_columns())?;
        }
        Ok(())
    }

    /// The column of texts that has a value in a row which is none.
    fn no_text(&self, group: usize, place: usize) -> Option<String> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let texts = (0..schema.num_columns()).filter(|&column| {
            let found = schema.column(column);
            let is_text = found.converted_type() == ConvertedType::UTF8;
            is_text && found.max_rep_level() == 0
        });
        let mut broken = texts.filter(|&column| {
            let values = self.bytes(group, column).unwrap_or_default();
            let value = values.get(place).and_then(Option::as_ref);
            value.is_some_and(|value| std::str::from_utf8(value.data()).is_err())
        });
        broken.next().map(|column| self.column_name(column))
    }

    /// The name of a column in errors.
    pub(crate) fn column_name(&self, column: usize) -> String {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        schema.column(column).path().string()
    }

    /// An error of this file.
    pub(crate) fn fail(&self, group: Option<usize>, column: &str, message: &str) -> Error {
        Error::Parquet {
            path: self.path.clone(),
            row_group: group,
            column: column.to_owned(),
            message: message.to_owned(),
        }
    }

    pub(crate) fn too_large(
        &self,
        row: &str,
        field: &str,
        size: u64,
        unit: &'static str,
        limit: u64,
        advice: &'static str,
    ) -> Error {
        Error::TooLarge {
            path: self.path.clone(),
            row: row.to_owned(),
            field: if field.is_empty() { unit } else { field }.into(),
            size,
            unit,
            limit,
            advice,
        }
    }

    fn flat<T: DataType>(
        &self,
        group: usize,
        column: usize,
        of: Type,
    ) -> Result<Vec<Option<T::T>>, Error> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let full = schema.column(column).max_def_level();
        let levels = self.levels::<T>(group, column, of, 0)?;
        let mut values = levels.values.into_iter();
        let rows: Vec<Option<T::T>> = if full == 0 {
            values.map(Some).collect()
        } else {
            let definition = levels.definition.iter();
            definition
                .map(|level| (*level == full).then(|| values.next()).flatten())
                .collect()
        };
        self.check_count(group, column, rows.len())?;
        Ok(rows)
    }

    fn check_count(&self, group: usize, column: usize, found: usize) -> Result<(), Error> {
        let rows = self.rows(group);
        if found == rows {
            return Ok(());
        }
        let name = self.column_name(column);
        let message = format!("has {found} of {rows} rows; the file is damaged");
        Err(self.fail(Some(group), &name, &message))
    }

    /// Reads a column of a row group, after its type and its pages were found acceptable.
    fn levels<T: DataType>(
        &self,
        group: usize,
        column: usize,
        of: Type,
        repetition: i16,
    ) -> Result<Levels<T::T>, Error> {
        let name = self.column_name(column);
        let fail = |message: String| self.fail(Some(group), &name, &message);
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let found = schema.column(column);
        if found.physical_type() != of || found.max_rep_level() != repetition {
            let list = |level| if level > 0 { "lists of " } else { "" };
            return Err(fail(format!(
                "holds {}{}, expected are {}{of}; name another column",
                list(found.max_rep_level()),
                found.physical_type(),
                list(repetition)
            )));
        }
        let columns = self.reader.metadata().row_group(group).columns();
        let chunk = columns.get(column).ok_or_else(|| {
            fail("is not in the row group, but in the schema; the file is damaged".into())
        })?;
        self.check_pages(chunk, repetition > 0).map_err(&fail)?;
        let rows = self.rows(group);
        let read = || -> Result<Levels<T::T>, ParquetError> {
            let group = self.reader.get_row_group(group)?;
            let mut reader = get_typed_column_reader::<T>(group.get_column_reader(column)?);
            let mut levels = Levels {
                definition: Vec::new(),
                repetition: Vec::new(),
                values: Vec::new(),
            };
            let mut done = 0;
            // One record more than there should be shows a count that is too small.
            while done <= rows {
                let (records, _, _) = reader.read_records(
                    BATCH.min(rows + 1 - done),
                    Some(&mut levels.definition),
                    Some(&mut levels.repetition),
                    &mut levels.values,
                )?;
                if records == 0 {
                    break;
                }
                done += records;
            }
            Ok(levels)
        };
        guarded(read).map_err(|message| fail(format!("cannot be read: {message}")))
    }

    /// Checks the compression of a column's part and the headers of its pages, which bound the
    /// memory that reading them takes, and counts the values of its data pages.
    fn check_pages(&self, chunk: &ColumnChunkMetaData, lists: bool) -> Result<u64, String> {
        let codec = chunk.compression();
        if !matches!(
            codec,
            Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_)
        ) {
            let name = format!("{codec}");
            let name = name.split('(').next().unwrap_or_default();
            return Err(format!(
                "is compressed by {name}; write the file again with snappy, zstd or none"
            ));
        }
        let start = chunk
            .dictionary_page_offset()
            .unwrap_or(chunk.data_page_offset());
        let place = u64::try_from(start).ok();
        let size = u64::try_from(chunk.compressed_size()).ok();
        let end = place.zip(size).and_then(|(a, b)| a.checked_add(b));
        let (Some(mut at), Some(end)) = (place, end.filter(|end| *end <= self.length)) else {
            let size = chunk.compressed_size();
            return Err(format!(
                "lies at byte {start} with {size} bytes, but the file has {}; is it whole?",
                self.length
            ));
        };
        let (mut total, mut values) = (0u64, 0u64);
        while at < end {
            let (header, length) = page_header(&self.file, at, end)?;
            check_page(&header, at, lists, self.limits.page_bytes)?;
            total = total.saturating_add(header.uncompressed);
            if !header.dictionary {
                values = values.saturating_add(header.values);
            }
            if total > self.limits.total_bytes {
                return Err(format!(
                    "takes more than {} bytes when decompressed; raise `limits.total_bytes`, if \
                     so many are meant",
                    self.limits.total_bytes
                ));
            }
            at += length as u64 + header.compressed;
        }
        match at == end {
            true => Ok(values),
            false => Err(format!("its last page goes on beyond byte {end}")),
        }
    }
}
