use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the pixels of an image come from.
///
/// Cloning is cheap: an image is held once however many examples, prompts and groups point at it,
/// and it is decoded late, by the processor.
#[derive(Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// A file on disk, read when the image is decoded.
    Path(Arc<Path>),
    /// An encoded file (PNG, JPEG) in memory.
    Encoded {
        /// What to call the image in errors.
        name: Arc<str>,
        /// The file's bytes.
        bytes: Arc<[u8]>,
    },
    /// 8-bit grey values, row major, `width * height` bytes.
    Gray {
        /// What to call the image in errors.
        name: Arc<str>,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The grey values.
        pixels: Arc<[u8]>,
    },
    /// 8-bit RGB triples, row major, `width * height * 3` bytes.
    Rgb {
        /// What to call the image in errors.
        name: Arc<str>,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The interleaved RGB values.
        pixels: Arc<[u8]>,
    },
}

impl ImageSource {
    /// An image file on disk; nothing is read yet.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self::Path(Arc::from(path.into()))
    }

    /// What to call the image in messages: its path, or the name it was given.
    pub fn name(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Encoded { name, .. } | Self::Gray { name, .. } | Self::Rgb { name, .. } => {
                name.to_string()
            }
        }
    }
}

impl fmt::Debug for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageSource({})", self.name())
    }
}
