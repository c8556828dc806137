//! Preparing images: decoding, the paper's two resizes, and the whole way to patches, on one
//! thread.

use std::hint::black_box;
use std::io::Cursor;

use criterion::{Criterion, criterion_group, criterion_main};
use image::{ImageFormat, Rgb, RgbImage};
use visrl::core::ImageSource;
use visrl::image::{
    ImagePipeline, Limits, Processor, Qwen2VlProcessor, Qwen2VlProcessorConfig, Raster, Resample,
};

const SIZE: (u32, u32) = (640, 480);

/// A photograph's statistics, roughly: smooth shapes with some noise.
fn picture() -> RgbImage {
    let mut state = 1u32;
    RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| {
        let wave = |fx: f32, fy: f32| ((x as f32 * fx).sin() + (y as f32 * fy).cos()) * 50.0;
        Rgb(
            [wave(0.02, 0.03), wave(0.05, 0.01), wave(0.01, 0.02)].map(|value| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (128.0 + value + (state >> 28) as f32) as u8
            }),
        )
    })
}

fn encoded(format: ImageFormat) -> ImageSource {
    let mut bytes = Cursor::new(Vec::new());
    picture().write_to(&mut bytes, format).unwrap();
    ImageSource::Encoded {
        name: "picture".into(),
        bytes: bytes.into_inner().into(),
    }
}

/// The generated picture as PNG and JPEG, or the files of the folder `VISRL_BENCH_IMAGES`, to compare
/// with what other programs make of them.
fn sources() -> Vec<(String, ImageSource)> {
    let Some(folder) = std::env::var_os("VISRL_BENCH_IMAGES") else {
        let formats = [("png", ImageFormat::Png), ("jpeg", ImageFormat::Jpeg)];
        return formats
            .map(|(name, format)| (name.to_owned(), encoded(format)))
            .into();
    };
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let source = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(path).unwrap().into();
        let source = ImageSource::Encoded {
            name: name.as_str().into(),
            bytes,
        };
        (name, source)
    };
    paths.into_iter().map(source).collect()
}

fn images(c: &mut Criterion) {
    let mut group = c.benchmark_group("images");
    let limits = Limits::default();
    let sources = sources();
    for (name, source) in &sources {
        group.bench_function(format!("decode_{name}"), |b| {
            b.iter(|| Raster::open(black_box(source), &limits).unwrap());
        });
    }
    let Some((_, source)) = sources.last() else {
        return;
    };
    let raster = Raster::open(source, &limits).unwrap();
    let small = raster.resize(384, 384, Resample::Lanczos);
    group.bench_function("lanczos_384", |b| {
        b.iter(|| black_box(&raster).resize(384, 384, Resample::Lanczos));
    });
    group.bench_function("bicubic_392_of_384", |b| {
        b.iter(|| black_box(&small).resize(392, 392, Resample::Bicubic));
    });
    for (name, pipeline) in [
        ("process_plain", ImagePipeline::Plain),
        ("process_paper", ImagePipeline::default()),
    ] {
        let config = Qwen2VlProcessorConfig {
            pipeline,
            ..Qwen2VlProcessorConfig::default()
        };
        let processor = Qwen2VlProcessor::new(config).unwrap();
        group.bench_function(name, |b| {
            b.iter(|| processor.process(black_box(source)).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, images);
criterion_main!(benches);
