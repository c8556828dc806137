use std::path::Path;

use crate::error::Error;
use crate::sources::image_folder::tree::Folder;
use crate::split::Split;

/// What the folders right below the root are.
pub(super) enum Layout<'t> {
    /// Splits, with the classes in them, and other folders beside them that hold pictures.
    Splits {
        splits: Vec<(Split, &'t Folder)>,
        beside: Vec<&'t Folder>,
    },
    /// Classes.
    Classes,
}

impl<'t> Layout<'t> {
    /// Tells splits from classes.
    ///
    /// Folders with names of splits are splits when all pictures lie in folders below them. One
    /// called `train` that has pictures right in it and none below is a class when other folders
    /// beside it hold pictures, too.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when folders of splits hold pictures without classes; [`Error::Row`] when
    /// a folder may be either, when two are one split, and when the splits lie below the classes or
    /// in a folder of their own.
    pub(super) fn of(root: &'t Folder, path: &Path) -> Result<Self, Error> {
        let named = |folder: &&Folder| Split::named(&folder.name).is_some();
        let splits: Vec<&Folder> = root.folders.iter().filter(named).collect();
        let others = root.folders.iter().filter(|folder| !named(folder));
        let beside: Vec<&Folder> = others.filter(|folder| folder.all() > 0).collect();
        let full: Vec<&Folder> = splits.iter().copied().filter(|f| f.all() > 0).collect();
        let direct: Vec<&Folder> = full.iter().copied().filter(|f| f.direct() > 0).collect();
        let fail = |folder: &Folder, message: String| Error::Row {
            path: path.to_path_buf(),
            row: folder.name.clone(),
            field: "folder".into(),
            message,
        };
        if splits.is_empty() || (full.is_empty() && !beside.is_empty()) {
            for class in &beside {
                check_nested(class).map_err(|message| fail(class, message))?;
                check_below(class, beside.len()).map_err(|message| fail(class, message))?;
            }
            return Ok(Self::Classes);
        }
        if let (Some(other), Some(first)) = (beside.first(), direct.first()) {
            let is_class = |folder: &Folder| {
                folder.name.eq_ignore_ascii_case("train") && folder.all() == folder.direct()
            };
            if let [one] = full[..]
                && is_class(one)
            {
                return Ok(Self::Classes);
            }
            return Err(fail(
                first,
                format!(
                    "may be a split or a class: pictures lie right in it, as in a class, and \
                     `{}` beside it holds pictures, too; move them, or rename the folder",
                    other.name
                ),
            ));
        }
        if !full.is_empty() && full.iter().all(|folder| folder.all() == folder.direct()) {
            return Err(Error::Missing {
                path: path.join(&full[0].name),
                hint: "a folder of each class below that of the split: pictures lie right in it, \
                       and have no class"
                    .into(),
            });
        }
        let mut known: Vec<(Split, &Folder)> = Vec::new();
        for split in Split::ALL {
            let of_it = |folder: &&&Folder| Split::named(&folder.name) == Some(split);
            let mut folders: Vec<&Folder> = splits.iter().filter(of_it).copied().collect();
            if folders.len() > 1 {
                folders.retain(|folder| folder.all() > 0);
            }
            if let [first, second, ..] = folders[..] {
                let message = format!(
                    "and `{}` are both the {split} split; merge the two, or rename one",
                    second.name
                );
                return Err(fail(first, message));
            }
            known.extend(folders.into_iter().map(|folder| (split, folder)));
        }
        for (_, folder) in &known {
            check_nested(folder).map_err(|message| fail(folder, message))?;
        }
        Ok(Self::Splits {
            splits: known,
            beside,
        })
    }
}

/// Refuses a folder called much like a split with nothing but another such folder in it, below which
/// the classes may lie: `seg_train/seg_train/<class>`.
fn check_nested(folder: &Folder) -> Result<(), String> {
    let mut full = folder.folders.iter().filter(|below| below.all() > 0);
    let (Some(below), None) = (full.next(), full.next()) else {
        return Ok(());
    };
    let split = match (like_split(&folder.name), like_split(&below.name)) {
        (Some(split), Some(_)) if folder.direct() == 0 && below.direct() == 0 => split,
        _ => return Ok(()),
    };
    Err(format!(
        "holds all pictures in folders below `{}/{}`: if these are the classes, move them one folder \
         up, as `{split}/<class>`",
        folder.name, below.name
    ))
}

/// The split that a word of a folder's name is called like: `seg_train`.
pub(super) fn like_split(name: &str) -> Option<Split> {
    let mut words = name.split(|c: char| !c.is_alphanumeric());
    words.find_map(Split::named)
}

/// Refuses splits in a folder of their own below the root, or below the folders of classes: a folder
/// whose pictures all lie in folders that are called like splits.
fn check_below(class: &Folder, classes: usize) -> Result<(), String> {
    let full = class.folders.iter().filter(|folder| folder.all() > 0);
    let names: Vec<&str> = full.map(|folder| folder.name.as_str()).collect();
    let are_splits = names.iter().all(|name| Split::named(name).is_some());
    if class.direct() > 0 || names.is_empty() || !are_splits {
        return Ok(());
    }
    let names = names.join("`, `");
    Err(match classes {
        1 => format!(
            "holds all pictures in `{names}`, which are called like splits; give this folder as the \
             data"
        ),
        _ => format!(
            "holds its pictures in `{names}`, which are called like splits; put the classes below \
             the splits, as in `train/{}`, or rename them",
            class.name
        ),
    })
}
