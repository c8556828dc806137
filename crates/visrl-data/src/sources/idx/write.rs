use std::io::Write;
use std::path::Path;

use flate2::{Compression, GzBuilder};
use visrl_core::files::write_file_with;

use crate::error::Error;
use crate::sources::idx::format::{IMAGES_MAGIC, LABELS_MAGIC};
use crate::sources::idx::images::IdxImages;

/// Writes a file of images; a name that ends in `.gz` is compressed, at gzip's best level.
///
/// Equal images give equal bytes: no time stamp and no file name go into the file. The file
/// appears whole or not at all.
///
/// # Errors
///
/// [`Error::Config`] when there are too many images for the format's 32-bit count, [`Error::File`].
pub fn write_idx_images(path: &Path, images: &IdxImages) -> Result<(), Error> {
    let sizes = [count(images.len())?, images.height(), images.width()];
    let header: Vec<u8> = [IMAGES_MAGIC]
        .iter()
        .chain(&sizes)
        .flat_map(|n| n.to_be_bytes())
        .collect();
    write(path, &[&header, images.pixels()])
}

/// Writes a file of labels, as [`write_idx_images`] does.
///
/// # Errors
///
/// Those of [`write_idx_images`].
pub fn write_idx_labels(path: &Path, labels: &[u8]) -> Result<(), Error> {
    let header = [
        LABELS_MAGIC.to_be_bytes(),
        count(labels.len())?.to_be_bytes(),
    ]
    .concat();
    write(path, &[&header, labels])
}

fn count(items: usize) -> Result<u32, Error> {
    u32::try_from(items).map_err(|_| Error::Config {
        field: "count",
        message: format!("{items} items do not fit in an IDX file, 2^32 - 1 do"),
    })
}

fn write(path: &Path, parts: &[&[u8]]) -> Result<(), Error> {
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    write_file_with(path, |file| {
        if !packed {
            return parts.iter().try_for_each(|part| file.write_all(part));
        }
        let mut encoder = GzBuilder::new().mtime(0).write(file, Compression::best());
        parts.iter().try_for_each(|part| encoder.write_all(part))?;
        encoder.finish().map(|_| ())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sources::idx::images::IdxLimits;
    use crate::sources::idx::read::{read_idx_images, read_idx_labels};

    #[test]
    fn what_is_written_reads_back_and_is_the_same_every_time() {
        let folder = tempfile::tempdir().unwrap();
        let images = IdxImages::new(3, 2, (0..60).collect()).unwrap();
        let labels: Vec<u8> = (0..10).collect();
        let limits = IdxLimits::default();
        for name in ["plain", "packed.gz"] {
            let path = folder.path().join(name);
            write_idx_images(&path, &images).unwrap();
            assert_eq!(read_idx_images(&path, &limits).unwrap(), images);
            let first = fs::read(&path).unwrap();
            write_idx_images(&path, &images).unwrap();
            assert_eq!(fs::read(&path).unwrap(), first);
            assert_eq!(first.starts_with(&[0x1f, 0x8b]), name.ends_with(".gz"));
            write_idx_labels(&path, &labels).unwrap();
            assert_eq!(read_idx_labels(&path, &limits).unwrap(), labels);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
