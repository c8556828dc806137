use std::path::Path;

use crate::error::Error;
use crate::memory::MemoryDataset;
use crate::sources::parquet::config::ParquetConfig;
#[cfg(feature = "parquet")]
use crate::sources::parquet::dataset::read_dataset;

impl ParquetConfig {
    /// Reads a parquet file, or all those of a folder. The data set is named like the file or the
    /// folder; a record's id is its split and number, such as `train[3]`.
    ///
    /// The encoded images are held in memory, so that a row group is decompressed once; their sum
    /// is limited by [`ParquetLimits::total_bytes`](crate::ParquetLimits::total_bytes). Pixels are
    /// decoded late, as always.
    ///
    /// # Errors
    ///
    /// [`Error::Feature`] without the feature `parquet` of this crate;
    /// [`Error::Missing`] or [`Error::File`]; [`Error::Parquet`] with file, row group and column for
    /// a damaged file, a missing column, one of another type, a text that is not UTF-8 and a
    /// compression or encoding that is not read; [`Error::TooLarge`] beyond one of the limits;
    /// [`Error::Row`] for a row without image or solution; [`Error::ImagePath`];
    /// [`Error::UnknownLabel`], [`Error::DuplicateClass`] and [`Error::LabelRange`] for solutions
    /// that do not fit the classes.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<MemoryDataset, Error> {
        read_dataset(self, path.as_ref())
    }
}

#[cfg(not(feature = "parquet"))]
fn read_dataset(_: &ParquetConfig, path: &Path) -> Result<MemoryDataset, Error> {
    Err(Error::without_parquet(path))
}
