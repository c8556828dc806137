//! Data: split files and draws at the size of SUN397, and images through the processor.

use std::hint::black_box;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use image::codecs::jpeg::JpegEncoder;
use serde_json::json;
use visrl::core::ImageSource;
use visrl::data::{Classes, FewShot, base_new, read_split_file};
use visrl::image::{ImagePipeline, Qwen2VlProcessor, Qwen2VlProcessorConfig};
use visrl::vlm::Processor;

const CLASSES: usize = 397;
const ROWS: usize = 108_754;

/// A split file as long as SUN397 has images: half of them to train, a tenth to validate, the rest
/// to test.
fn split_file(folder: &Path) -> PathBuf {
    let mut splits = [Vec::new(), Vec::new(), Vec::new()];
    for row in 0..ROWS {
        let label = row * CLASSES / ROWS;
        let name = format!("class_number_{label}");
        let image = format!("{}/{name}/sun_{row:08x}abcdefgh.jpg", &name[..1]);
        let split = match row % 10 {
            0..5 => 0,
            5 => 1,
            _ => 2,
        };
        splits[split].push(json!([image, label, name]));
    }
    let [train, val, test] = splits;
    let path = folder.join("split.json");
    let text = json!({"train": train, "val": val, "test": test}).to_string();
    std::fs::write(&path, text).unwrap();
    path
}

fn splits(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let path = split_file(folder.path());
    let read = || read_split_file(&path, folder.path(), "sun397", "What?", CLASSES).unwrap();
    let data = read();
    let mut group = c.benchmark_group("splits_397_classes_108754_rows");
    group.sample_size(20);
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("read_split_file", |b| b.iter(read));
    let few = FewShot::new(16, 1);
    group.bench_function("few_shot_16", |b| {
        b.iter(|| few.draw(black_box(&data)).unwrap())
    });
    for (name, half) in [("base", Classes::Base), ("new", Classes::New)] {
        group.bench_function(name, |b| {
            b.iter(|| base_new(black_box(&data), half).unwrap())
        });
    }
    group.finish();
}

/// Photographs' size, 500 x 375, with waves and noise in them.
fn photos(count: u32) -> Vec<ImageSource> {
    let photo = |number: u32| {
        let pixels = image::RgbImage::from_fn(500, 375, |x, y| {
            let wave = |step: f32| (127.0 + 90.0 * (step * (x + number) as f32).sin()) as u8;
            let noise = (x * 31 + y * 17 + number).wrapping_mul(2_654_435_761) >> 28;
            image::Rgb([wave(0.02), wave(0.05) ^ noise as u8, (y % 256) as u8])
        });
        let mut bytes = Cursor::new(Vec::new());
        let encoder = JpegEncoder::new_with_quality(&mut bytes, 90);
        pixels.write_with_encoder(encoder).unwrap();
        ImageSource::Encoded {
            name: Arc::from(format!("photo {number}")),
            bytes: bytes.into_inner().into(),
        }
    };
    (0..count).map(photo).collect()
}

/// Decoding, resizing, normalizing and cutting into patches.
fn images(c: &mut Criterion) {
    let photos = photos(16);
    let mut group = c.benchmark_group("images_500x375_jpeg");
    group.sample_size(10);
    group.throughput(Throughput::Elements(photos.len() as u64));
    for (name, pipeline) in [
        ("plain", ImagePipeline::Plain),
        ("paper", ImagePipeline::default()),
        (
            "paper_evaluation",
            ImagePipeline::PaperEvaluation { size: 384 },
        ),
    ] {
        let config = Qwen2VlProcessorConfig {
            pipeline,
            ..Qwen2VlProcessorConfig::default()
        };
        let processor = Qwen2VlProcessor::new(config).unwrap();
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            group.bench_function(BenchmarkId::new(name, threads), |b| {
                b.iter(|| pool.install(|| processor.process_all(black_box(&photos)).unwrap()));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, splits, images);
criterion_main!(benches);
