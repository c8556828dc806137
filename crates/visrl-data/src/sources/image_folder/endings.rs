use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The endings of pictures that can be decoded.
#[cfg(feature = "formats")]
pub(crate) const READ: [&str; 11] = [
    "png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "dib", "tif", "tiff", "gif",
];

/// The endings of pictures that can be decoded.
#[cfg(not(feature = "formats"))]
pub(crate) const READ: [&str; 5] = ["png", "jpg", "jpeg", "jpe", "jfif"];

/// The endings of other pictures.
const OTHER: [&str; 31] = [
    "apng", "arw", "avif", "bmp", "cr2", "cr3", "dib", "dng", "eps", "exr", "gif", "heic", "heif",
    "hdr", "ico", "j2k", "jp2", "jxl", "mpo", "nef", "pbm", "pcx", "pgm", "pnm", "ppm", "psd",
    "svg", "tga", "tif", "tiff", "webp",
];

/// What a file's name says of it.
pub(super) enum FileKind {
    /// A picture that is read.
    Read,
    /// A picture that is not, with its ending, or nothing where it has none.
    Other(String),
    /// No picture.
    No,
}

impl FileKind {
    /// Judges by the ending; a file without one by its first bytes.
    pub(super) fn of(path: &Path, name: &str, extensions: &[String]) -> Self {
        let ending = match name.rsplit_once('.') {
            Some((_, ending)) => ending.to_lowercase(),
            None => String::new(),
        };
        if extensions.contains(&ending) {
            return Self::Read;
        }
        let is_picture = match ending.as_str() {
            "" => begins_as_picture(path),
            ending => OTHER.contains(&ending) || READ.contains(&ending),
        };
        match is_picture {
            true => Self::Other(ending),
            false => Self::No,
        }
    }
}

/// Whether a file begins as PNG, JPEG, GIF or WebP do.
fn begins_as_picture(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(12).read_to_end(&mut start));
    let starts: [&[u8]; 4] = [b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF"];
    read.is_ok() && starts.iter().any(|begin| start.starts_with(begin))
}
