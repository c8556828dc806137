use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};
use visrl_core::ImageSource;

use crate::error::Error;
use crate::files::paths::list;
use crate::memory::MemoryDataset;
use crate::record::Record;
use crate::sources::labels::check_unique;
use crate::sources::name_cleanup::NameCleanup;
use crate::sources::questions::OBJECT_QUESTION;
use crate::split::Split;

/// One's own images in folders: `root/{train,val,test}/<class>/<image>`, or `root/<class>/<image>`
/// for a single split.
///
/// Classes are the names of the folders, sorted; images are sorted by name. Hidden files and files
/// with other endings are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageFolderConfig {
    /// The question asked about every image.
    pub question: String,
    /// The split of a root that has classes directly below it.
    pub flat_split: Split,
    /// The endings taken for images, in lower case and without the dot.
    pub extensions: Vec<String>,
    /// What to do with the names of the folders.
    pub names: NameCleanup,
}

impl Default for ImageFolderConfig {
    fn default() -> Self {
        Self {
            question: OBJECT_QUESTION.into(),
            flat_split: Split::Train,
            extensions: ["png", "jpg", "jpeg"].map(String::from).to_vec(),
            names: NameCleanup::default(),
        }
    }
}

impl ImageFolderConfig {
    /// Lists the images below `root`. The data set is named like the folder, a record's id is its
    /// path below `root`.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when there is no such folder or no image in it; [`Error::File`];
    /// [`Error::Row`] for a name that is not UTF-8; [`Error::DuplicateClass`] when the clean-up
    /// gives two folders one name.
    pub fn open(&self, root: impl AsRef<Path>) -> Result<MemoryDataset, Error> {
        let root = root.as_ref();
        let hint = "a folder of images, one folder per class";
        let top = list(root, true, hint)?;
        let mut splits: Vec<(Split, &str)> = Split::ALL
            .into_iter()
            .filter(|split| top.iter().any(|name| name == split.as_str()))
            .map(|split| (split, split.as_str()))
            .collect();
        if splits.is_empty() {
            splits.push((self.flat_split, ""));
        }
        let mut found = Vec::new();
        let mut classes = BTreeSet::new();
        for (split, below) in splits {
            let mut images = Vec::new();
            for class in list(&root.join(below), true, hint)? {
                let folder = root.join(below).join(&class);
                for file in list(&folder, false, hint)?
                    .into_iter()
                    .filter(|f| self.is_image(f))
                {
                    let prefix = if below.is_empty() {
                        String::new()
                    } else {
                        format!("{below}/")
                    };
                    let id = format!("{prefix}{class}/{file}");
                    images.push((class.clone(), id, folder.join(file)));
                }
                classes.insert(class);
            }
            found.push((split, images));
        }
        if found.iter().all(|(_, images)| images.is_empty()) {
            let hint = format!(
                "no image ends in one of {:?} in `<class>/`",
                self.extensions
            );
            return Err(Error::Missing {
                path: root.to_path_buf(),
                hint,
            });
        }
        let labels: HashMap<&str, usize> = classes
            .iter()
            .enumerate()
            .map(|(label, class)| (class.as_str(), label))
            .collect();
        let name = root
            .file_name()
            .map_or("images".into(), |name| name.to_string_lossy());
        let names: Vec<String> = classes
            .iter()
            .map(|class| self.names.apply(class))
            .collect();
        let advice = "two folders have one name after the clean-up; merge them or change `names`";
        check_unique(root, names.iter().map(String::as_str), advice)?;
        let mut dataset = MemoryDataset::new(name, names, &self.question);
        for (split, images) in found {
            let rows = images.into_iter().filter_map(|(class, id, path)| {
                Some(Record::new(
                    id,
                    ImageSource::path(path),
                    *labels.get(class.as_str())?,
                ))
            });
            dataset = dataset.with_split(split, rows.collect())?;
        }
        Ok(dataset)
    }

    fn is_image(&self, file: &str) -> bool {
        let ending = file
            .rsplit_once('.')
            .map(|(_, ending)| ending.to_lowercase());
        ending.is_some_and(|ending| self.extensions.contains(&ending))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::dataset::Dataset;

    fn touch(root: &Path, path: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }

    fn ids(dataset: &MemoryDataset, split: Split) -> Vec<(String, usize)> {
        dataset
            .records(split)
            .unwrap()
            .iter()
            .map(|r| (r.id.clone(), r.label))
            .collect()
    }

    #[test]
    fn splits_share_one_list_of_classes() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "train/pear/2.JPG",
            "train/pear/1.png",
            "train/pear/note.txt",
        ] {
            touch(root.path(), path);
        }
        touch(root.path(), "test/pear/3.jpeg");
        touch(root.path(), "test/apple/4.jpg");
        let dataset = ImageFolderConfig::default().open(root.path()).unwrap();
        assert_eq!(dataset.classes(), ["apple", "pear"]);
        let train = [
            ("train/pear/1.png".into(), 1),
            ("train/pear/2.JPG".into(), 1),
        ];
        assert_eq!(ids(&dataset, Split::Train), train);
        let test = [
            ("test/apple/4.jpg".into(), 0),
            ("test/pear/3.jpeg".into(), 1),
        ];
        assert_eq!(ids(&dataset, Split::Test), test);
        assert!(dataset.records(Split::Val).is_err());
    }

    #[test]
    fn classes_at_the_top_make_one_split() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), "red_pear/1.png");
        touch(root.path(), "apple/.hidden.png");
        let names = NameCleanup::Spaces;
        let config = ImageFolderConfig {
            flat_split: Split::Test,
            names,
            ..Default::default()
        };
        let dataset = config.open(root.path()).unwrap();
        assert_eq!(dataset.classes(), ["apple", "red pear"]);
        assert_eq!(ids(&dataset, Split::Test), [("red_pear/1.png".into(), 1)]);
        let path = root.path().join("red_pear/1.png");
        assert_eq!(
            dataset.records(Split::Test).unwrap()[0].image,
            ImageSource::path(path)
        );
    }

    #[test]
    fn folders_that_become_one_class_are_refused() {
        let root = tempfile::tempdir().unwrap();
        for path in ["a_b/1.png", "a b/1.png"] {
            touch(root.path(), path);
        }
        assert!(ImageFolderConfig::default().open(root.path()).is_ok());
        let config = ImageFolderConfig {
            names: NameCleanup::Spaces,
            ..Default::default()
        };
        let error = config.open(root.path()).unwrap_err();
        assert!(matches!(error, Error::DuplicateClass { name, .. } if name == "a b"));
    }

    #[test]
    fn a_folder_without_images_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), "pear/readme.txt");
        let open = |path: &Path| {
            ImageFolderConfig::default()
                .open(path)
                .unwrap_err()
                .to_string()
        };
        assert!(open(root.path()).contains("no image ends in one of [\"png\", \"jpg\", \"jpeg\"]"));
        assert!(open(&root.path().join("gone")).contains("gone: not found"));
    }
}
