//! The subset of Fashion-MNIST that lies in `assets/fashion-mnist`.
#![allow(clippy::print_stdout)]

use std::collections::HashSet;
use std::path::Path;

use visrl_core::ImageSource;
use visrl_data::{Dataset, FashionMnist, FashionSubset, Split, few_shot};

const ASSETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/fashion-mnist");

fn pixels(image: &ImageSource) -> Vec<u8> {
    match image {
        ImageSource::Gray {
            width: 28,
            height: 28,
            pixels,
            ..
        } => pixels.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_subset_has_as_many_images_of_every_class() {
    let fashion = FashionMnist::open(ASSETS).unwrap();
    let subset = FashionSubset::default();
    for (split, range) in [(Split::Train, &subset.train), (Split::Test, &subset.test)] {
        let mut counts = [0; 10];
        let records = fashion.records(split).unwrap();
        records.iter().for_each(|record| counts[record.label] += 1);
        assert_eq!(counts, [range.len(); 10]);
        let images: HashSet<Vec<u8>> = records.iter().map(|r| pixels(&r.image)).collect();
        assert_eq!(images.len(), records.len(), "no image occurs twice");
        assert!(
            images
                .iter()
                .all(|image| image.contains(&0) && image.iter().any(|&v| v > 50))
        );
    }
    assert_eq!(fashion.question(), "What type of object is in the photo?");
    assert_eq!(fashion.classes()[9], "Ankle boot");
    let four = few_shot(&fashion, 4, 1).unwrap();
    assert_eq!(four.records(Split::Train).unwrap().len(), 40);
    assert_eq!(four.records(Split::Test).unwrap().len(), 1000);
}

/// With the full set at hand (in `VISRL_FASHION_MNIST`, or where Debian's package puts it), the
/// subset is made again and compared byte by byte.
#[test]
fn the_subset_can_be_made_again() {
    let debian = "/usr/share/datasets/fashion-mnist";
    let full = std::env::var_os("VISRL_FASHION_MNIST").unwrap_or(debian.into());
    if !Path::new(&full).is_dir() {
        println!("no full Fashion-MNIST at {full:?}: the subset was not made again");
        return;
    }
    let again = tempfile::tempdir().unwrap();
    let counts = FashionSubset::default()
        .write(Path::new(&full), again.path())
        .unwrap();
    assert_eq!(counts, (320, 1000));
    let mut files = 0;
    for entry in std::fs::read_dir(again.path()).unwrap() {
        let made = entry.unwrap();
        let kept = Path::new(ASSETS).join(made.file_name());
        let same = std::fs::read(made.path()).unwrap() == std::fs::read(&kept).unwrap();
        assert!(same, "{} differs", kept.display());
        files += 1;
    }
    assert_eq!(files, 4);
    println!("files of the subset made again: {files}");

    // None of the subset's training images is among the first 1000 of its class.
    let full = FashionMnist::open(&full).unwrap();
    let mut seen = [0; 10];
    let first: HashSet<Vec<u8>> = full
        .records(Split::Train)
        .unwrap()
        .iter()
        .filter(|record| {
            seen[record.label] += 1;
            seen[record.label] <= 1000
        })
        .map(|record| pixels(&record.image))
        .collect();
    let subset = FashionMnist::open(again.path()).unwrap();
    for record in subset.records(Split::Train).unwrap() {
        assert!(!first.contains(&pixels(&record.image)), "{}", record.id);
    }
}
