//! What lies at a path: the kind of its data, found out from its files.

use std::fmt;
use std::path::{Path, PathBuf};

use visrl_data::{
    CoopSet, CvBenchConfig, FashionMnist, ImageFolderConfig, RowsConfig, SatConfig, Split,
};

use crate::data_config::DataSource;
use crate::drawn_shapes::DrawnShapes;
use crate::error::Error;

/// A kind of data, as `--data-kind` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataKind {
    /// Folders of images, one a class.
    ImageFolder,
    /// Four IDX files with MNIST's names; the classes are Fashion-MNIST's unless others are given.
    Idx,
    /// One of CoOp's sets, in its own folder.
    Coop,
    /// Rows in JSON lines, JSON, parquet, or a list of such files.
    Rows,
    /// CV-Bench.
    CvBench,
    /// SAT.
    Sat,
    /// Shapes drawn by code.
    Shapes,
}

impl DataKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::ImageFolder,
        Self::Idx,
        Self::Coop,
        Self::Rows,
        Self::CvBench,
        Self::Sat,
        Self::Shapes,
    ];

    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ImageFolder => "image-folder",
            Self::Idx => "idx",
            Self::Coop => "coop",
            Self::Rows => "rows",
            Self::CvBench => "cv-bench",
            Self::Sat => "sat",
            Self::Shapes => "shapes",
        }
    }

    /// The kind of a name.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.replace('_', "-");
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Finds out what lies at a path: `shapes` is no path, a file goes by its ending, a folder by
    /// what is in it.
    ///
    /// # Errors
    /// [`Error::File`] for nothing that is known, and for a folder that could be two kinds, with
    /// both names.
    pub fn of(path: &Path) -> Result<Self, Error> {
        let fail = |message: String| Error::File {
            path: path.to_path_buf(),
            message,
        };
        if path.as_os_str() == "shapes" {
            return Ok(Self::Shapes);
        }
        if !path.exists() {
            return Err(fail("there is no such file or folder of data".into()));
        }
        if path.is_file() {
            let known = ["jsonl", "json", "parquet", "yaml", "yml"];
            return match known.into_iter().any(|ending| ends_in(path, ending)) {
                true => Ok(Self::Rows),
                false => Err(fail(format!(
                    "ends in none of .{}; say what it is by --data-kind ({})",
                    known.join(", ."),
                    names(&Self::ALL)
                ))),
            };
        }
        let looked = Looked::at(path);
        let found = looked.kinds();
        match found[..] {
            [kind] => Ok(kind),
            [] => Err(fail(
                "holds no data that is known: neither folders of images, one a class, nor IDX \
                 files, a `split_zhou_*.json`, parquet files, or JSON files of splits such as \
                 `train.jsonl`"
                    .into(),
            )),
            [..] => Err(fail(format!(
                "could be {}; say which by --data-kind",
                names(&found).replace(", ", " or ")
            ))),
        }
    }
}

impl fmt::Display for DataKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl DataSource {
    /// The source at a path, with the defaults of its kind; what lies there is found out where no
    /// kind is given.
    ///
    /// # Errors
    /// As [`DataKind::of`]; [`Error::File`] for a folder that is none of CoOp's sets though it should
    /// be, and for shapes, which lie at no path.
    pub fn at(path: &Path, kind: Option<DataKind>) -> Result<Self, Error> {
        let kind = kind.map_or_else(|| DataKind::of(path), Ok)?;
        if kind == DataKind::Shapes && path.as_os_str() != "shapes" {
            let message = "is not read by --data-kind shapes, which are drawn: write --data shapes";
            return Err(Error::file(path, message));
        }
        let path = path.to_path_buf();
        Ok(match kind {
            DataKind::Shapes => Self::DrawnShapes {
                options: DrawnShapes::default(),
            },
            DataKind::Idx => Self::FashionMnist { path },
            DataKind::Coop => {
                let (path, set) = coop(&path)?;
                Self::Coop { path, set }
            }
            DataKind::ImageFolder => Self::ImageFolder {
                path,
                options: ImageFolderConfig::default(),
            },
            DataKind::Rows => Self::Rows {
                path,
                options: RowsConfig::default(),
            },
            DataKind::CvBench => Self::CvBench {
                path,
                options: CvBenchConfig::default(),
            },
            DataKind::Sat => Self::Sat {
                path,
                options: SatConfig::default(),
            },
        })
    }

    /// One of CoOp's sets: at its own folder, or at the folder above it.
    ///
    /// # Errors
    /// [`Error::File`] where its folder is neither.
    pub fn of_coop(path: &Path, set: CoopSet) -> Result<Self, Error> {
        if path.join(set.folder()).is_dir() {
            let path = path.to_path_buf();
            return Ok(Self::Coop { path, set });
        }
        match coop(path)? {
            (path, found) if found == set => Ok(Self::Coop { path, set }),
            (_, found) => {
                let message = format!("is the set {}, not {}", found.folder(), set.folder());
                Err(Error::file(path, message))
            }
        }
    }

    /// The kind that `--data-kind` names it by; none for a data set of one's own.
    pub fn kind(&self) -> Option<DataKind> {
        Some(match self {
            Self::FashionMnist { .. } | Self::Idx { .. } => DataKind::Idx,
            Self::DrawnShapes { .. } => DataKind::Shapes,
            Self::Coop { .. } => DataKind::Coop,
            Self::ImageFolder { .. } => DataKind::ImageFolder,
            Self::Rows { .. } | Self::Parquet { .. } => DataKind::Rows,
            Self::CvBench { .. } => DataKind::CvBench,
            Self::Sat { .. } => DataKind::Sat,
            Self::Custom { .. } => return None,
        })
    }

    /// What the source is, in words.
    pub fn described(&self) -> String {
        let at = |path: &Path, what: &str| format!("{} is read as {what}", path.display());
        match self {
            Self::FashionMnist { path } => at(
                path,
                &format!(
                    "IDX files with the classes of {}",
                    FashionMnist::config().name
                ),
            ),
            Self::Idx { path, options } => at(
                path,
                &format!("IDX files of {} classes", options.classes.len()),
            ),
            Self::DrawnShapes { .. } => "the data are shapes drawn by code".into(),
            Self::Coop { path, set } => at(&path.join(set.folder()), "one of CoOp's sets"),
            Self::ImageFolder { path, .. } => at(path, "folders of images, one a class"),
            Self::Rows { path, .. } => at(path, rows(path)),
            Self::Parquet { path, .. } => at(path, "parquet"),
            Self::CvBench { path, .. } => at(path, "CV-Bench"),
            Self::Sat { path, .. } => at(path, "SAT"),
            Self::Custom { name } => format!("the data are `{name}`"),
        }
    }
}

/// What rows a file or a folder holds.
fn rows(path: &Path) -> &'static str {
    let is_info = path
        .file_name()
        .is_some_and(|name| name == "dataset_info.json");
    match path {
        path if path.is_dir() => "the rows of the files in it",
        path if ends_in(path, "parquet") => "rows of parquet",
        path if ends_in(path, "yaml") || ends_in(path, "yml") => "a list of files of rows",
        _ if is_info => "LLaMA-Factory's list of data sets",
        path if ends_in(path, "json") => "rows of JSON",
        _ => "JSON lines",
    }
}

fn names(kinds: &[DataKind]) -> String {
    kinds
        .iter()
        .map(|kind| kind.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn ends_in(path: &Path, ending: &str) -> bool {
    path.extension()
        .is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

/// The names in a folder.
struct Looked {
    folder: PathBuf,
    files: Vec<String>,
    folders: Vec<String>,
}

impl Looked {
    fn at(folder: &Path) -> Self {
        let mut looked = Self {
            folder: folder.to_path_buf(),
            files: Vec::new(),
            folders: Vec::new(),
        };
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            match entry.path() {
                path if path.is_dir() && !name.starts_with('.') => looked.folders.push(name),
                path if path.is_file() => looked.files.push(name),
                _ => {}
            }
        }
        looked.files.sort_unstable();
        looked.folders.sort_unstable();
        looked
    }

    fn kinds(&self) -> Vec<DataKind> {
        let has_file = |is: &dyn Fn(&str) -> bool| self.files.iter().any(|name| is(name));
        let idx = has_file(&|name| name.contains("-idx3-ubyte"));
        let coop = has_file(&is_split_file) || self.coop_sets().next().is_some();
        let rows = has_file(&is_rows) || {
            let data = Self::at(&self.folder.join("data"));
            data.files.iter().any(|name| name.ends_with(".parquet"))
        };
        // CoOp's sets have folders of images, too; folders of splits make them something else.
        let splits = self.folders.iter().any(|name| Split::named(name).is_some());
        let images = (!coop || splits) && self.folders.iter().any(|name| self.has_images(name, 2));
        let found = [
            (DataKind::ImageFolder, images),
            (DataKind::Idx, idx),
            (DataKind::Coop, coop),
            (DataKind::Rows, rows),
        ];
        found
            .into_iter()
            .filter(|(_, is)| *is)
            .map(|(kind, _)| kind)
            .collect()
    }

    /// Whether a folder holds pictures, so many folders deep.
    fn has_images(&self, name: &str, depth: usize) -> bool {
        let endings = ImageFolderConfig::default().extensions;
        let below = Self::at(&self.folder.join(name));
        let is_image = |file: &String| endings.iter().any(|end| ends_in(Path::new(file), end));
        below.files.iter().any(is_image)
            || depth > 0
                && below
                    .folders
                    .iter()
                    .any(|name| below.has_images(name, depth - 1))
    }

    /// CoOp's sets that lie in folders of their own below this one.
    fn coop_sets(&self) -> impl Iterator<Item = CoopSet> {
        CoopSet::ALL.into_iter().filter(|set| {
            let list = match (set.split_file(), set) {
                (Some(file), _) => file,
                (None, CoopSet::FgvcAircraft) => "images_variant_train.txt",
                (None, _) => "classnames.txt",
            };
            self.folder.join(set.folder()).join(list).is_file()
        })
    }
}

fn is_split_file(name: &str) -> bool {
    name.starts_with("split_zhou_") && name.ends_with(".json")
}

/// Whether a file holds rows of a split, or names files that do.
fn is_rows(name: &str) -> bool {
    let path = Path::new(name);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let word = stem.split(['-', '.', ' ', '_']).next().unwrap_or_default();
    let is_split = Split::named(word).is_some();
    let is_json = ends_in(path, "json") || ends_in(path, "jsonl");
    ends_in(path, "parquet") || name == "dataset_info.json" || is_json && is_split
}

/// The folder above a set of CoOp's, and which it is: the folder given is the set's own, or has one
/// set below it.
fn coop(path: &Path) -> Result<(PathBuf, CoopSet), Error> {
    let fail = |message: String| Error::File {
        path: path.to_path_buf(),
        message,
    };
    let below: Vec<CoopSet> = Looked::at(path).coop_sets().collect();
    match below[..] {
        [set] => return Ok((path.to_path_buf(), set)),
        [] => {}
        [..] => {
            let folders: Vec<&str> = below.iter().map(|set| set.folder()).collect();
            let message = format!(
                "holds several sets ({}); give the folder of one, or --set",
                folders.join(", ")
            );
            return Err(fail(message));
        }
    }
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let above = whole.parent().map(Looked::at);
    let own = whole.file_name().unwrap_or_default();
    let mut sets = above.iter().flat_map(Looked::coop_sets);
    let set = sets.find(|set| own == set.folder());
    let known = CoopSet::ALL.map(CoopSet::folder).join(", ");
    let set = set.ok_or_else(|| {
        fail(format!(
            "is read as CoOp's by its lists or by --data-kind, and is no folder of a set that is \
             known, with its list in it: {known}"
        ))
    })?;
    let above = path
        .parent()
        .filter(|above| above.join(set.folder()).is_dir());
    let above = above.map_or_else(|| path.join(".."), Path::to_path_buf);
    Ok((above, set))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        root
    }

    #[test]
    fn a_folder_is_what_is_in_it() {
        for (files, kind) in [
            (
                &["kite/1.png", "drum/1.JPG", "notes.txt"][..],
                DataKind::ImageFolder,
            ),
            (
                &["train/kite/1.png", "test/kite/2.png"],
                DataKind::ImageFolder,
            ),
            (
                &["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte"],
                DataKind::Idx,
            ),
            (
                &["split_zhou_OxfordPets.json", "images/1.jpg"],
                DataKind::Coop,
            ),
            (&["dtd/split_zhou_DescribableTextures.json"], DataKind::Coop),
            (&["data/train-00000-of-00001.parquet"], DataKind::Rows),
            (&["train.jsonl", "images.txt"], DataKind::Rows),
            (&["dataset_info.json", "birds.json"], DataKind::Rows),
        ] {
            let root = tree(files);
            assert_eq!(DataKind::of(root.path()).unwrap(), kind, "{files:?}");
        }
        assert_eq!(DataKind::of(Path::new("shapes")).unwrap(), DataKind::Shapes);
    }

    #[test]
    fn what_could_be_two_things_is_refused_with_both_names() {
        for (files, both) in [
            (&["train.jsonl", "images/1.png"][..], "image-folder or rows"),
            (
                &["train-images-idx3-ubyte", "kite/1.png"],
                "image-folder or idx",
            ),
            (
                &["split_zhou_OxfordPets.json", "train/kite/1.png"],
                "image-folder or coop",
            ),
        ] {
            let root = tree(files);
            let message = DataKind::of(root.path()).unwrap_err().to_string();
            assert!(
                message.contains(&format!("could be {both}; say")),
                "{message}"
            );
        }
        for files in [&["notes.txt"][..], &["a/b/c/d/1.png"]] {
            let root = tree(files);
            let message = DataKind::of(root.path()).unwrap_err().to_string();
            assert!(message.contains("holds no data that is known"), "{message}");
        }
        let shapes = DataSource::at(Path::new("photos"), Some(DataKind::Shapes));
        let message = shapes.unwrap_err().to_string();
        assert!(message.contains("--data shapes"), "{message}");
        let file = tree(&["data.csv"]);
        assert!(DataKind::of(&file.path().join("data.csv")).is_err());
        assert!(DataKind::of(&file.path().join("data.jsonl")).is_err());
    }

    #[test]
    fn a_set_of_coops_is_known_by_its_folder() {
        let list = "oxford_pets/split_zhou_OxfordPets.json";
        let root = tree(&[list]);
        for path in [root.path().join("oxford_pets"), root.path().to_path_buf()] {
            let DataSource::Coop { path, set } = DataSource::at(&path, None).unwrap() else {
                panic!();
            };
            assert_eq!(set, CoopSet::OxfordPets);
            assert!(path.join(list).is_file());
        }
        let two = tree(&[list, "dtd/split_zhou_DescribableTextures.json"]);
        let message = DataSource::at(two.path(), None).unwrap_err().to_string();
        assert!(message.contains("holds several sets"), "{message}");
        for path in [two.path(), &two.path().join("dtd")] {
            let source = DataSource::of_coop(path, CoopSet::Dtd).unwrap();
            assert!(matches!(
                source,
                DataSource::Coop {
                    set: CoopSet::Dtd,
                    ..
                }
            ));
        }
        let other = DataSource::of_coop(&two.path().join("dtd"), CoopSet::OxfordPets);
        let message = other.unwrap_err().to_string();
        assert!(
            message.contains("is the set dtd, not oxford_pets"),
            "{message}"
        );
        let renamed = tree(&["pets/split_zhou_OxfordPets.json"]);
        let message = DataSource::at(&renamed.path().join("pets"), None).unwrap_err();
        assert!(
            message.to_string().contains("no folder of a set"),
            "{message}"
        );
    }
}
