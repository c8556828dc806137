//! Preparing images: decoding, the paper's two resizes, and the whole way to patches, on one
//! thread.

use std::hint::black_box;
use std::io::Cursor;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use image::{ImageFormat, Rgb, RgbImage};
use visrl::core::ImageSource;
use visrl::vlm::processor::{
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

fn images(c: &mut Criterion) {
    let mut group = c.benchmark_group("images_640x480");
    group.throughput(Throughput::Elements(u64::from(SIZE.0 * SIZE.1)));
    let limits = Limits::default();
    for (name, format) in [
        ("decode_png", ImageFormat::Png),
        ("decode_jpeg", ImageFormat::Jpeg),
    ] {
        let source = encoded(format);
        group.bench_function(name, |b| {
            b.iter(|| Raster::open(black_box(&source), &limits).unwrap());
        });
    }
    let raster = Raster::open(&encoded(ImageFormat::Png), &limits).unwrap();
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
        let source = encoded(ImageFormat::Jpeg);
        group.bench_function(name, |b| {
            b.iter(|| processor.process(black_box(&source)).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, images);
criterion_main!(benches);
