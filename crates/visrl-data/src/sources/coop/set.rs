use serde::{Deserialize, Serialize};

use crate::sources::questions::OBJECT_QUESTION;

/// The eleven data sets of CoOp (Zhou et al., "Learning to Prompt for Vision-Language Models",
/// IJCV 2022), which the paper trains on.
///
/// Each lies in its own folder below one root, as CoOp lays them out, beside CoOp's published split
/// file. Images are not opened before they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoopSet {
    /// ImageNet's 1000 classes, by folder; `classnames.txt` gives the names. The order of its
    /// few-shot draw depended on an unsorted directory listing, so CoOp's draw cannot be
    /// reproduced from the images: here folders and files are sorted. Its validation images are
    /// the test split, and there is no other.
    #[serde(rename = "imagenet")]
    ImageNet,
    /// Caltech101 without background and one of the two face classes.
    Caltech101,
    /// Oxford-IIIT Pet.
    OxfordPets,
    /// Stanford Cars.
    StanfordCars,
    /// Oxford Flowers 102.
    Flowers102,
    /// Food-101.
    Food101,
    /// FGVC-Aircraft by variant.
    FgvcAircraft,
    /// SUN397.
    Sun397,
    /// Describable Textures.
    Dtd,
    /// EuroSAT.
    #[serde(rename = "eurosat")]
    EuroSat,
    /// The middle frames of UCF101's videos.
    Ucf101,
}

/// Where a set's files lie and what is asked.
struct Layout {
    folder: &'static str,
    images: &'static str,
    split_file: Option<&'static str>,
    classes: usize,
    question: &'static str,
}

impl CoopSet {
    /// The eleven sets, in the order of the paper's tables.
    pub const ALL: [Self; 11] = [
        Self::ImageNet,
        Self::Caltech101,
        Self::Dtd,
        Self::EuroSat,
        Self::Food101,
        Self::Flowers102,
        Self::OxfordPets,
        Self::StanfordCars,
        Self::Sun397,
        Self::Ucf101,
        Self::FgvcAircraft,
    ];

    fn layout(self) -> Layout {
        let row = |folder, images, split_file, classes, question| Layout {
            folder,
            images,
            split_file,
            classes,
            question,
        };
        let object = OBJECT_QUESTION;
        match self {
            Self::ImageNet => row("imagenet", "images", None, 1000, object),
            Self::Caltech101 => {
                let images = "101_ObjectCategories";
                row(
                    "caltech-101",
                    images,
                    Some("split_zhou_Caltech101.json"),
                    100,
                    object,
                )
            }
            Self::OxfordPets => row(
                "oxford_pets",
                "images",
                Some("split_zhou_OxfordPets.json"),
                37,
                object,
            ),
            Self::StanfordCars => row(
                "stanford_cars",
                "",
                Some("split_zhou_StanfordCars.json"),
                196,
                object,
            ),
            Self::Flowers102 => row(
                "oxford_flowers",
                "jpg",
                Some("split_zhou_OxfordFlowers.json"),
                102,
                object,
            ),
            Self::Food101 => row(
                "food-101",
                "images",
                Some("split_zhou_Food101.json"),
                101,
                object,
            ),
            Self::FgvcAircraft => {
                let question = "What type of aircraft is in the photo?";
                row("fgvc_aircraft", "images", None, 100, question)
            }
            Self::Sun397 => row(
                "sun397",
                "SUN397",
                Some("split_zhou_SUN397.json"),
                397,
                object,
            ),
            Self::Dtd => {
                let question = "What type of texture is in the photo?";
                let split = "split_zhou_DescribableTextures.json";
                row("dtd", "images", Some(split), 47, question)
            }
            Self::EuroSat => {
                let question = "What type of object is in the centered satellite photo?";
                row(
                    "eurosat",
                    "2750",
                    Some("split_zhou_EuroSAT.json"),
                    10,
                    question,
                )
            }
            Self::Ucf101 => {
                let question = "What actions is the person performing in the photo?";
                let images = "UCF-101-midframes";
                row(
                    "ucf101",
                    images,
                    Some("split_zhou_UCF101.json"),
                    101,
                    question,
                )
            }
        }
    }

    /// The set's folder below the root; it also serves as its name.
    pub fn folder(self) -> &'static str {
        self.layout().folder
    }

    /// The folder of the images below the set's own; empty when rows start there.
    pub fn image_folder(self) -> &'static str {
        self.layout().images
    }

    /// CoOp's split file; `None` for ImageNet and FGVC-Aircraft, which have other files.
    pub fn split_file(self) -> Option<&'static str> {
        self.layout().split_file
    }

    /// The number of classes of the whole set.
    pub fn num_classes(self) -> usize {
        self.layout().classes
    }

    /// The paper's question.
    pub fn question(self) -> &'static str {
        self.layout().question
    }

    /// The paper's question where no choices are shown: it names the kind of thing for
    /// Flowers102, Food101 and OxfordPets, and is [`question`](Self::question) for the others.
    pub fn open_question(self) -> &'static str {
        match self {
            Self::Flowers102 => "What type of flower is in the photo?",
            Self::Food101 => "What type of food is in the photo?",
            Self::OxfordPets => "What type of animal is in the photo?",
            _ => self.question(),
        }
    }

    /// Whether CoOp's few-shot draw takes validation images too: all but ImageNet, whose
    /// validation images are its test set. Goes into [`FewShot::val`](crate::FewShot::val).
    pub fn draws_validation(self) -> bool {
        self != Self::ImageNet
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_set_has_its_own_folder_and_a_question() {
        let folders: HashSet<_> = CoopSet::ALL.map(CoopSet::folder).into();
        assert_eq!(folders.len(), 11);
        assert!(
            CoopSet::ALL
                .iter()
                .all(|set| set.question().ends_with("photo?"))
        );
        let open = CoopSet::ALL.into_iter();
        let open = open.filter(|set| set.open_question() != set.question());
        let named = [CoopSet::Food101, CoopSet::Flowers102, CoopSet::OxfordPets];
        assert!(open.eq(named));
        let without: Vec<_> = CoopSet::ALL
            .into_iter()
            .filter(|set| set.split_file().is_none())
            .collect();
        assert_eq!(without, [CoopSet::ImageNet, CoopSet::FgvcAircraft]);
        assert_eq!(
            serde_json::to_string(&CoopSet::EuroSat).unwrap(),
            "\"eurosat\""
        );
    }
}
