use std::path::Path;

use crate::dataset::Dataset;
use crate::error::Error;
use crate::memory::MemoryDataset;
use crate::record::Record;
use crate::sources::idx::dataset::IdxConfig;
use crate::sources::idx::images::IdxLimits;
use crate::sources::questions::OBJECT_QUESTION;
use crate::split::Split;

/// The classes of Fashion-MNIST in label order.
pub const FASHION_CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv:1708.07747): grey 28 x 28 images of ten kinds of
/// clothes, 60,000 for training and 10,000 for testing.
///
/// It is small enough to try a whole training run on a laptop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FashionMnist(MemoryDataset);

impl FashionMnist {
    /// Reads the four IDX files of a folder, plain or `.gz`, whole or a subset.
    ///
    /// # Errors
    ///
    /// Those of [`IdxConfig::open`].
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, Error> {
        Self::config().open(folder.as_ref()).map(Self)
    }

    /// Names, question and limits of the set, to be changed and opened.
    pub fn config() -> IdxConfig {
        IdxConfig {
            name: "fashion-mnist".into(),
            classes: FASHION_CLASSES.map(String::from).to_vec(),
            question: OBJECT_QUESTION.into(),
            limits: IdxLimits::default(),
        }
    }
}

impl Dataset for FashionMnist {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn classes(&self) -> &[String] {
        self.0.classes()
    }

    fn question(&self) -> &str {
        self.0.question()
    }

    fn records(&self, split: Split) -> Result<&[Record], Error> {
        self.0.records(split)
    }
}
