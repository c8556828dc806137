//! Which image sources are the same image.

use std::path::Path;

use visrl_core::ImageSource;

/// What makes two sources the same image.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum Identity<'a> {
    Path(&'a Path),
    /// Address and length of the bytes, kind and size.
    Memory(*const u8, usize, u8, u32, u32),
}

impl<'a> Identity<'a> {
    pub(super) fn of(image: &'a ImageSource) -> Self {
        let memory = |bytes: &[u8], kind, width, height| {
            Self::Memory(bytes.as_ptr(), bytes.len(), kind, width, height)
        };
        match image {
            ImageSource::Path(path) => Self::Path(path),
            ImageSource::Encoded { bytes, .. } => memory(bytes, 0, 0, 0),
            ImageSource::Gray {
                pixels,
                width,
                height,
                ..
            } => memory(pixels, 1, *width, *height),
            ImageSource::Rgb {
                pixels,
                width,
                height,
                ..
            } => memory(pixels, 2, *width, *height),
        }
    }
}
