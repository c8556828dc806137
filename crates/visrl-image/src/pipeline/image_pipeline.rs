//! What happens to an image before the processor's own resize.

use serde::{Deserialize, Serialize};

use super::smart_resize::loader_resize;
use crate::decode::Limits;
use crate::error::Error;
use crate::raster::{AlphaMode, Raster};
use crate::resample::Resample;

/// The largest side of a pipeline's own resize, in pixels.
const MAX_SIDE: usize = 1 << 16;

/// What happens to an image before the processor's own resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ImagePipeline {
    /// Nothing: the image as it is.
    Plain,
    /// The paper's training: Lanczos to `size` x `size` in the image's own mode, whatever its
    /// shape, and only then RGB.
    Paper {
        /// The side in pixels: 384 in the paper's code.
        size: usize,
    },
    /// The paper's evaluation: RGB (of RGBA on white, whatever [`AlphaMode`] is set), bicubic to the
    /// size that Qwen's image loader picks (multiples of 28 up to 16,384 visual tokens), and then
    /// Lanczos to `size` x `size`.
    PaperEvaluation {
        /// The side in pixels: 384 in the paper's code.
        size: usize,
    },
}

impl Default for ImagePipeline {
    /// The paper's training pipeline at 384 pixels.
    fn default() -> Self {
        Self::Paper { size: 384 }
    }
}

impl ImagePipeline {
    /// What is wrong with the settings.
    pub(crate) fn check(self) -> Result<(), String> {
        let side = match self {
            Self::Plain => return Ok(()),
            Self::Paper { size } | Self::PaperEvaluation { size } => size,
        };
        if side == 0 || side > MAX_SIDE {
            return Err(format!("has size {side}, expected 1 to {MAX_SIDE}"));
        }
        Ok(())
    }

    /// Runs the steps on an image of this name; the result is in mode L or RGB.
    ///
    /// # Errors
    /// [`Error::Image`] when a resize goes beyond the limits, or the shape is one that Qwen's image
    /// loader refuses.
    pub(crate) fn run(
        self,
        name: &str,
        raster: Raster,
        alpha: AlphaMode,
        limits: &Limits,
    ) -> Result<Raster, Error> {
        match self {
            Self::Plain => Ok(raster.into_opaque(alpha)),
            Self::Paper { size } => {
                let raster = limits.resize(name, &raster, (size, size), Resample::Lanczos)?;
                Ok(raster.into_opaque(alpha))
            }
            Self::PaperEvaluation { size } => {
                let raster = raster.into_pasted();
                let loaded = loader_resize(raster.height(), raster.width())
                    .map_err(|error| Error::image(name, error.to_string()))?;
                let raster = limits.resize(name, &raster, loaded, Resample::Bicubic)?;
                limits.resize(name, &raster, (size, size), Resample::Lanczos)
            }
        }
    }
}
