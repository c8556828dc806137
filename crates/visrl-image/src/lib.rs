//! From images to what a vision tower reads: decoding, resizing, normalizing, cutting into patches.
//!
//! Every step is Pillow's and transformers', byte for byte, JPEG decoding included. Which steps are
//! made is a setting that a run can record: the paper's training resizes twice
//! ([`ImagePipeline::Paper`]), its evaluation three times ([`ImagePipeline::PaperEvaluation`]).
//!
//! ```
//! use visrl_core::ImageSource;
//! use visrl_image::{Processor, Qwen2VlProcessor, Qwen2VlProcessorConfig};
//!
//! let pixels = vec![128; 28 * 28];
//! let image =
//!     ImageSource::Gray { name: "grey".into(), width: 28, height: 28, pixels: pixels.into() };
//! let processor = Qwen2VlProcessor::new(Qwen2VlProcessorConfig::default())?;
//! let seen = processor.process(&image)?;
//! assert_eq!(seen.grid, [1, 28, 28]);
//! assert_eq!(seen.tokens(processor.merge_size()), 196);
//! # Ok::<(), visrl_image::Error>(())
//! ```

mod config;
mod decode;
mod error;
mod jpeg;
mod patches;
mod qwen2_vl;
mod raster;
mod resample;
mod smart_resize;
mod wide;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use serde_json::Value;
use visrl_core::ImageSource;

pub use config::{ImagePipeline, Qwen2VlProcessorConfig};
pub use decode::Limits;
pub use error::Error;
pub use qwen2_vl::Qwen2VlProcessor;
pub use raster::{AlphaMode, Mode, Raster};
pub use resample::Resample;
pub use smart_resize::smart_resize;

/// An image as a vision tower takes it.
#[derive(Clone, PartialEq)]
pub struct ProcessedImage {
    /// Normalized patches, `[patches, patch_dim]`.
    pub pixel_values: Vec<f32>,
    /// Values of a patch: channels x frames x patch height x patch width.
    pub patch_dim: usize,
    /// Time, height and width in patches.
    pub grid: [usize; 3],
}

impl ProcessedImage {
    /// An image of patches, `[grid[0] * grid[1] * grid[2], patch_dim]`; the width of a patch
    /// follows from the number of values.
    pub fn new(pixel_values: Vec<f32>, grid: [usize; 3]) -> Self {
        let patches = grid.iter().product::<usize>().max(1);
        Self {
            patch_dim: pixel_values.len() / patches,
            pixel_values,
            grid,
        }
    }

    /// The number of patches.
    pub fn patches(&self) -> usize {
        self.grid.iter().product()
    }

    /// The number of visual tokens when blocks of `merge` x `merge` patches become one.
    pub fn tokens(&self, merge: usize) -> usize {
        image_tokens(self.grid, merge)
    }
}

impl std::fmt::Debug for ProcessedImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            patch_dim, grid, ..
        } = self;
        write!(
            f,
            "ProcessedImage(grid {grid:?}, {patch_dim} values per patch)"
        )
    }
}

/// The number of visual tokens of a grid when blocks of `merge` x `merge` patches become one.
pub fn image_tokens(grid: [usize; 3], merge: usize) -> usize {
    grid.iter().product::<usize>() / (merge * merge).max(1)
}

/// Prepares images for a model.
///
/// # Adding a processor
/// Implement [`process`](Self::process), [`merge_size`](Self::merge_size),
/// [`settings`](Self::settings) and [`save`](Self::save); nothing else changes.
pub trait Processor: Send + Sync {
    /// Prepares one image.
    ///
    /// # Errors
    /// [`Error::Image`] with the image's name.
    fn process(&self, image: &ImageSource) -> Result<ProcessedImage, Error>;

    /// Patches along a side of the block that becomes one visual token.
    fn merge_size(&self) -> usize;

    /// The settings, for the record of a run.
    fn settings(&self) -> Value;

    /// Writes the processor's settings into a checkpoint folder.
    ///
    /// # Errors
    /// [`Error::Io`] with the file.
    fn save(&self, dir: &Path) -> Result<(), Error>;

    /// Prepares images on all cores, each distinct one once, and returns them in the given order.
    ///
    /// Images are the same when they share a path or the bytes in memory.
    ///
    /// # Errors
    /// The error of the first image, in the given order, that cannot be used.
    fn process_all(&self, images: &[ImageSource]) -> Result<Vec<Arc<ProcessedImage>>, Error> {
        let mut places = HashMap::new();
        let mut distinct = Vec::new();
        let order: Vec<usize> = images
            .iter()
            .map(|image| match places.entry(Key::of(image)) {
                Entry::Occupied(place) => *place.get(),
                Entry::Vacant(place) => {
                    distinct.push(image);
                    *place.insert(distinct.len() - 1)
                }
            })
            .collect();
        let processed: Vec<Result<Arc<ProcessedImage>, Error>> = distinct
            .into_par_iter()
            .map(|image| self.process(image).map(Arc::new))
            .collect();
        let processed = processed.into_iter().collect::<Result<Vec<_>, Error>>()?;
        Ok(order
            .into_iter()
            .map(|place| Arc::clone(&processed[place]))
            .collect())
    }
}

/// What makes two sources the same image.
#[derive(PartialEq, Eq, Hash)]
enum Key<'a> {
    Path(&'a Path),
    /// Address and length of the bytes, kind and size.
    Memory(*const u8, usize, u8, u32, u32),
}

impl<'a> Key<'a> {
    fn of(image: &'a ImageSource) -> Self {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counting {
        calls: AtomicUsize,
    }

    impl Processor for Counting {
        fn process(&self, image: &ImageSource) -> Result<ProcessedImage, Error> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let name = image.name();
            if name.starts_with("bad") {
                return Err(Error::Image {
                    name,
                    message: "bad".into(),
                });
            }
            Ok(ProcessedImage::new(vec![name.len() as f32], [1, 1, 1]))
        }

        fn merge_size(&self) -> usize {
            1
        }

        fn settings(&self) -> Value {
            Value::Null
        }

        fn save(&self, _: &Path) -> Result<(), Error> {
            Ok(())
        }
    }

    #[test]
    fn each_distinct_image_is_processed_once_and_order_is_kept() {
        let processor = Counting::default();
        let pixels: Arc<[u8]> = [1, 2].into();
        let gray = |width, height| ImageSource::Gray {
            name: "gray".into(),
            width,
            height,
            pixels: Arc::clone(&pixels),
        };
        let (a, bb) = (ImageSource::path("a"), ImageSource::path("bb"));
        let images = [
            a.clone(),
            bb,
            a.clone(),
            gray(1, 2),
            gray(2, 1),
            gray(1, 2),
            a,
        ];
        let out = processor.process_all(&images).unwrap();
        let values: Vec<f32> = out.iter().map(|image| image.pixel_values[0]).collect();
        assert_eq!(values, [1.0, 2.0, 1.0, 4.0, 4.0, 4.0, 1.0]);
        assert_eq!(processor.calls.load(Ordering::Relaxed), 4);
        assert!(Arc::ptr_eq(&out[0], &out[6]));
    }

    #[test]
    fn the_first_bad_image_is_named() {
        let images = ["a", "bad 1", "bad 2"].map(ImageSource::path);
        let message = Counting::default()
            .process_all(&images)
            .unwrap_err()
            .to_string();
        assert_eq!(message, "image bad 1: bad");
    }
}
