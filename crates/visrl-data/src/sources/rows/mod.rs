//! Rows of questions about images, in JSON or parquet, as training tools write them. A file is made
//! rows of [`value::Value`]s; a table of columns (or an entry of `dataset_info.json`) says what is
//! the question, the answer and so on; turns, parts and marks become one form, a record.

mod answers;
mod at;
mod columns;
mod config;
mod dataset_info;
mod file_list;
mod files;
mod json;
mod list;
mod marks;
mod numbers;
mod open;
#[cfg(feature = "parquet")]
mod parquet_file;
#[cfg(feature = "parquet")]
mod parquet_rows;
mod pictures;
mod placing;
mod reading;
mod told;
mod tool;
mod turns;
mod value;

pub(crate) use open::open_rows;
pub(crate) use reading::OnlyParquet;

pub use columns::ColumnNames;
pub use config::RowsConfig;
pub use tool::Tool;
