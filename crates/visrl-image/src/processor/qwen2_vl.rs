//! Qwen2-VL's image processor.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use visrl_core::ImageSource;

use super::config::Qwen2VlProcessorConfig;
use super::contract::Processor;
use super::patches::{self, PatchLayout, Tables};
use super::processed_image::ProcessedImage;
use crate::error::Error;
use crate::pipeline::{ImagePipeline, smart_resize};
use crate::raster::{AlphaMode, Mode, Raster};

/// Decodes, resizes, normalizes and cuts images into patches as transformers' `Qwen2VLImageProcessor`
/// does with Pillow, after the steps of its [`ImagePipeline`].
#[derive(Clone, Debug)]
pub struct Qwen2VlProcessor {
    config: Qwen2VlProcessorConfig,
    tables: Box<Tables>,
}

impl Qwen2VlProcessor {
    /// A processor with these settings.
    ///
    /// # Errors
    /// [`Error::Input`] with the field that has an unfit value.
    pub fn new(config: Qwen2VlProcessorConfig) -> Result<Self, Error> {
        config
            .check()
            .map_err(|(field, message)| Error::Input(format!("processor: `{field}` {message}")))?;
        let tables = config.value_tables();
        Ok(Self {
            config,
            tables: Box::new(tables),
        })
    }

    /// The processor of a checkpoint folder; see [`Qwen2VlProcessorConfig::from_dir`].
    ///
    /// # Errors
    /// [`Error::File`] with the file and the field.
    pub fn from_dir(dir: &Path) -> Result<Self, Error> {
        Self::new(Qwen2VlProcessorConfig::from_dir(dir)?)
    }

    /// The settings.
    pub fn config(&self) -> &Qwen2VlProcessorConfig {
        &self.config
    }

    /// The same processor with other steps before its resize.
    ///
    /// # Errors
    /// [`Error::Input`] when the pipeline's size is 0 or more than 65,536.
    pub fn with_pipeline(self, pipeline: ImagePipeline) -> Result<Self, Error> {
        Self::new(Qwen2VlProcessorConfig {
            pipeline,
            ..self.config
        })
    }

    /// The resized image in mode L or RGB.
    fn resized(&self, image: &ImageSource) -> Result<Raster, Error> {
        let (config, name) = (&self.config, image.name());
        let raster = Raster::open(image, &config.limits)?;
        let raster = config
            .pipeline
            .run(&name, raster, config.alpha, &config.limits)?;
        let (height, width) = (raster.height(), raster.width());
        let factor = config.patch_size * config.merge_size;
        if config.do_resize {
            let fitted = smart_resize(height, width, factor, config.min_pixels, config.max_pixels)
                .map_err(|error| Error::image(&name, error.to_string()))?;
            config
                .limits
                .resize(&name, &raster, fitted, config.resample)
        } else if height.is_multiple_of(factor) && width.is_multiple_of(factor) {
            Ok(raster)
        } else {
            let message = format!(
                "{width}x{height} is not a multiple of {factor}, and `do_resize` is off; turn it \
                 on or resize the image"
            );
            Err(Error::image(&name, message))
        }
    }
}

impl Processor for Qwen2VlProcessor {
    fn settings(&self) -> Value {
        // Numbers, text and lists of them always have a JSON form.
        serde_json::to_value(&self.config).unwrap_or_default()
    }

    fn process(&self, image: &ImageSource) -> Result<ProcessedImage, Error> {
        let raster = self.resized(image)?;
        let config = &self.config;
        let layout = PatchLayout {
            patch: config.patch_size,
            temporal: config.temporal_patch_size,
            merge: config.merge_size,
        };
        let (width, height) = (raster.width(), raster.height());
        let channels = if raster.mode() == Mode::Rgb { 3 } else { 1 };
        let values = patches::cut(raster.data(), width, height, channels, layout, &self.tables);
        let grid = [1, height / config.patch_size, width / config.patch_size];
        Ok(ProcessedImage::new(values, grid))
    }

    fn merge_size(&self) -> usize {
        self.config.merge_size
    }

    /// In [`Mode::Rgb`].
    fn preview(&self, image: &ImageSource) -> Result<Raster, Error> {
        Ok(self.resized(image)?.to_rgb(AlphaMode::Drop))
    }

    fn save(&self, dir: &Path) -> Result<(), Error> {
        self.config.save(dir)
    }

    fn behind(&self, pipeline: ImagePipeline) -> Result<Arc<dyn Processor>, Error> {
        Ok(Arc::new(self.clone().with_pipeline(pipeline)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Limits;

    fn gray(width: u32, height: u32) -> ImageSource {
        let pixels: Vec<u8> = (0..width * height).map(|i| (i % 256) as u8).collect();
        ImageSource::Gray {
            name: "gray".into(),
            width,
            height,
            pixels: pixels.into(),
        }
    }

    #[test]
    fn the_paper_sees_196_tokens_whatever_the_shape() {
        let processor = Qwen2VlProcessor::new(Qwen2VlProcessorConfig::default()).unwrap();
        for (width, height) in [(28, 28), (100, 7), (1, 1)] {
            let image = processor.process(&gray(width, height)).unwrap();
            assert_eq!((image.grid, image.patch_dim), ([1, 28, 28], 1176));
            assert_eq!(image.tokens(processor.merge_size()), 196);
            assert_eq!(image.pixel_values.len(), 784 * 1176);
        }
    }

    #[test]
    fn grey_equals_its_rgb_copy() {
        let config = Qwen2VlProcessorConfig {
            pipeline: ImagePipeline::Plain,
            ..Default::default()
        };
        let processor = Qwen2VlProcessor::new(config).unwrap();
        let ImageSource::Gray {
            name,
            width,
            height,
            pixels,
        } = gray(61, 45)
        else {
            unreachable!()
        };
        let rgb: Vec<u8> = pixels.iter().flat_map(|&l| [l; 3]).collect();
        let rgb = ImageSource::Rgb {
            name,
            width,
            height,
            pixels: rgb.into(),
        };
        assert_eq!(
            processor.process(&rgb).unwrap(),
            processor.process(&gray(61, 45)).unwrap()
        );
        let preview = processor.preview(&gray(61, 45)).unwrap();
        assert_eq!(
            (preview.mode(), preview.width(), preview.height()),
            (Mode::Rgb, 56, 56)
        );
    }

    #[test]
    fn unfit_images_and_settings_are_refused() {
        let config = Qwen2VlProcessorConfig {
            pipeline: ImagePipeline::Plain,
            do_resize: false,
            ..Default::default()
        };
        let processor = Qwen2VlProcessor::new(config.clone()).unwrap();
        assert!(processor.process(&gray(56, 28)).is_ok());
        let message = processor.process(&gray(57, 28)).unwrap_err().to_string();
        assert!(
            message.contains("image gray: 57x28 is not a multiple of 28"),
            "{message}"
        );

        let config = Qwen2VlProcessorConfig {
            do_resize: true,
            ..config
        };
        let processor = Qwen2VlProcessor::new(config.clone()).unwrap();
        let message = processor.process(&gray(201, 1)).unwrap_err().to_string();
        assert!(message.contains("aspect ratio"), "{message}");

        // A small image that would be blown up beyond the limit.
        let limits = Limits {
            max_pixels: 100,
            ..Limits::default()
        };
        let small = Qwen2VlProcessor::new(Qwen2VlProcessorConfig { limits, ..config }).unwrap();
        assert!(small.process(&gray(2, 2)).is_err());

        assert!(
            small
                .with_pipeline(ImagePipeline::Paper { size: 0 })
                .is_err()
        );
    }
}
