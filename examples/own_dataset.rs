//! A data set of one's own: four methods.
//!
//! `cargo run --release --example own_dataset`

#![allow(clippy::print_stdout)]

#[allow(dead_code, unreachable_pub)]
#[path = "common/assets.rs"]
mod assets;

use visrl::data::Error as DataError;
use visrl::prelude::*;

/// Images of 28 x 28 pixels with bright stripes that lie or stand.
struct Stripes {
    classes: Vec<String>,
    train: Vec<Record>,
    test: Vec<Record>,
}

impl Stripes {
    fn draw(count: usize) -> Self {
        let record = |number: usize| {
            let label = number % 2;
            let width = 2 + number / 2 % 5;
            let pixel = |at: usize| {
                let place = if label == 0 { at / 28 } else { at % 28 };
                if (place / width).is_multiple_of(2) {
                    230
                } else {
                    20
                }
            };
            let image = ImageSource::Gray {
                name: format!("stripes {number}").into(),
                width: 28,
                height: 28,
                pixels: (0..28 * 28).map(pixel).collect(),
            };
            Record::new(number.to_string(), image, label)
        };
        Self {
            classes: ["lying", "standing"].map(String::from).to_vec(),
            train: (0..count).map(record).collect(),
            test: (count..2 * count).map(record).collect(),
        }
    }
}

impl Dataset for Stripes {
    fn name(&self) -> &str {
        "stripes"
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn question(&self) -> &str {
        "How do the stripes in the photo run?"
    }

    fn records(&self, split: Split) -> Result<&[Record], DataError> {
        match split {
            Split::Train => Ok(&self.train),
            Split::Test => Ok(&self.test),
            Split::Val => Err(DataError::NoSplit {
                dataset: self.name().into(),
                split,
            }),
        }
    }
}

fn main() -> Result<(), Error> {
    let base = Pretrained::<QwenVl>::load(assets::model(), &parse_device("flex")?)?;
    let data = Stripes::draw(10);
    let settings = FineTune {
        steps: 40,
        out: "runs/own_dataset".into(),
        ..FineTune::default()
    };
    // The embedded model has never said these names, so that no answer would earn a reward: labels
    // teach it. It is tested on the data's own test split, since no other data are given.
    let outcome = Trainer::new(base, &Recipe::sft(), &data)
        .settings(settings)
        .launch()?;
    println!(
        "{:.0} % -> {:.0} % of {} test images",
        100.0 * outcome.summary.before.greedy,
        100.0 * outcome.summary.after.greedy,
        outcome.summary.test_examples
    );
    Ok(())
}
