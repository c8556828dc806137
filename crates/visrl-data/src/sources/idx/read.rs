use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use visrl_core::files::FileError;

use crate::error::Error;
use crate::sources::idx::format::{IMAGES_MAGIC, LABELS_MAGIC};
use crate::sources::idx::images::{IdxImages, IdxLimits};

/// Reads a file of images (magic number 2051), plain or gzip.
///
/// # Errors
///
/// [`Error::Missing`] or [`Error::File`]; [`Error::IdxMagic`], [`Error::IdxSize`],
/// [`Error::IdxTruncated`] and [`Error::IdxTrailing`] with the field that is wrong.
pub fn read_idx_images(path: &Path, limits: &IdxLimits) -> Result<IdxImages, Error> {
    parse_images(open(path)?, path, limits)
}

/// Reads a file of labels (magic number 2049), plain or gzip.
///
/// # Errors
///
/// Those of [`read_idx_images`].
pub fn read_idx_labels(path: &Path, limits: &IdxLimits) -> Result<Vec<u8>, Error> {
    parse_labels(open(path)?, path, limits)
}

fn open(path: &Path) -> Result<BufReader<File>, Error> {
    let file = File::open(path).map_err(Error::io(path, "an IDX file is expected here"))?;
    Ok(BufReader::new(file))
}

fn parse_images(
    source: impl io::BufRead,
    path: &Path,
    limits: &IdxLimits,
) -> Result<IdxImages, Error> {
    let mut file = IdxReader::new(source, path)?;
    file.magic(IMAGES_MAGIC)?;
    let count = file.size("count", limits.items)?;
    let height = file.size("rows", limits.side.min(u64::from(u32::MAX)))?;
    let width = file.size("columns", limits.side.min(u64::from(u32::MAX)))?;
    let product = u128::from(count) * u128::from(height) * u128::from(width);
    let bytes = u64::try_from(product).unwrap_or(u64::MAX);
    if bytes > limits.bytes {
        let path = path.to_path_buf();
        return Err(Error::IdxSize {
            path,
            field: "pixels",
            value: bytes,
            limit: limits.bytes,
        });
    }
    let pixels = file.data("pixels", bytes)?;
    IdxImages::new(width as u32, height as u32, pixels)
}

fn parse_labels(
    source: impl io::BufRead,
    path: &Path,
    limits: &IdxLimits,
) -> Result<Vec<u8>, Error> {
    let mut file = IdxReader::new(source, path)?;
    file.magic(LABELS_MAGIC)?;
    let count = file.size("count", limits.items)?;
    file.data("labels", count)
}

/// Reads fields in turn and says which one fails.
struct IdxReader<'a, R: io::BufRead> {
    source: Source<R>,
    path: &'a Path,
}

enum Source<R> {
    Plain(R),
    Gzip(MultiGzDecoder<R>),
}

impl<R: io::BufRead> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(source) => source.read(buffer),
            Self::Gzip(source) => source.read(buffer),
        }
    }
}

impl<'a, R: io::BufRead> IdxReader<'a, R> {
    /// An IDX file starts with two zero bytes, a gzip file with 0x1f 0x8b.
    fn new(mut source: R, path: &'a Path) -> Result<Self, Error> {
        let start = source
            .fill_buf()
            .map_err(|source| FileError::io(path, source))?
            .first()
            .copied();
        let source = match start {
            Some(0x1f) => Source::Gzip(MultiGzDecoder::new(source)),
            _ => Source::Plain(source),
        };
        Ok(Self { source, path })
    }

    /// Reads up to `limit` bytes; memory grows with what is there, not with what is promised.
    fn read(&mut self, field: &'static str, limit: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        match (&mut self.source).take(limit).read_to_end(&mut bytes) {
            Ok(_) => {}
            // What gzip says when its file is cut.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(source) => {
                let message = format!("field `{field}`: {source}");
                let source = io::Error::new(source.kind(), message);
                return Err(FileError::io(self.path, source).into());
            }
        }
        if (bytes.len() as u64) < limit {
            let found = bytes.len() as u64;
            let path = self.path.to_path_buf();
            return Err(Error::IdxTruncated {
                path,
                field,
                expected: limit,
                found,
            });
        }
        Ok(bytes)
    }

    fn number(&mut self, field: &'static str) -> Result<u32, Error> {
        let bytes = self.read(field, 4)?;
        Ok(bytes
            .iter()
            .fold(0, |number, &byte| (number << 8) | u32::from(byte)))
    }

    fn magic(&mut self, expected: u32) -> Result<(), Error> {
        let found = self.number("magic")?;
        if found == expected {
            return Ok(());
        }
        Err(Error::IdxMagic {
            path: self.path.to_path_buf(),
            found,
            expected,
        })
    }

    fn size(&mut self, field: &'static str, limit: u64) -> Result<u64, Error> {
        let value = u64::from(self.number(field)?);
        if (1..=limit).contains(&value) {
            return Ok(value);
        }
        Err(Error::IdxSize {
            path: self.path.to_path_buf(),
            field,
            value,
            limit,
        })
    }

    /// The rest of the file, which must be exactly so long. Looking for one byte more also makes
    /// gzip compare its checksum.
    fn data(&mut self, field: &'static str, expected: u64) -> Result<Vec<u8>, Error> {
        let bytes = self.read(field, expected)?;
        let path = || self.path.to_path_buf();
        match self.source.read(&mut [0]) {
            Ok(0) => Ok(bytes),
            Ok(_) => Err(Error::IdxTrailing {
                path: path(),
                field,
                expected,
            }),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                // All bytes came, but not the end mark and the checksum.
                Err(Error::IdxTruncated {
                    path: path(),
                    field: "gzip checksum",
                    expected: 8,
                    found: 0,
                })
            }
            Err(source) => Err(FileError::io(self.path, source).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn images_file(sizes: [u32; 3], pixels: &[u8]) -> Vec<u8> {
        let mut bytes = IMAGES_MAGIC.to_be_bytes().to_vec();
        sizes
            .iter()
            .for_each(|size| bytes.extend(size.to_be_bytes()));
        bytes.extend(pixels);
        bytes
    }

    fn labels_file(count: u32, labels: &[u8]) -> Vec<u8> {
        [&LABELS_MAGIC.to_be_bytes(), &count.to_be_bytes(), labels].concat()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn images(bytes: &[u8]) -> Result<IdxImages, Error> {
        parse_images(bytes, Path::new("images.idx"), &IdxLimits::default())
    }

    fn labels(bytes: &[u8]) -> Result<Vec<u8>, Error> {
        parse_labels(bytes, Path::new("labels.idx"), &IdxLimits::default())
    }

    #[test]
    fn plain_and_compressed_files_read_alike() {
        let file = images_file([2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let read = images(&file).unwrap();
        assert_eq!((read.len(), read.width(), read.height()), (2, 3, 2));
        assert_eq!(read.iter().nth(1).unwrap(), [7, 8, 9, 10, 11, 12]);
        assert_eq!(images(&gzip(&file)).unwrap(), read);
        assert_eq!(
            labels(&gzip(&labels_file(3, &[2, 0, 1]))).unwrap(),
            [2, 0, 1]
        );
    }

    #[test]
    fn each_fault_names_its_field() {
        let message = |error: Error| error.to_string();
        assert_eq!(
            message(images(&labels_file(1, &[0])).unwrap_err()),
            "images.idx: field `magic`: found 0x00000801, expected 0x00000803"
        );
        assert_eq!(
            message(images(&images_file([2, 1, 2], &[1, 2, 3])).unwrap_err()),
            "images.idx: field `pixels`: truncated, 3 of 4 bytes are there"
        );
        assert_eq!(
            message(images(&images_file([2, 1, 1], &[])[..14]).unwrap_err()),
            "images.idx: field `columns`: truncated, 2 of 4 bytes are there"
        );
        assert_eq!(
            message(labels(&labels_file(1, &[0, 0])).unwrap_err()),
            "labels.idx: field `labels`: more data than the 1 bytes of the header"
        );
        assert_eq!(
            message(images(&images_file([1, 0, 4], &[])).unwrap_err()),
            "images.idx: field `rows`: 0 is not in 1..=16384"
        );
        assert!(matches!(
            labels(&[]),
            Err(Error::IdxTruncated {
                field: "magic",
                found: 0,
                ..
            })
        ));
    }

    #[test]
    fn a_header_that_promises_too_much_is_refused_before_reading() {
        let huge = images_file([9_000_000, 16_384, 16_384], &[]);
        assert!(matches!(
            images(&huge),
            Err(Error::IdxSize {
                field: "pixels",
                ..
            })
        ));
        let many = labels_file(u32::MAX, &[]);
        assert!(matches!(
            labels(&many),
            Err(Error::IdxSize { field: "count", .. })
        ));
    }

    #[test]
    fn a_cut_or_damaged_gzip_file_is_an_error() {
        let whole = gzip(&labels_file(300, &[7; 300]));
        assert!(labels(&whole).is_ok());
        for end in 0..whole.len() {
            assert!(labels(&whole[..end]).is_err(), "cut at {end}");
        }
        let mut checksum = whole.clone();
        let at = whole.len() - 6;
        checksum[at] ^= 1;
        assert!(labels(&checksum).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_value_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..200), magic in 0u8..4,
        ) {
            let header: &[u8] = match magic {
                0 => &[0, 0, 8, 1],
                1 => &[0, 0, 8, 3],
                2 => &[0x1f, 0x8b, 8, 0],
                _ => &[],
            };
            let file = [header, &bytes].concat();
            let limits = IdxLimits { items: 1 << 20, side: 1 << 10, bytes: 1 << 20 };
            let path = Path::new("x");
            if let Ok(read) = parse_images(&file[..], path, &limits) {
                prop_assert_eq!(read.len() * read.width() as usize * read.height() as usize,
                    read.pixels().len());
            }
            let _ = parse_labels(&file[..], path, &limits);
        }

        #[test]
        fn a_changed_byte_is_found_or_changes_only_pixels(
            n in 1u32..5, rows in 1u32..5, columns in 1u32..5, compress: bool,
            at in any::<prop::sample::Index>(), flip in 1u8..=255,
        ) {
            let pixels: Vec<u8> = (0..(n * rows * columns) as usize).map(|i| i as u8).collect();
            let plain = images_file([n, rows, columns], &pixels);
            let mut file = if compress { gzip(&plain) } else { plain };
            let at = at.index(file.len());
            file[at] ^= flip;
            if let Ok(read) = images(&file) {
                // Exchanged sizes give the same number of bytes; nothing else may pass.
                prop_assert_eq!(read.pixels().len(), pixels.len());
            }
        }
    }
}
