use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::memory::MemoryDataset;
use crate::sources::coop::aircraft::open_aircraft;
use crate::sources::coop::imagenet::open_imagenet;
use crate::sources::coop::set::CoopSet;
use crate::sources::image_markers::own_question;
use crate::sources::name_cleanup::NameCleanup;
use crate::splits::split_file::read_split_file;

impl CoopSet {
    /// The set in its folder below `root`, with class names as CoOp publishes them.
    ///
    /// # Errors
    ///
    /// Those of [`CoopConfig::open`].
    pub fn open(self, root: impl AsRef<Path>) -> Result<MemoryDataset, Error> {
        CoopConfig::new(self).open(root)
    }
}

/// One of CoOp's sets with a question and class names of one's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoopConfig {
    /// The set.
    pub set: CoopSet,
    /// In place of the paper's questions, the one with choices and the one without.
    #[serde(default)]
    pub question: Option<String>,
    /// What to do with the class names; by default they stay as published.
    #[serde(default)]
    pub names: NameCleanup,
}

impl CoopConfig {
    /// The paper's question, the published names.
    pub fn new(set: CoopSet) -> Self {
        Self {
            set,
            question: None,
            names: NameCleanup::default(),
        }
    }

    /// Reads the set's lists below `root`; images are not looked for (see
    /// [`check_image_files`](crate::check_image_files)).
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] with the file that is not there; for a list that cannot be used, those of
    /// [`read_split_file`].
    pub fn open(&self, root: impl AsRef<Path>) -> Result<MemoryDataset, Error> {
        let set = self.set;
        let folder = root.as_ref().join(set.folder());
        let question = &*own_question(self.question.as_deref().unwrap_or(set.question()))?;
        let open = match self.question {
            Some(_) => question,
            None => set.open_question(),
        };
        let dataset = match (set, set.split_file()) {
            (CoopSet::FgvcAircraft, _) => open_aircraft(&folder, question)?,
            (CoopSet::ImageNet, _) | (_, None) => open_imagenet(&folder, question)?,
            (_, Some(file)) => {
                let images = folder.join(set.image_folder());
                let path = folder.join(file);
                read_split_file(&path, &images, set.folder(), question, set.num_classes())?
            }
        };
        let dataset = dataset.with_open_question(open);
        Ok(dataset.map_class_names(|name| self.names.apply(name)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use visrl_core::ImageSource;

    use super::*;
    use crate::dataset::Dataset;
    use crate::split::Split;

    #[test]
    fn every_split_file_set_opens_from_its_folder() {
        let root = tempfile::tempdir().unwrap();
        for set in CoopSet::ALL {
            let Some(file) = set.split_file() else {
                continue;
            };
            let folder = root.path().join(set.folder());
            fs::create_dir(&folder).unwrap();
            let rows = r#"[["x/1.jpg", 0, "a_b"]]"#;
            let json = format!(r#"{{"train": {rows}, "val": {rows}, "test": {rows}}}"#);
            fs::write(folder.join(file), json).unwrap();
            let dataset = set.open(root.path()).unwrap();
            assert_eq!(
                (dataset.name(), dataset.classes()),
                (set.folder(), &["a_b".into()][..])
            );
            assert_eq!(dataset.open_question(), set.open_question());
            let image = folder.join(set.image_folder()).join("x/1.jpg");
            assert_eq!(
                dataset.records(Split::Val).unwrap()[0].image,
                ImageSource::path(image)
            );
        }
        let json = r#"{"set": "dtd", "question": "Texture?", "names": "spaces"}"#;
        let config: CoopConfig = serde_json::from_str(json).unwrap();
        let dataset = config.open(root.path()).unwrap();
        assert_eq!(dataset.open_question(), "Texture?");
        assert_eq!(
            (dataset.question(), &dataset.classes()[0][..]),
            ("Texture?", "a b")
        );
    }

    #[test]
    fn a_missing_list_is_named() {
        let root = tempfile::tempdir().unwrap();
        for set in CoopSet::ALL {
            let error = set.open(root.path()).unwrap_err();
            assert!(matches!(error, Error::Missing { .. }), "{error}");
            assert!(error.to_string().contains(set.folder()), "{error}");
        }
    }
}
