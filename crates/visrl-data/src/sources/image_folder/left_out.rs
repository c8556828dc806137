use std::path::Path;

use crate::files::told::tell;
use crate::sources::image_folder::layout::like_split;
use crate::sources::image_folder::tree::{Folder, Unread};
use crate::split::Split;

/// Tells of pictures whose format is not read, and of links that lead nowhere.
pub(crate) fn tell_unread(root: &Path, unread: &Unread) {
    let ending = |(ending, count): (&String, &usize)| match ending.as_str() {
        "" => format!("{count} without an ending"),
        ending => format!("{count} {ending}"),
    };
    let endings: Vec<String> = unread.endings.iter().map(ending).collect();
    if let Some(first) = &unread.first {
        let message = format!(
            "{} left out, of a format or with an ending that is not read ({}; the first is \
             `{first}`): convert them to PNG or JPEG",
            number(unread.count() - unread.links, "picture"),
            endings.join(", ")
        );
        tell(root, &message);
    }
    if let Some(first) = &unread.first_link {
        let message = format!(
            "{} left out that lead nowhere, or to a folder around them (the first is `{first}`)",
            number(unread.links, "link"),
        );
        tell(root, &message);
    }
}

/// Tells of pictures that lie beside the folders of classes.
pub(super) fn tell_loose(root: &Path, below: &str, folder: &Folder) {
    if let Some(first) = folder.pictures.first() {
        let message = format!(
            "{} left out, since what lies beside the folders of classes has no class (the first \
             is `{below}{first}`)",
            number(folder.pictures.len(), "picture"),
        );
        tell(root, &message);
    }
}

/// Tells of a folder beside those of the splits.
pub(super) fn tell_beside(root: &Path, folder: &Folder) {
    let message = format!(
        "the folder `{}` lies beside those of the splits, and its {} left out; a split is called \
         train, val or test",
        folder.name,
        number(folder.all(), "picture")
    );
    tell(root, &message);
}

/// Tells of classes without a picture.
pub(super) fn tell_empty(root: &Path, classes: &[&str]) {
    let (Some(first), more) = (classes.first(), classes.len().saturating_sub(1)) else {
        return;
    };
    let message = match more {
        0 => format!(
            "the class `{first}` has no picture that is read, and stays among the names to choose \
             from"
        ),
        more => format!(
            "the class `{first}` and {more} more have no picture that is read, and stay among the \
             names to choose from"
        ),
    };
    tell(root, &format!("{message}; remove the folder if it is none"));
}

/// Tells of classes whose pictures are all in other splits than that of training.
pub(super) fn tell_untrained(root: &Path, classes: &[&str]) {
    if let Some(first) = classes.first() {
        let more = match classes.len() - 1 {
            0 => String::new(),
            more => format!(" (and so is it with {more} more)"),
        };
        let message = format!(
            "the class `{first}` has no picture in the training split, though it has some in \
             another{more}: is a folder misspelt, or missing?"
        );
        tell(root, &message);
    }
}

/// Tells of a class whose folder is called much like a split and holds folders of pictures.
pub(super) fn tell_like_split(root: &Path, class: &Folder) {
    let split = like_split(&class.name);
    let below = class.folders.iter().filter(|folder| folder.count() > 0);
    if let (Some(split), [], 2..) = (split, &class.pictures[..], below.count()) {
        let message = format!(
            "`{}` is read as one class with all pictures in the folders below it; if these are the \
             classes, call it `{split}`",
            class.name
        );
        tell(root, &message);
    }
}

/// Tells of folders beside each other that are one class.
pub(super) fn tell_merged(root: &Path, (first, second): (&str, &str), class: &str) {
    let message = format!(
        "the folders `{first}` and `{second}` are read as one class, `{class}`: their names differ \
         in blanks or in the form of their characters alone"
    );
    tell(root, &message);
}

/// Tells of one class whose pictures lie in folders below it, which may be the classes.
pub(super) fn tell_single(root: &Path, class: &Folder) {
    let below: Vec<_> = class.folders.iter().filter(|f| f.count() > 0).collect();
    if let ([], [first, second, ..]) = (&class.pictures[..], &below[..]) {
        let message = format!(
            "all pictures are of one class, `{}`, though they lie in the folders `{}`, `{}` and so \
             on below it; if these are the classes, give the folder that they lie in",
            class.name, first.name, second.name
        );
        tell(root, &message);
    }
}

/// Tells of names in `names.replace` that no folder has.
pub(super) fn tell_unused<'n>(root: &Path, names: impl Iterator<Item = &'n str>) {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if !names.is_empty() {
        let names = names.join(", ");
        tell(
            root,
            &format!("`names.replace` names {names}, and no folder is called so"),
        );
    }
}

/// Tells of a `flat_split` where the splits have folders.
pub(super) fn tell_flat(root: &Path, split: Split) {
    let message = format!(
        "`flat_split` is {split}, which does nothing here: each split has a folder of its own"
    );
    tell(root, &message);
}

/// A number of things that are, or a single one that is.
fn number(count: usize, thing: &str) -> String {
    match count {
        1 => format!("1 {thing} is"),
        count => format!("{count} {thing}s are"),
    }
}
