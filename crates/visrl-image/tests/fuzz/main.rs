//! Damaged PNG and JPEG files of several kinds: each gives a typed error or an image, without a
//! panic and without more memory than the limits allow; see [`visrl_testing::fuzz`].

use std::path::Path;

use visrl_core::ImageSource;
use visrl_image::{
    ImagePipeline, Limits, Processor, Qwen2VlProcessor, Qwen2VlProcessorConfig, Raster,
};
use visrl_testing::fuzz::memory::Counting;
use visrl_testing::fuzz::mutate::{self, Rng};
use visrl_testing::fuzz::{MIB, group};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A side of the images is at most 65,535 and a JPEG file may ask for whole blocks of 32 x 32
/// pixels, so that even a thin image costs some MiB; beyond that memory follows the pixels.
const MAX_PIXELS: usize = 1 << 18;
const LIMIT: usize = 32 * MIB + 16 * MAX_PIXELS;

fn files(ending: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/data");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    paths.sort();
    assert!(paths.len() >= 7, "{paths:?}");
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

struct Decoder {
    limits: Limits,
    processor: Qwen2VlProcessor,
}

impl Decoder {
    fn new() -> Self {
        let limits = Limits {
            max_pixels: MAX_PIXELS as u64,
            max_bytes: 1 << 20,
        };
        let config = Qwen2VlProcessorConfig {
            pipeline: ImagePipeline::Plain,
            max_pixels: 56 * 84,
            limits,
            ..Qwen2VlProcessorConfig::default()
        };
        Self {
            limits,
            processor: Qwen2VlProcessor::new(config).unwrap(),
        }
    }

    /// Decodes, and sometimes goes on to what the model reads.
    fn accepts(&self, rng: &mut Rng, bytes: &[u8]) -> bool {
        let source = ImageSource::Encoded {
            name: "x".into(),
            bytes: bytes.into(),
        };
        let raster = match Raster::open(&source, &self.limits) {
            Ok(raster) => raster,
            Err(error) => {
                assert!(error.to_string().starts_with("image x: "), "{error}");
                return false;
            }
        };
        let pixels = raster.width() * raster.height();
        assert!(pixels > 0 && pixels <= MAX_PIXELS);
        assert_eq!(raster.data().len(), pixels * raster.mode().bytes());
        if rng.one_in(8)
            && let Ok(seen) = self.processor.process(&source)
        {
            let patches: usize = seen.grid.iter().product();
            assert_eq!(seen.pixel_values.len(), patches * seen.patch_dim);
            assert!(seen.pixel_values.iter().all(|value| value.is_finite()));
        }
        true
    }
}

/// The check value of a PNG chunk.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
        })
    })
}

/// Chunks of a PNG file: kind and content.
fn chunks(file: &[u8]) -> Vec<([u8; 4], Vec<u8>)> {
    let mut rest = &file[8..];
    let mut out = Vec::new();
    while let [a, b, c, d, tail @ ..] = rest {
        let len = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let kind = *tail.first_chunk().unwrap();
        out.push((kind, tail[4..4 + len].to_vec()));
        rest = &tail[8 + len..];
    }
    out
}

fn join(chunks: &[([u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, content) in chunks {
        out.extend((content.len() as u32).to_be_bytes());
        let checked = [&kind[..], content].concat();
        out.extend(&checked);
        out.extend(crc(&checked).to_be_bytes());
    }
    out
}

/// Damage under right check values, so that it is not found by them.
fn bend_png(rng: &mut Rng, file: &[u8]) -> Vec<u8> {
    let mut all = chunks(file);
    for _ in 0..1 + rng.below(2) {
        let at = rng.below(all.len());
        match rng.below(5) {
            0 => {
                // Size, depth, colour, compression, filter, interlace.
                let header = &mut all[0].1;
                let at = rng.below(header.len());
                if let Some(byte) = header.get_mut(at) {
                    *byte = *rng.pick(&[0, 1, 2, 3, 4, 6, 8, 16, 35, 127, 255]);
                }
            }
            1 => mutate::bytes(rng, &mut all[at].1),
            2 => drop(all.remove(at)),
            3 => {
                let copy = all[at].clone();
                let to = rng.below(all.len());
                all.insert(to, copy);
            }
            _ => all[at].0 = **rng.pick(&[b"IDAT", b"PLTE", b"tRNS", b"IEND", b"acTL", b"fdAT"]),
        }
        if all.is_empty() {
            break;
        }
    }
    join(&all)
}

#[test]
fn png_files() {
    let (files, decoder) = (files("png"), Decoder::new());
    for file in &files {
        assert!(join(&chunks(file)) == *file);
        assert!(decoder.accepts(&mut Rng::new(0, 0), file));
    }
    group("PNG", LIMIT, |rng| {
        let file = rng.pick(&files);
        let mut bytes = file.clone();
        match rng.below(3) {
            0 => mutate::bytes(rng, &mut bytes),
            _ => bytes = bend_png(rng, file),
        }
        decoder.accepts(rng, &bytes)
    });
}

/// Changes a frame's size, sampling or tables, or the kind of a segment.
fn bend_jpeg(rng: &mut Rng, bytes: &mut [u8]) {
    let frame = bytes
        .array_windows()
        .position(|pair| matches!(pair, [0xff, 0xc0..=0xc2]));
    let Some(frame) = frame else { return };
    let (from, len) = if rng.one_in(2) {
        (frame, 19)
    } else {
        (0, bytes.len())
    };
    for _ in 0..1 + rng.below(3) {
        let at = (from + rng.below(len)).min(bytes.len() - 1);
        bytes[at] = *rng.pick(&[
            0, 1, 2, 3, 4, 0x11, 0x14, 0x22, 0x41, 0x44, 0xc0, 0xc2, 0xff,
        ]);
    }
}

#[test]
fn jpeg_files() {
    let (files, decoder) = (files("jpg"), Decoder::new());
    for file in &files {
        assert!(decoder.accepts(&mut Rng::new(0, 0), file));
    }
    group("JPEG", LIMIT, |rng| {
        let mut bytes = rng.pick(&files).clone();
        match rng.below(3) {
            0 => mutate::bytes(rng, &mut bytes),
            1 => bend_jpeg(rng, &mut bytes),
            _ => {
                // Flips in the compressed data alone.
                let scan = bytes.array_windows().position(|pair| *pair == [0xff, 0xda]);
                let scan = scan.unwrap() + 14;
                for _ in 0..1 + rng.below(4) {
                    let at = scan + rng.below(bytes.len() - scan);
                    bytes[at] ^= 1 << rng.below(8);
                }
            }
        }
        decoder.accepts(rng, &bytes)
    });
}

#[test]
fn sizes_beyond_the_limits_cost_nothing() {
    let decoder = Decoder::new();
    let (png, jpeg) = (files("png"), files("jpg"));
    let tiny = Limits {
        max_pixels: 1,
        ..Limits::default()
    };
    group("dimension bombs", MIB, |rng| {
        let side = |rng: &mut Rng| (513 + rng.below(65_535 - 513)) as u32;
        let (width, height) = (side(rng), side(rng));
        let bytes = if rng.one_in(2) {
            let mut all = chunks(rng.pick::<Vec<u8>>(&png));
            // Up to the format's own limit.
            let width = width << rng.below(15);
            all[0].1[..4].copy_from_slice(&width.to_be_bytes());
            all[0].1[4..8].copy_from_slice(&height.to_be_bytes());
            join(&all)
        } else {
            let mut bytes = rng.pick(&jpeg).clone();
            let is_frame = |pair: &[u8; 2]| matches!(pair, [0xff, 0xc0..=0xc2]);
            let frame = bytes.array_windows().position(is_frame).unwrap();
            bytes[frame + 5..frame + 7].copy_from_slice(&(height as u16).to_be_bytes());
            bytes[frame + 7..frame + 9].copy_from_slice(&(width as u16).to_be_bytes());
            bytes
        };
        assert!(!decoder.accepts(rng, &bytes));
        let source = ImageSource::Encoded {
            name: "x".into(),
            bytes: bytes.into(),
        };
        assert!(Raster::open(&source, &tiny).is_err());
        false
    });
}
