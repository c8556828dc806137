use std::path::Path;

use crate::error::Error;
use crate::sources::labels::LabelIndex;
use crate::sources::parquet::note::class_names;
use crate::sources::parquet::table::ParquetTable;
use crate::sources::rows::config::RowsConfig;
use crate::sources::rows::parquet_rows::for_each_row;
use crate::sources::rows::reading::Reading;

/// Reads the rows of a parquet file. The note of the hub's library names the class numbers of the
/// column of labels.
pub(crate) fn read_parquet(
    config: &RowsConfig,
    reading: &mut Reading<'_>,
    path: &Path,
) -> Result<(), Error> {
    let table = ParquetTable::open(path, config.limits)?;
    if reading.numbered.is_none() && config.classes.is_none() && reading.rows() == 0 {
        let column = config.columns.answer.as_deref().unwrap_or("label");
        if let Some(names) = class_names(&table, column) {
            reading.labels = LabelIndex::numbered(path, &names)?;
            reading.numbered = Some(names);
        }
    }
    for_each_row(path, &table, |at, row| reading.row(at, &row))
}
