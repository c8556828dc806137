//! Writes small parquet files for the tests.
#![allow(dead_code)]

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// A column of values. Every column is optional; one within a group that is itself optional has a
/// deeper level of definition.
#[derive(Clone)]
pub(crate) enum Column {
    /// Texts or bytes, and the level at which one is there.
    Bytes(Vec<Option<Vec<u8>>>, i16),
    /// Whole numbers.
    Ints(Vec<Option<i64>>),
    /// Numbers.
    Doubles(Vec<Option<f64>>),
    /// Lists of texts.
    Lists(Vec<Vec<String>>),
}

impl Column {
    pub(crate) fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let texts = texts.into_iter();
        Self::Bytes(
            texts.map(|text| Some(text.as_bytes().to_vec())).collect(),
            1,
        )
    }

    /// A column of a structure, such as `image.bytes`.
    pub(crate) fn inside(values: impl IntoIterator<Item = Option<Vec<u8>>>) -> Self {
        Self::Bytes(values.into_iter().collect(), 2)
    }

    fn rows(&self, from: usize, to: usize) -> Self {
        match self {
            Self::Bytes(values, level) => Self::Bytes(values[from..to].to_vec(), *level),
            Self::Ints(values) => Self::Ints(values[from..to].to_vec()),
            Self::Doubles(values) => Self::Doubles(values[from..to].to_vec()),
            Self::Lists(values) => Self::Lists(values[from..to].to_vec()),
        }
    }
}

/// How a file is written.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) compression: Compression,
    pub(crate) version: WriterVersion,
    pub(crate) dictionary: bool,
    pub(crate) group_rows: usize,
    pub(crate) note: Option<String>,
}

impl Default for Form {
    fn default() -> Self {
        Self {
            compression: Compression::SNAPPY,
            version: WriterVersion::PARQUET_1_0,
            dictionary: true,
            group_rows: 5,
            note: None,
        }
    }
}

impl Form {
    /// All forms that are read.
    pub(crate) fn all() -> Vec<Self> {
        let compressions = [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::ZSTD(ZstdLevel::default()),
        ];
        let mut forms = Vec::new();
        for compression in compressions {
            for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
                for (dictionary, group_rows) in [(true, 5), (false, 100), (true, 1)] {
                    forms.push(Self {
                        compression,
                        version,
                        dictionary,
                        group_rows,
                        note: None,
                    });
                }
            }
        }
        forms
    }
}

pub(crate) const HUB: &str = "message schema {
    optional group image { optional binary bytes; optional binary path (UTF8); }
    optional binary problem (UTF8);
    optional binary solution (UTF8);
}";

/// Bytes that begin as a picture does.
pub(crate) fn picture(number: usize) -> Vec<u8> {
    [b"\x89PNG\r\n\x1a\n", &number.to_le_bytes()[..]].concat()
}

/// The columns of a data set as the paper's: so many rows, solutions in turn.
pub(crate) fn hub(rows: usize, solutions: &[&str]) -> Vec<Column> {
    let image = |i: usize| Some(picture(i));
    let path = |i: usize| Some(format!("{i}.png").into_bytes());
    vec![
        Column::inside((0..rows).map(image)),
        Column::inside((0..rows).map(path)),
        Column::texts((0..rows).map(|_| "Which fruit is in the photo?")),
        Column::texts((0..rows).map(|i| solutions[i % solutions.len()])),
    ]
}

pub(crate) fn write(path: &Path, schema: &str, columns: &[Column], form: &Form) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let note = |text: &String| vec![KeyValue::new("huggingface".into(), text.clone())];
    let properties = WriterProperties::builder()
        .set_compression(form.compression)
        .set_writer_version(form.version)
        .set_dictionary_enabled(form.dictionary)
        // Version 2 would else write texts in an encoding of its own.
        .set_encoding(parquet::basic::Encoding::PLAIN)
        .set_key_value_metadata(form.note.as_ref().map(note))
        .build();
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    let rows = match &columns[0] {
        Column::Bytes(values, _) => values.len(),
        Column::Ints(values) => values.len(),
        Column::Doubles(values) => values.len(),
        Column::Lists(values) => values.len(),
    };
    for from in (0..rows).step_by(form.group_rows) {
        let to = rows.min(from + form.group_rows);
        let mut group = writer.next_row_group().unwrap();
        for column in columns {
            let mut out = group.next_column().unwrap().unwrap();
            match column.rows(from, to) {
                Column::Bytes(values, level) => {
                    let levels: Vec<i16> = values
                        .iter()
                        .map(|value| if value.is_some() { level } else { level - 1 })
                        .collect();
                    let values: Vec<ByteArray> =
                        values.into_iter().flatten().map(ByteArray::from).collect();
                    out.typed::<ByteArrayType>()
                        .write_batch(&values, Some(&levels), None)
                        .unwrap();
                }
                Column::Ints(values) => {
                    let levels: Vec<i16> = values.iter().map(|v| i16::from(v.is_some())).collect();
                    let values: Vec<i64> = values.into_iter().flatten().collect();
                    out.typed::<Int64Type>()
                        .write_batch(&values, Some(&levels), None)
                        .unwrap();
                }
                Column::Doubles(values) => {
                    let levels: Vec<i16> = values.iter().map(|v| i16::from(v.is_some())).collect();
                    let values: Vec<f64> = values.into_iter().flatten().collect();
                    out.typed::<DoubleType>()
                        .write_batch(&values, Some(&levels), None)
                        .unwrap();
                }
                Column::Lists(lists) => {
                    let (mut definition, mut repetition) = (Vec::new(), Vec::new());
                    for list in &lists {
                        definition.extend(list.iter().map(|_| 3));
                        repetition.extend((0..list.len()).map(|i| i16::from(i > 0)));
                        if list.is_empty() {
                            definition.push(1);
                            repetition.push(0);
                        }
                    }
                    let values = lists.iter().flatten();
                    let values: Vec<ByteArray> =
                        values.map(|text| ByteArray::from(text.as_str())).collect();
                    out.typed::<ByteArrayType>()
                        .write_batch(&values, Some(&definition), Some(&repetition))
                        .unwrap();
                }
            }
            out.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
}
