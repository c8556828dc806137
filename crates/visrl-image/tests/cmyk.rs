//! Pictures of four colours: whole ones are read, and damage is refused by name wherever it is.

use std::path::Path;

use sha2::{Digest, Sha256};
use visrl_core::ImageSource;
use visrl_image::{Limits, Raster};

/// Files that Pillow wrote, with the checksum of their pixels: one with a thumbnail (which has end
/// markers of its own), a progressive one, and one with subsampled components.
const FILES: [(&str, &str); 3] = [
    (
        "cmyk_thumbnail.jpg",
        "b0cdab54e2ff7b189eac6954d782523d94ed638f47ffa259105fe878abfdc03e",
    ),
    (
        "cmyk_progressive.jpg",
        "44b89c128c5df487663fa2ed89e19c411734ebd7eac034db38a3a0e74d4ebefa",
    ),
    (
        "cmyk_420.jpg",
        "1b2c12e2c5b4f4ae2b48834b2275efe5648731837d817981e967936b87ad8a13",
    ),
];

fn file(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read(folder.join(name)).unwrap()
}

/// The same file as YCCK: another number in Adobe's segment.
fn as_ycck(mut bytes: Vec<u8>) -> Vec<u8> {
    let at = bytes.windows(5).position(|window| window == b"Adobe");
    let transform = at.unwrap() + 11;
    assert_eq!(bytes[transform], 0);
    bytes[transform] = 2;
    bytes
}

/// Where the compressed data of the first scan begins.
fn first_scan(bytes: &[u8]) -> usize {
    let mut at = 2;
    loop {
        let [marker, high, low] = [1, 2, 3].map(|i| usize::from(bytes[at + i]));
        at += 2 + (high << 8 | low);
        if marker == 0xda {
            return at;
        }
    }
}

fn open(bytes: &[u8]) -> Result<Raster, String> {
    let source = ImageSource::Encoded {
        name: "photo.jpg".into(),
        bytes: bytes.into(),
    };
    Raster::open(&source, &Limits::default()).map_err(|error| error.to_string())
}

fn refused(bytes: &[u8], what: &str) {
    let message = match open(bytes) {
        Ok(_) => panic!("{what}: was read"),
        Err(message) => message,
    };
    assert!(
        message.starts_with("image photo.jpg: "),
        "{what}: {message}"
    );
}

#[test]
fn whole_pictures_are_read() {
    for (name, sum) in FILES {
        let raster = open(&file(name)).unwrap();
        let found = format!("{:x}", Sha256::digest(raster.data()));
        assert_eq!(found, sum, "{name}");
        let raster = open(&as_ycck(file(name))).unwrap();
        assert_ne!(
            format!("{:x}", Sha256::digest(raster.data())),
            sum,
            "{name}"
        );
    }
}

#[test]
fn cut_pictures_are_refused_wherever_they_are_cut() {
    for (name, _) in FILES {
        for bytes in [file(name), as_ycck(file(name))] {
            for len in (0..bytes.len()).rev() {
                refused(&bytes[..len], &format!("{name} cut to {len}"));
            }
        }
    }
}

#[test]
fn an_end_marker_before_the_end_of_the_data_is_damage() {
    for (name, _) in FILES {
        for bytes in [file(name), as_ycck(file(name))] {
            let start = first_scan(&bytes);
            for part in 1..20 {
                let at = start + (bytes.len() - 2 - start) * part / 20;
                let ended = [&bytes[..at], &[0xff, 0xd9]].concat();
                refused(&ended, &format!("{name} ended at {at}"));
                let within = [&bytes[..at], &[0xff, 0xd9], &bytes[at..]].concat();
                refused(&within, &format!("{name} with an end marker at {at}"));
            }
        }
    }
}
