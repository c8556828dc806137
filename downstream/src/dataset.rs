//! A data set of one's own.

use visrl::core::ImageSource;
use visrl::data::{Dataset, Error, Record, Split};

/// Plain pictures in three colours.
pub struct Colours {
    classes: Vec<String>,
    train: Vec<Record>,
    test: Vec<Record>,
}

impl Colours {
    pub fn new() -> Self {
        let brightness = |levels: [u8; 2]| {
            let pictures = levels.into_iter().flat_map(|level| {
                (0..3).map(move |label| {
                    let mut pixel = [0; 3];
                    pixel[label] = level;
                    let image = ImageSource::Rgb {
                        name: format!("{label}-{level}").into(),
                        width: 4,
                        height: 4,
                        pixels: pixel.repeat(16).into(),
                    };
                    Record::new(format!("{label}-{level}"), image, label)
                })
            });
            pictures.collect()
        };
        Self {
            classes: ["red", "green", "blue"].map(String::from).to_vec(),
            train: brightness([255, 160]),
            test: brightness([220, 120]),
        }
    }
}

impl Dataset for Colours {
    fn name(&self) -> &str {
        "colours"
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn question(&self) -> &str {
        "what colour is it?"
    }

    fn records(&self, split: Split) -> Result<&[Record], Error> {
        match split {
            Split::Train => Ok(&self.train),
            Split::Test => Ok(&self.test),
            Split::Val => Err(Error::NoSplit {
                dataset: self.name().into(),
                split,
            }),
        }
    }
}
