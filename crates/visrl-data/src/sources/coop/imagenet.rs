use std::collections::HashMap;
use std::path::Path;

use visrl_core::ImageSource;
use visrl_core::files::read_text;

use crate::error::Error;
use crate::files::limits::MAX_LIST;
use crate::files::paths::list;
use crate::memory::MemoryDataset;
use crate::plain_label::plain_label;
use crate::record::Record;
use crate::sources::coop::set::CoopSet;
use crate::sources::image_folder::endings::READ;
use crate::sources::image_folder::left_out::tell_unread;
use crate::sources::image_folder::tree::{Folder, Unread};
use crate::sources::labels::check_unique;
use crate::split::Split;

/// ImageNet by folder: `images/{train,val}/<wnid>/`, names from `classnames.txt` (`<wnid> <name>`).
///
/// A label is the place of its folder in the sorted list. The images of `val` are the test split,
/// and there is no validation split: what is reported on is not chosen on.
pub(crate) fn open_imagenet(folder: &Path, question: &str) -> Result<MemoryDataset, Error> {
    let path = folder.join("classnames.txt");
    let hint = "CoOp's list of ImageNet's class names, rows `<wnid> <name>`";
    let text = read_text(&path, MAX_LIST).map_err(Error::file(hint))?;
    let rows = text.lines().filter_map(|line| line.trim().split_once(' '));
    let rows: Vec<(&str, &str)> = rows.collect();
    let advice = "remove one of the two rows of this folder";
    check_unique(&path, rows.iter().map(|(wnid, _)| *wnid), advice)?;
    let names: HashMap<&str, &str> = rows.into_iter().collect();
    let images = folder.join(CoopSet::ImageNet.image_folder());
    let hint = "folders of ImageNet's training images, one per class";
    let wnids = list(&images.join("train"), true, hint)?;
    let mut classes = Vec::with_capacity(wnids.len());
    for wnid in &wnids {
        let fail = |message: String| Error::Row {
            path: path.clone(),
            row: wnid.clone(),
            field: "name".into(),
            message,
        };
        let name = names.get(wnid.as_str());
        let name =
            name.ok_or_else(|| fail("the class has a folder of images, but no row here".into()))?;
        let name = plain_label(name).map_err(|fault| fail(fault.to_string()))?;
        classes.push(name.into_owned());
    }
    let labels: HashMap<&str, usize> = wnids
        .iter()
        .enumerate()
        .map(|(label, wnid)| (wnid.as_str(), label))
        .collect();
    let dataset = MemoryDataset::new(CoopSet::ImageNet.folder(), classes, question);
    let mut unread = Unread::default();
    let train = records(&images, "train", &labels, &mut unread)?;
    let test = records(&images, "val", &labels, &mut unread)?;
    tell_unread(&images, &unread);
    dataset
        .with_split(Split::Train, train)?
        .with_split(Split::Test, test)
}

fn records(
    images: &Path,
    below: &str,
    labels: &HashMap<&str, usize>,
    unread: &mut Unread,
) -> Result<Vec<Record>, Error> {
    let folder = images.join(below);
    let hint = "folders of ImageNet's images, one per class";
    let tree = Folder::read(&folder, &READ.map(String::from), hint)?;
    let fail = |row: &str, message: &str| Error::Row {
        path: folder.clone(),
        row: row.to_owned(),
        field: "class".into(),
        message: message.to_owned(),
    };
    if let Some(picture) = tree.pictures.first() {
        let message = "the image lies in no folder of a class; sort the images into their folders";
        return Err(fail(picture, message));
    }
    tree.all_unread(unread);
    let mut records = Vec::new();
    for class in &tree.folders {
        let wnid = class.name.as_str();
        let label = labels.get(wnid).copied();
        let label =
            label.ok_or_else(|| fail(wnid, "the class has no folder of training images"))?;
        class.each_picture(&format!("{below}/{wnid}/"), &mut |id| {
            let image = ImageSource::path(images.join(&id));
            records.push(Record::new(id, image, label));
        });
    }
    Ok(records)
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

    #[test]
    fn labels_follow_the_sorted_folders_and_two_classes_may_share_a_name() {
        let root = tempfile::tempdir().unwrap();
        let names = "n02 missile\nn01 tench\nn03 missile\nn09 not used\n";
        touch(root.path(), "images/train/n03/b.JPEG");
        touch(root.path(), "images/train/n01/b.JPEG");
        touch(root.path(), "images/train/n01/a.JPEG");
        touch(root.path(), "images/train/n02/.hidden");
        touch(root.path(), "images/train/n02/Thumbs.db");
        touch(root.path(), "images/val/n03/v.JPEG");
        fs::write(root.path().join("classnames.txt"), names).unwrap();
        let dataset = open_imagenet(root.path(), "?").unwrap();
        assert_eq!(dataset.classes(), ["tench", "missile", "missile"]);
        let ids = |split| -> Vec<(String, usize)> {
            dataset
                .records(split)
                .unwrap()
                .iter()
                .map(|r| (r.id.clone(), r.label))
                .collect()
        };
        let train = [
            ("train/n01/a.JPEG", 0),
            ("train/n01/b.JPEG", 0),
            ("train/n03/b.JPEG", 2),
        ];
        assert_eq!(
            ids(Split::Train),
            train.map(|(id, label)| (id.into(), label))
        );
        assert_eq!(ids(Split::Test), [("val/n03/v.JPEG".into(), 2)]);
        assert!(matches!(
            dataset.records(Split::Val),
            Err(Error::NoSplit { .. })
        ));

        let twice = format!("{names}n01 carp\n");
        fs::write(root.path().join("classnames.txt"), twice).unwrap();
        let error = open_imagenet(root.path(), "?").unwrap_err().to_string();
        assert!(
            error.contains("classnames.txt: class `n01` is both number 1 and number 4"),
            "{error}"
        );
        fs::write(root.path().join("classnames.txt"), names).unwrap();

        touch(root.path(), "images/val/loose.JPEG");
        let error = open_imagenet(root.path(), "?").unwrap_err().to_string();
        assert!(error.contains("loose.JPEG: field `class`"), "{error}");
        fs::remove_file(root.path().join("images/val/loose.JPEG")).unwrap();
        touch(root.path(), "images/val/n09/v.JPEG");
        let error = open_imagenet(root.path(), "?").unwrap_err().to_string();
        assert!(error.contains("n09: field `class`"), "{error}");
        touch(root.path(), "images/train/n04/a.JPEG");
        let error = open_imagenet(root.path(), "?").unwrap_err().to_string();
        assert!(
            error.contains("classnames.txt: n04: field `name`"),
            "{error}"
        );
    }
}
