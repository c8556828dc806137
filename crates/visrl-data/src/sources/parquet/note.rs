use std::collections::HashMap;

use serde::Deserialize;

use crate::sources::parquet::table::ParquetTable;

/// The note that the hub's library leaves in a parquet file; of a column of class numbers it holds
/// the names.
#[derive(Deserialize)]
struct Note {
    info: Info,
}

#[derive(Deserialize)]
struct Info {
    features: HashMap<String, serde_json::Value>,
}

/// The class names of a column of class numbers, if the file has them.
pub(crate) fn class_names(table: &ParquetTable, column: &str) -> Option<Vec<String>> {
    let note: Note = serde_json::from_str(table.note("huggingface")?).ok()?;
    let names = note.info.features.get(column)?.get("names")?;
    Vec::deserialize(names).ok()
}
