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
    /// Folders with names of splits are splits when the pictures lie in folders below them, and
    /// classes when pictures lie right in them and other folders beside them hold pictures, too.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when folders of splits hold pictures without classes; [`Error::Row`] when
    /// a folder may be either, and when two are one split.
    pub(super) fn of(root: &'t Folder, path: &Path) -> Result<Self, Error> {
        let named = |folder: &&Folder| Split::named(&folder.name).is_some();
        let splits: Vec<&Folder> = root.folders.iter().filter(named).collect();
        let others = root.folders.iter().filter(|folder| !named(folder));
        let beside: Vec<&Folder> = others.filter(|folder| folder.all() > 0).collect();
        let full: Vec<&Folder> = splits.iter().copied().filter(|f| f.all() > 0).collect();
        let direct: Vec<&Folder> = full.iter().copied().filter(|f| f.direct() > 0).collect();
        if splits.is_empty() || (full.is_empty() && !beside.is_empty()) {
            return Ok(Self::Classes);
        }
        let fail = |folder: &Folder, message: String| Error::Row {
            path: path.to_path_buf(),
            row: folder.name.clone(),
            field: "folder".into(),
            message,
        };
        if let (Some(other), Some(first)) = (beside.first(), direct.first()) {
            if direct.len() == full.len() {
                return Ok(Self::Classes);
            }
            return Err(fail(
                first,
                format!(
                    "may be a split or a class: pictures lie right in it, as in a class, and \
                     `{}` beside it holds pictures, too; move them, or rename the class",
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
        Ok(Self::Splits {
            splits: known,
            beside,
        })
    }
}
