//! Pictures cut at any place: refused by name, or the picture that the whole file is. Pillow, which
//! wrote the files, does one or the other, too.

#![cfg(feature = "formats")]

use std::fs;
use std::path::Path;

use visrl_core::ImageSource;
use visrl_image::{Limits, Raster};

fn open(name: &str, bytes: &[u8]) -> Result<Raster, String> {
    let source = ImageSource::Encoded {
        name: name.into(),
        bytes: bytes.into(),
    };
    Raster::open(&source, &Limits::default()).map_err(|error| error.to_string())
}

#[test]
fn a_picture_cut_at_any_place_is_refused_or_whole() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cut");
    let mut faults = Vec::new();
    let mut files = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        let bytes = fs::read(&path).unwrap();
        let whole = open(&name, &bytes).unwrap_or_else(|error| panic!("{error}"));
        let mut wrong = Vec::new();
        for cut in 0..bytes.len() {
            match open(&name, &bytes[..cut]) {
                Ok(raster) => {
                    let size = |raster: &Raster| (raster.width(), raster.height());
                    if size(&raster) != size(&whole) || raster.data() != whole.data() {
                        wrong.push(cut);
                    }
                }
                Err(error) => assert!(error.starts_with(&format!("image {name}: ")), "{error}"),
            }
        }
        if let (Some(first), Some(last)) = (wrong.first(), wrong.last()) {
            let count = wrong.len();
            faults.push(format!(
                "{name}: another picture at {count} of {first}..={last}"
            ));
        }
        files += 1;
    }
    assert!(files > 20, "{files}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
