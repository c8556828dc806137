//! Small data sets in the layouts of the published ones, drawn by code.

use std::fs;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use serde_json::json;
use visrl::DataSource;
use visrl::data::{CoopSet, CvBenchConfig, SatConfig};

fn draw(path: &Path, format: ImageFormat, shade: u8, red: u8) {
    let image = RgbImage::from_fn(40, 30, |x, y| Rgb([shade, red, (x * y % 255) as u8]));
    image.save_with_format(path, format).unwrap();
}

/// Four training rows, one validation row and one test row of each class, as CoOp lays out
/// OxfordPets.
pub(crate) fn pets(dir: &Path, classes: &[&str]) -> DataSource {
    let images = dir.join("oxford_pets/images");
    fs::create_dir_all(&images).unwrap();
    let mut rows = Vec::new();
    for number in 0..6u8 {
        for (label, name) in classes.iter().enumerate() {
            let file = format!("{name}_{number}.jpg");
            draw(
                &images.join(&file),
                ImageFormat::Jpeg,
                40 * number,
                60 * label as u8,
            );
            rows.push(json!([file, label, name]));
        }
    }
    let (train, rest) = rows.split_at(4 * classes.len());
    let (val, test) = rest.split_at(classes.len());
    let split = json!({ "train": train, "val": val, "test": test });
    let split_file = dir.join("oxford_pets/split_zhou_OxfordPets.json");
    fs::write(split_file, split.to_string()).unwrap();
    DataSource::Coop {
        path: dir.to_owned(),
        set: CoopSet::OxfordPets,
    }
}

/// Four questions as in the JSON that the paper trains on.
pub(crate) fn sat(dir: &Path) -> DataSource {
    let images = dir.join("SAT/SAT_images_train");
    fs::create_dir_all(&images).unwrap();
    let rows = (0..4u8).map(|number| {
        let file = format!("SAT_images_train/{number}_0.png");
        let path = dir.join("SAT").join(&file);
        draw(&path, ImageFormat::Png, 60 * number, 0);
        let question = "Where is the chair? Choose between the following options: left or right";
        let answer = ["left", "right"][usize::from(number % 2)];
        json!({
            "messages": [
                { "role": "user", "content": format!("<image>{question}") },
                { "role": "assistant", "content": answer },
            ],
            "images": [file],
        })
    });
    let path = dir.join("SAT/SAT_train.json");
    let rows: Vec<_> = rows.collect();
    fs::write(&path, json!(rows).to_string()).unwrap();
    let options = SatConfig::default();
    DataSource::Sat { path, options }
}

/// A question of each source of CV-Bench, as its JSON lines have them.
pub(crate) fn cv_bench(dir: &Path) -> DataSource {
    let folder = dir.join("CV-Bench");
    fs::create_dir_all(folder.join("img")).unwrap();
    let row = |number: u8, task: &str, kind: &str, source: &str| {
        let file = format!("img/{number}.png");
        draw(&folder.join(&file), ImageFormat::Png, 50 * number, 90);
        let row = json!({
            "idx": number, "type": kind, "task": task, "filename": file, "source": source,
            "question": "How many dogs are there?", "choices": ["1", "2"], "answer": "(B)",
            "prompt": "How many dogs are there? Select from the following choices.\n(A) 1\n(B) 2",
        });
        row.to_string() + "\n"
    };
    let plane = row(0, "Count", "2D", "ADE20K") + &row(1, "Relation", "2D", "COCO");
    let space = row(2, "Depth", "3D", "Omni3D") + &row(3, "Distance", "3D", "Omni3D");
    fs::write(folder.join("test_2d.jsonl"), plane).unwrap();
    fs::write(folder.join("test_3d.jsonl"), space).unwrap();
    DataSource::CvBench {
        path: folder,
        options: CvBenchConfig::default(),
    }
}
