use visrl_core::ImageSource;

use crate::dataset::Dataset;
use crate::error::Error;
use crate::split::Split;

/// Checks that every image that is a file exists, and counts them.
///
/// Adapters do not do this on their own: it asks the file system once per image.
///
/// # Errors
///
/// [`Error::Missing`] with the path of the first image that is not there; those of
/// [`Dataset::records`], though a split may be missing.
pub fn check_image_files(dataset: &dyn Dataset) -> Result<usize, Error> {
    let mut count = 0;
    for split in Split::ALL {
        for record in dataset.records_if_any(split)?.unwrap_or_default() {
            for image in std::iter::once(&record.image).chain(record.further_images()) {
                let ImageSource::Path(path) = image else {
                    continue;
                };
                if !path.is_file() {
                    let hint = format!("image of `{}` in {}", record.id, dataset.name());
                    return Err(Error::Missing {
                        path: path.to_path_buf(),
                        hint,
                    });
                }
                count += 1;
            }
        }
    }
    Ok(count)
}
