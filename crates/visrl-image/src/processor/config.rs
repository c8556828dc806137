//! The settings of Qwen2-VL's image processor.

use serde::{Deserialize, Serialize};

use super::patches::{Tables, value_tables};
use crate::decode::Limits;
use crate::pipeline::ImagePipeline;
use crate::raster::AlphaMode;
use crate::resample::Resample;

pub(super) const MAX_PATCH: usize = 1024;
pub(super) const MAX_MERGE: usize = 64;
const MAX_PIXELS: usize = 1 << 40;

/// The settings of [`Qwen2VlProcessor`](super::qwen2_vl::Qwen2VlProcessor).
///
/// Defaults are Qwen2-VL's with the paper's pixel bounds and pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Qwen2VlProcessorConfig {
    /// The fewest pixels of a resized image, where its shape allows.
    pub min_pixels: usize,
    /// The most pixels of a resized image.
    pub max_pixels: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Frames in a patch; an image fills them all.
    pub temporal_patch_size: usize,
    /// Patches along a side of the block that becomes one visual token.
    pub merge_size: usize,
    /// Whether images are resized; otherwise their sides must be multiples of
    /// `patch_size * merge_size`.
    pub do_resize: bool,
    /// The filter of the resize.
    pub resample: Resample,
    /// Whether samples are multiplied by `rescale_factor`.
    pub do_rescale: bool,
    /// What the samples, 0 to 255, are multiplied by.
    pub rescale_factor: f64,
    /// Whether `image_mean` is subtracted and `image_std` divided by.
    pub do_normalize: bool,
    /// Mean of red, green and blue, after rescaling.
    pub image_mean: [f64; 3],
    /// Standard deviation of red, green and blue, after rescaling.
    pub image_std: [f64; 3],
    /// What happens before the resize.
    pub pipeline: ImagePipeline,
    /// What happens to transparency.
    pub alpha: AlphaMode,
    /// What an image may cost.
    pub limits: Limits,
}

impl Default for Qwen2VlProcessorConfig {
    fn default() -> Self {
        Self {
            min_pixels: 56 * 56,
            max_pixels: 401_408,
            patch_size: 14,
            temporal_patch_size: 2,
            merge_size: 2,
            do_resize: true,
            resample: Resample::Bicubic,
            do_rescale: true,
            rescale_factor: 1.0 / 255.0,
            do_normalize: true,
            image_mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            image_std: [0.268_629_54, 0.261_302_58, 0.275_777_11],
            pipeline: ImagePipeline::default(),
            alpha: AlphaMode::default(),
            limits: Limits::default(),
        }
    }
}

impl Qwen2VlProcessorConfig {
    /// Checks the values: the field and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let sizes = [
            ("patch_size", self.patch_size, MAX_PATCH),
            ("temporal_patch_size", self.temporal_patch_size, MAX_MERGE),
            ("merge_size", self.merge_size, MAX_MERGE),
            ("min_pixels", self.min_pixels, MAX_PIXELS),
            ("max_pixels", self.max_pixels, MAX_PIXELS),
        ];
        for (field, value, most) in sizes {
            if value == 0 || value > most {
                return Err((field, format!("is {value}, expected 1 to {most}")));
            }
        }
        if self.min_pixels > self.max_pixels {
            let message = format!(
                "is {}, less than min_pixels {}; set both",
                self.max_pixels, self.min_pixels
            );
            return Err(("max_pixels", message));
        }
        if !(self.rescale_factor.is_finite() && self.rescale_factor > 0.0) {
            let message = format!("is {}, expected a positive number", self.rescale_factor);
            return Err(("rescale_factor", message));
        }
        if !self.image_mean.iter().all(|mean| mean.is_finite()) {
            return Err((
                "image_mean",
                format!("is {:?}, expected numbers", self.image_mean),
            ));
        }
        if !self
            .image_std
            .iter()
            .all(|&std| std.is_finite() && std as f32 > 0.0)
        {
            let message = format!("is {:?}, expected positive numbers", self.image_std);
            return Err(("image_std", message));
        }
        let tables = self.value_tables();
        if !tables.as_flattened().iter().all(|value| value.is_finite()) {
            let message = "together with image_mean and image_std gives values beyond 32 bits";
            return Err(("rescale_factor", message.into()));
        }
        self.pipeline
            .check()
            .map_err(|message| ("pipeline", message))
    }

    /// The normalized value of every 8-bit sample, by channel.
    pub(super) fn value_tables(&self) -> Tables {
        let scale = self.do_rescale.then_some(self.rescale_factor);
        let norm = self
            .do_normalize
            .then_some((self.image_mean, self.image_std));
        value_tables(scale, norm)
    }
}
