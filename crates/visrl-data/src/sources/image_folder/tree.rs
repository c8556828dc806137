use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::files::paths::{Kind, entries, utf8};
use crate::sources::image_folder::endings::FileKind;

/// Folders within each other, at the most.
const MAX_DEPTH: usize = 64;

/// Folders in all: links may lead to one folder in many ways.
const MAX_FOLDERS: usize = 1 << 20;

/// A folder with the pictures in it, and the folders below it that hold any.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    /// Its name in the folder above it.
    pub(crate) name: String,
    /// The pictures right in it that are read, by name.
    pub(crate) pictures: Vec<String>,
    /// What is right in it and is not read.
    pub(crate) unread: Unread,
    /// The folders right in it, by name, also those without pictures.
    pub(crate) folders: Vec<Folder>,
}

/// Pictures of a folder that are not read.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    /// Their numbers by their endings.
    pub(crate) endings: BTreeMap<String, usize>,
    /// Links that lead nowhere, or to a folder around them.
    pub(crate) links: usize,
    /// The first picture, by its path below the root.
    pub(crate) first: Option<String>,
    /// The first link, by its path below the root.
    pub(crate) first_link: Option<String>,
}

impl Unread {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.endings.values().sum::<usize>() + self.links
    }

    /// Adds those of another folder.
    pub(crate) fn add(&mut self, other: &Self) {
        for (ending, count) in &other.endings {
            *self.endings.entry(ending.clone()).or_default() += count;
        }
        self.links += other.links;
        for (first, other) in [
            (&mut self.first, &other.first),
            (&mut self.first_link, &other.first_link),
        ] {
            if first.is_none() {
                first.clone_from(other);
            }
        }
    }
}

impl Folder {
    /// Looks through a folder and all below it.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::File`]; [`Error::Row`] for a name that is not UTF-8, or for
    /// more folders than can be meant.
    pub(crate) fn read(root: &Path, extensions: &[String], hint: &str) -> Result<Self, Error> {
        let real = std::fs::canonicalize(root).map_err(Error::io(root, hint))?;
        let mut walk = Walk {
            root,
            extensions,
            hint,
            folders: 0,
        };
        walk.folder(String::new(), String::new(), &real, 0)
    }

    /// The pictures in it and below it that are read.
    pub(crate) fn count(&self) -> usize {
        self.pictures.len() + self.folders.iter().map(Self::count).sum::<usize>()
    }

    /// The pictures right in it, read or not.
    pub(crate) fn direct(&self) -> usize {
        self.pictures.len() + self.unread.count()
    }

    /// The pictures in it and below it, read or not.
    pub(crate) fn all(&self) -> usize {
        self.direct() + self.folders.iter().map(Self::all).sum::<usize>()
    }

    /// What is not read, in it and below it.
    pub(crate) fn all_unread(&self, sum: &mut Unread) {
        sum.add(&self.unread);
        for folder in &self.folders {
            folder.all_unread(sum);
        }
    }

    /// Gives the path below this folder of each picture that is read: those right in it first.
    pub(crate) fn each_picture(&self, below: &str, use_path: &mut impl FnMut(String)) {
        for picture in &self.pictures {
            use_path(format!("{below}{picture}"));
        }
        for folder in &self.folders {
            folder.each_picture(&format!("{below}{}/", folder.name), use_path);
        }
    }
}

struct Walk<'a> {
    root: &'a Path,
    extensions: &'a [String],
    hint: &'a str,
    folders: usize,
}

impl Walk<'_> {
    /// A folder at `below`, which ends in a slash; `real` is where it lies without links.
    fn folder(
        &mut self,
        name: String,
        below: String,
        real: &Path,
        depth: usize,
    ) -> Result<Folder, Error> {
        let path = self.root.join(&below);
        self.folders += 1;
        if depth > MAX_DEPTH || self.folders > MAX_FOLDERS {
            return Err(Error::Row {
                path: self.root.to_path_buf(),
                row: below,
                field: "folder".into(),
                message: format!(
                    "there are more than {MAX_DEPTH} folders within each other, or more than \
                     {MAX_FOLDERS} in all; is the right folder given?"
                ),
            });
        }
        let mut found = Folder {
            name,
            ..Folder::default()
        };
        for (name, kind) in entries(&path, self.hint)? {
            let is_link = matches!(kind, Kind::LinkedFolder | Kind::BrokenLink);
            match kind {
                Kind::Other => {}
                Kind::File => {
                    let name = utf8(&path, name)?;
                    match FileKind::of(&path.join(&name), &name, self.extensions) {
                        FileKind::Read => found.pictures.push(name),
                        FileKind::Other(ending) => {
                            *found.unread.endings.entry(ending).or_default() += 1;
                            note(&mut found.unread.first, &below, &name);
                        }
                        FileKind::No => {}
                    }
                }
                Kind::Folder | Kind::LinkedFolder | Kind::BrokenLink => {
                    let name = utf8(&path, name)?;
                    let real = match is_link {
                        true => real_folder(&path.join(&name), real),
                        false => Some(real.join(&name)),
                    };
                    match real {
                        Some(real) => {
                            let below = format!("{below}{name}/");
                            found
                                .folders
                                .push(self.folder(name, below, &real, depth + 1)?);
                        }
                        None => {
                            found.unread.links += 1;
                            note(&mut found.unread.first_link, &below, &name);
                        }
                    }
                }
            }
        }
        Ok(found)
    }
}

/// Where a link leads; nothing when it leads nowhere, or to a folder that it lies in.
fn real_folder(link: &Path, within: &Path) -> Option<PathBuf> {
    let real = std::fs::canonicalize(link).ok()?;
    (!within.starts_with(&real)).then_some(real)
}

fn note(first: &mut Option<String>, below: &str, name: &str) {
    first.get_or_insert_with(|| format!("{below}{name}"));
}
