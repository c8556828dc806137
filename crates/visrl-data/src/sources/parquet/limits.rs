use serde::{Deserialize, Serialize};

/// What a parquet file may hold at most. A page that promises more is refused before it is
/// decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParquetLimits {
    /// The most rows of a file.
    pub rows: u64,
    /// The most bytes of one encoded image.
    pub image_bytes: u64,
    /// The most bytes of one page after decompression. Writers put up to a thousand images in one.
    pub page_bytes: u64,
    /// The most bytes of all images together, which are held in memory.
    pub total_bytes: u64,
}

impl Default for ParquetLimits {
    fn default() -> Self {
        Self {
            rows: 10_000_000,
            image_bytes: 64 << 20,
            page_bytes: 512 << 20,
            total_bytes: 4 << 30,
        }
    }
}
