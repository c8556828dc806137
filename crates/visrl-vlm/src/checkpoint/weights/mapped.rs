//! A file in memory whose pages are given back when they have been read.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::error::Error;

/// A mapped file.
#[derive(Debug)]
pub(super) struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

impl MappedFile {
    pub(super) fn open(path: PathBuf) -> Result<Self, Error> {
        let file = File::open(&path).map_err(|source| Error::io(&path, source))?;
        // SAFETY: the map is read-only; a checkpoint that another process shortens while it is
        // being loaded is outside what a reader can defend against.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(|source| Error::io(&path, source))?;
        Ok(Self { path, map })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Tells the system that these bytes will be read next, in whatever order, and then those that
    /// follow: it fetches them from the disk one after another.
    #[cfg(unix)]
    pub(super) fn announce(&self, range: Range<usize>) {
        use memmap2::Advice;
        const AHEAD: usize = 32 << 20;
        let len = (range.end + AHEAD).min(self.map.len()) - range.start;
        if let Err(error) = self.map.advise_range(Advice::WillNeed, range.start, len) {
            // It only costs time.
            tracing::debug!(path = %self.path.display(), %error, "pages were not fetched ahead");
        }
    }

    #[cfg(not(unix))]
    pub(super) fn announce(&self, _: Range<usize>) {}

    /// Tells the system that these bytes will not be needed soon: they no longer count as the
    /// process's memory. They can be read again, at the cost of another look at the file.
    #[cfg(unix)]
    pub(super) fn release(&self, range: Range<usize>) {
        use memmap2::UncheckedAdvice;
        let len = range.len();
        // SAFETY: the map is shared, file-backed and never written to, so pages that are dropped
        // come back with the same bytes when they are read again; references into them stay valid.
        #[allow(unsafe_code)]
        let advised = unsafe {
            self.map
                .unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, len)
        };
        if let Err(error) = advised {
            // It only costs memory.
            tracing::debug!(path = %self.path.display(), %error, "pages were not released");
        }
    }

    #[cfg(not(unix))]
    pub(super) fn release(&self, _: Range<usize>) {}
}
