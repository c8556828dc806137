use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use visrl_core::ImageSource;

use crate::error::Error;
use crate::memory::MemoryDataset;
use crate::plain_label::{are_alike, plain_label, reader_key};
use crate::record::Record;
use crate::sources::image_folder::endings::READ;
use crate::sources::image_folder::layout::Layout;
use crate::sources::image_folder::left_out::{
    tell_beside, tell_empty, tell_flat, tell_like_split, tell_loose, tell_merged, tell_single,
    tell_unread, tell_untrained, tell_unused,
};
use crate::sources::image_folder::tree::{Folder, Unread};
use crate::sources::image_markers::own_question;
use crate::sources::labels::check_unique;
use crate::sources::name_cleanup::NameCleanup;
use crate::sources::questions::OBJECT_QUESTION;
use crate::sources::shared_pictures::tell_shared;
use crate::split::Split;

/// One's own images in folders: `root/{train,val,test}/<class>/<image>`, or `root/<class>/<image>`
/// for a single split. The folders of splits may be called by any name of [`Split::named`], and
/// images may lie in folders below that of their class.
///
/// Classes are the names of the folders by [`plain_label`](crate::plain_label), sorted; images are
/// sorted by name, those in deeper folders last. Hidden files and what systems leave behind
/// (`__MACOSX`, `Thumbs.db` and the like) are no data, and neither are files that are no pictures.
/// Pictures that are left out are told in a warning with their number: those whose format is not
/// read, those that lie in no class's folder, and those in folders beside the splits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageFolderConfig {
    /// The question asked about every image.
    pub question: String,
    /// The split of a root that has classes directly below it.
    pub flat_split: Split,
    /// The endings taken for images, with or without the dot, in any case. Of others nothing is
    /// told when these are not the default.
    pub extensions: Vec<String>,
    /// What to do with the names of the folders.
    pub names: NameCleanup,
}

impl Default for ImageFolderConfig {
    fn default() -> Self {
        Self {
            question: OBJECT_QUESTION.into(),
            flat_split: Split::Train,
            extensions: READ.map(String::from).to_vec(),
            names: NameCleanup::default(),
        }
    }
}

/// A picture of a class: the class's plain name, and the picture's path below the root.
struct Picture {
    class: String,
    id: String,
}

/// What is known of the classes of all splits.
#[derive(Default)]
struct Classes {
    /// By their plain names: whether a picture was found.
    names: BTreeMap<String, bool>,
    /// Folders beside each other that are one class, and the class.
    merged: Vec<[String; 3]>,
}

impl ImageFolderConfig {
    /// Lists the images below `root`. The data set is named like the folder, a record's id is its
    /// path below `root`.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when there is no such folder or no image in it; [`Error::File`];
    /// [`Error::Row`] for a name that is not UTF-8 or names no class, for a folder that may be a
    /// split or a class, and for two folders of one split; [`Error::AlikeClasses`] for classes
    /// whose names differ in case alone, [`Error::DuplicateClass`] when the clean-up gives two
    /// classes one name; [`Error::Config`] for a question that cannot be asked.
    pub fn open(&self, root: impl AsRef<Path>) -> Result<MemoryDataset, Error> {
        let root = root.as_ref();
        let question = own_question(&self.question)?;
        let endings = self.extensions.iter();
        let endings = endings.map(|ending| ending.trim_start_matches('.').to_lowercase());
        let tree = Folder::read(
            root,
            &endings.collect::<Vec<_>>(),
            "a folder of images, one folder per class",
        )?;
        let layout = Layout::of(&tree, root)?;
        let (splits, beside) = match &layout {
            Layout::Splits { splits, beside } => (splits.clone(), &beside[..]),
            Layout::Classes => (vec![(self.flat_split, &tree)], &[][..]),
        };
        let mut classes = Classes::default();
        let mut found = Vec::new();
        for &(split, folder) in &splits {
            found.push((split, pictures(folder, root, &mut classes)?));
        }
        let mut unread = Unread::default();
        for (_, folder) in &splits {
            folder.all_unread(&mut unread);
        }
        if !matches!(layout, Layout::Classes) {
            unread.add(&tree.unread);
        }
        if found.iter().all(|(_, images)| images.is_empty()) {
            return Err(self.nothing(root, &unread));
        }
        let names = self.names(root, &classes)?;
        let is_class = |name: &str| classes.names.contains_key(name);
        tell_unused(root, self.names.unused(is_class));
        if !matches!(layout, Layout::Classes) && self.flat_split != Split::Train {
            tell_flat(root, self.flat_split);
        }

        if self.extensions == Self::default().extensions {
            tell_unread(root, &unread);
        }
        if !matches!(layout, Layout::Classes) {
            tell_loose(root, "", &tree);
        }
        for (_, folder) in &splits {
            let below = match folder.name.as_str() {
                "" => String::new(),
                name => format!("{name}/"),
            };
            tell_loose(root, &below, folder);
        }
        for folder in beside {
            tell_beside(root, folder);
        }
        let empty = classes
            .names
            .iter()
            .filter(|(_, has_picture)| !**has_picture);
        let empty: Vec<&str> = empty.map(|(class, _)| &**class).collect();
        tell_empty(root, &empty);
        for [first, second, class] in &classes.merged {
            tell_merged(root, (first, second), class);
        }
        let train = found.iter().find(|(split, _)| *split == Split::Train);
        if let Some((_, train)) = train {
            let trained: HashSet<&str> = train.iter().map(|picture| &*picture.class).collect();
            let seen = classes
                .names
                .iter()
                .filter(|(_, has_picture)| **has_picture);
            let untrained = seen.map(|(class, _)| &**class);
            let untrained: Vec<&str> = untrained.filter(|c| !trained.contains(c)).collect();
            tell_untrained(root, &untrained);
        }
        if matches!(layout, Layout::Classes) {
            tree.folders
                .iter()
                .for_each(|class| tell_like_split(root, class));
        }
        if classes.names.len() == 1 {
            let folders = splits.iter().flat_map(|(_, folder)| &folder.folders);
            folders.for_each(|class| tell_single(root, class));
        }

        let places = classes.names.keys().zip(0..);
        let labels: HashMap<&str, usize> = places.map(|(name, at)| (&**name, at)).collect();
        let name = root
            .file_name()
            .map_or("images".into(), |name| name.to_string_lossy());
        let mut dataset = MemoryDataset::new(name, names, question);
        for (split, images) in found {
            let rows = images.into_iter().filter_map(|picture| {
                let image = ImageSource::path(root.join(&picture.id));
                let label = *labels.get(&*picture.class)?;
                Some(Record::new(picture.id, image, label))
            });
            dataset = dataset.with_split(split, rows.collect())?;
        }
        tell_shared(root, &dataset);
        Ok(dataset)
    }

    /// The names of the classes after the clean-up.
    fn names(&self, root: &Path, classes: &Classes) -> Result<Vec<String>, Error> {
        let mut names = Vec::with_capacity(classes.names.len());
        for class in classes.names.keys() {
            let name = self.names.apply(class);
            let name = plain_label(&name).map_err(|fault| Error::Row {
                path: root.to_path_buf(),
                row: class.clone(),
                field: "names".into(),
                message: fault.to_string(),
            })?;
            names.push(name.into_owned());
        }
        let advice = "two folders have one name after the clean-up; merge them or change `names`";
        check_unique(root, names.iter().map(String::as_str), advice)?;
        let mut first = HashMap::new();
        for name in &names {
            let other = *first.entry(reader_key(name)).or_insert(name);
            if are_alike(other, name) {
                return Err(Error::AlikeClasses {
                    path: root.to_path_buf(),
                    first: other.as_str().into(),
                    second: name.as_str().into(),
                    why: "differ in case or blanks alone",
                    advice: "give the folders one name, or tell them apart by `names`",
                });
            }
        }
        Ok(names)
    }

    /// The error of a root without a picture.
    fn nothing(&self, root: &Path, unread: &Unread) -> Error {
        let others = match &unread.first {
            Some(first) => format!(
                "; {} others are not read, such as `{first}`: convert them to PNG or JPEG",
                unread.count()
            ),
            None => String::new(),
        };
        let hint = format!(
            "no image ends in one of {:?} in `<class>/`{others}",
            self.extensions
        );
        Error::Missing {
            path: root.to_path_buf(),
            hint,
        }
    }
}

/// The pictures of a split, class by class, in the order of the folders' names.
fn pictures(split: &Folder, root: &Path, classes: &mut Classes) -> Result<Vec<Picture>, Error> {
    let mut found = Vec::new();
    let mut folders: HashMap<String, &str> = HashMap::new();
    let below = match split.name.as_str() {
        "" => String::new(),
        name => format!("{name}/"),
    };
    for folder in &split.folders {
        // Beside classes, an empty folder of a split is none.
        if below.is_empty() && folder.all() == 0 && Split::named(&folder.name).is_some() {
            continue;
        }
        let class = plain_label(&folder.name).map_err(|fault| Error::Row {
            path: root.to_path_buf(),
            row: format!("{below}{}", folder.name),
            field: "name".into(),
            message: fault.to_string(),
        })?;
        if let Some(other) = folders.insert(class.to_string(), &folder.name) {
            let names = [other, &folder.name, &class];
            classes.merged.push(names.map(str::to_owned));
        }
        let before = found.len();
        folder.each_picture(&format!("{below}{}/", folder.name), &mut |id| {
            let class = class.to_string();
            found.push(Picture { class, id });
        });
        *classes.names.entry(class.to_string()).or_default() |= found.len() > before;
    }
    Ok(found)
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
        assert!(open(root.path()).contains("no image ends in one of [\"png\", \"jpg\", \"jpeg\""));
        assert!(open(&root.path().join("gone")).contains("gone: not found"));
    }
}
