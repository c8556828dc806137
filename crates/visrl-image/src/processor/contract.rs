//! What every processor gives.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use serde_json::Value;
use visrl_core::ImageSource;

use super::identity::Identity;
use super::processed_image::ProcessedImage;
use crate::error::Error;
use crate::pipeline::ImagePipeline;
use crate::raster::Raster;

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
    /// [`Error::File`] with the file.
    fn save(&self, dir: &Path) -> Result<(), Error>;

    /// The image as the model will see it: resized, and not yet normalized.
    ///
    /// # Errors
    /// As [`process`](Self::process); [`Error::Input`] of a processor that, as by default, shows no
    /// such image.
    fn preview(&self, image: &ImageSource) -> Result<Raster, Error> {
        let message = format!(
            "this processor does not show {} as it resizes it",
            image.name()
        );
        Err(Error::Input(message))
    }

    /// The same processor behind another pipeline, as for an evaluation that prepares its images
    /// otherwise than the training.
    ///
    /// # Errors
    /// [`Error::Input`] when the pipeline cannot be used, or the processor, as by default, has none.
    fn behind(&self, pipeline: ImagePipeline) -> Result<Arc<dyn Processor>, Error> {
        let message = format!("this processor has no pipelines, so {pipeline:?} cannot be used");
        Err(Error::Input(message))
    }

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
            .map(|image| match places.entry(Identity::of(image)) {
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
