//! Image folders as people have them: each picture is read, or told with its number, or the folder
//! is refused by name.

use std::fs;
use std::path::Path;

use visrl_data::{Dataset, Error, ImageFolderConfig, MemoryDataset, NameCleanup, Split};
use visrl_testing::warnings_of;

fn tree(files: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for file in files {
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match file.ends_with('/') {
            true => fs::create_dir_all(path).unwrap(),
            false => fs::write(path, b"").unwrap(),
        }
    }
    root
}

/// What is read, and what is told of it without the path of the root.
fn open(root: &Path) -> (Result<MemoryDataset, Error>, Vec<String>) {
    open_with(&ImageFolderConfig::default(), root)
}

fn open_with(
    config: &ImageFolderConfig,
    root: &Path,
) -> (Result<MemoryDataset, Error>, Vec<String>) {
    let (opened, told) = warnings_of(|| config.open(root));
    let start = format!("{}: ", root.display());
    let told = told.iter().map(|text| text.replacen(&start, "", 1));
    (opened, told.collect())
}

/// The splits with the paths and classes of their records.
fn rows(dataset: &MemoryDataset) -> Vec<String> {
    let mut rows = Vec::new();
    for split in Split::ALL {
        for record in dataset.records(split).unwrap_or_default() {
            let class = &dataset.classes()[record.label];
            rows.push(format!("{split} {} {class}", record.id));
        }
    }
    rows
}

/// A folder that is read without a word.
fn quiet(files: &[&str], wanted: &[&str]) {
    let root = tree(files);
    let (opened, told) = open(root.path());
    assert_eq!(rows(&opened.unwrap()), wanted);
    assert!(told.is_empty(), "{told:?}");
}

/// A folder that is read, and of which something is told.
fn told(files: &[&str], wanted: &[&str], texts: &[&str]) {
    let root = tree(files);
    let (opened, told) = open(root.path());
    assert_eq!(rows(&opened.unwrap()), wanted);
    assert_eq!(told.len(), texts.len(), "{told:?}");
    for (told, text) in told.iter().zip(texts) {
        assert!(told.starts_with(text), "{told}");
    }
}

fn refused(files: &[&str], text: &str) {
    let root = tree(files);
    let (opened, told) = open(root.path());
    let message = opened.unwrap_err().to_string();
    assert!(
        message.starts_with(root.path().to_str().unwrap()),
        "{message}"
    );
    assert!(message.contains(text), "{message}");
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn pictures_of_other_formats_are_told_with_their_number() {
    told(
        &[
            "train/kite/a.png",
            "train/kite/b.HEIC",
            "train/kite/c.heic",
            "train/drum/d.jfif",
            "train/drum/e.avif",
            "train/drum/notes.txt",
        ],
        &[
            "train train/drum/d.jfif drum",
            "train train/kite/a.png kite",
        ],
        &[
            "3 pictures are left out, of a format or with an ending that is not read (1 avif, 2 heic; \
           the first is `train/drum/e.avif`)",
        ],
    );
    told(
        &["kite/a.png", "lamp/b.psd"],
        &["train kite/a.png kite"],
        &[
            "1 picture is left out, of a format or with an ending that is not read (1 psd;",
            "the class `lamp` has no picture that is read, and stays among the names",
        ],
    );
    refused(
        &["kite/a.svg", "drum/b.svg"],
        "; 2 others are not read, such as `drum/b.svg`",
    );
    let root = tree(&["kite/a.png", "kite/b.jpg"]);
    let config = ImageFolderConfig {
        extensions: vec![".PNG".into()],
        ..ImageFolderConfig::default()
    };
    let (opened, told) = open_with(&config, root.path());
    assert_eq!(rows(&opened.unwrap()), ["train kite/a.png kite"]);
    assert!(told.is_empty(), "what is left out was asked for");
}

#[cfg(feature = "formats")]
#[test]
fn pictures_of_usual_formats_are_read() {
    quiet(
        &[
            "kite/a.WEBP",
            "kite/b.bmp",
            "kite/c.tif",
            "kite/d.tiff",
            "kite/e.gif",
        ],
        &[
            "train kite/a.WEBP kite",
            "train kite/b.bmp kite",
            "train kite/c.tif kite",
            "train kite/d.tiff kite",
            "train kite/e.gif kite",
        ],
    );
}

#[test]
fn a_picture_without_an_ending_is_told() {
    let root = tree(&["kite/a.png", "kite/README"]);
    fs::write(root.path().join("kite/b"), b"\xff\xd8\xff\xe0").unwrap();
    let (opened, told) = open(root.path());
    assert_eq!(rows(&opened.unwrap()), ["train kite/a.png kite"]);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("1 without an ending; the first is `kite/b`"),
        "{told:?}"
    );
}

#[test]
fn pictures_in_deeper_folders_are_of_their_class() {
    quiet(
        &[
            "train/kite/b.png",
            "train/kite/2/a.png",
            "train/kite/1/x/c.png",
            "train/drum/1/d.png",
        ],
        &[
            "train train/drum/1/d.png drum",
            "train train/kite/b.png kite",
            "train train/kite/1/x/c.png kite",
            "train train/kite/2/a.png kite",
        ],
    );
    told(
        &["images/kite/a.png", "images/drum/b.png"],
        &[
            "train images/drum/b.png images",
            "train images/kite/a.png images",
        ],
        &["all pictures are of one class, `images`, though they lie in the folders `drum`, `kite`"],
    );
}

#[test]
fn splits_are_called_as_elsewhere() {
    for (train, val, test) in [
        ("training", "validation", "testing"),
        ("Train", "valid", "TEST"),
        ("training_set", "dev", "test_set"),
    ] {
        let files = [
            format!("{train}/a/1.png"),
            format!("{val}/a/2.png"),
            format!("{test}/a/3.png"),
        ];
        let wanted = [
            format!("train {} a", files[0]),
            format!("val {} a", files[1]),
            format!("test {} a", files[2]),
        ];
        quiet(
            &files.each_ref().map(|f| &**f),
            &wanted.each_ref().map(|f| &**f),
        );
    }
    refused(
        &["train/a/1.png", "val/a/2.png", "validation/a/3.png"],
        "val: field `folder`: and `validation` are both the val split",
    );
}

#[test]
fn folders_beside_the_splits_are_told() {
    told(
        &[
            "train/a/1.png",
            "test/a/2.png",
            "extra/a/3.png",
            "extra/4.gif",
            "labels/a.txt",
            "5.png",
        ],
        &["train train/a/1.png a", "test test/a/2.png a"],
        &[
            "1 picture is left out, since what lies beside the folders of classes",
            "the folder `extra` lies beside those of the splits, and its 2 pictures are left out",
        ],
    );
    told(
        &["train/a/1.png", "train/loose.png", "test/a/2.png"],
        &["train train/a/1.png a", "test test/a/2.png a"],
        &[
            "1 picture is left out, since what lies beside the folders of classes has no class (the \
           first is `train/loose.png`)",
        ],
    );
}

#[test]
fn a_class_may_be_called_like_a_split() {
    let classes = ["train bus/1.png bus", "train train/2.png train"];
    quiet(&["bus/1.png", "train/2.png"], &classes);
    quiet(&["bus/1.png", "train/2.png", "val/"], &classes);
    quiet(
        &["bus/1.png", "Train/2.png"],
        &["train Train/2.png Train", "train bus/1.png bus"],
    );
    for files in [
        // A split with pictures beside its classes, or a class with more in a folder below it.
        &["bus/1.png", "Train/2.png", "Train/more/3.png"][..],
        &["bus/1.png", "train/2.png", "test/3.png"],
        // Pictures without a class, to be tested on.
        &["bus/1.png", "car/2.png", "Test/3.png"],
        &["bus/1.png", "validation/3.png"],
    ] {
        refused(files, "field `folder`: may be a split or a class");
    }
    quiet(
        &["train/train/1.png", "train/bus/2.png"],
        &["train train/bus/2.png bus", "train train/train/1.png train"],
    );
    refused(
        &[
            "bus/1.png",
            "train/2.png",
            "train/bus/3.png",
            "test/bus/4.png",
        ],
        "train: field `folder`: may be a split or a class",
    );
    refused(
        &["train/1.png", "test/2.png"],
        "pictures lie right in it, and have no class",
    );
}

#[test]
fn splits_below_other_folders_are_refused_or_told() {
    refused(
        &[
            "photos/Train/kite/1.png",
            "photos/Test/kite/2.png",
            "notes.txt",
        ],
        "photos: field `folder`: holds all pictures in `Test`, `Train`, which are called like splits; \
         give this folder",
    );
    refused(
        &["kite/train/1.png", "kite/test/2.png", "drum/train/3.png"],
        "put the classes below the splits, as in `train/drum`",
    );
    told(
        &[
            "seg_train/kite/1.png",
            "seg_train/drum/2.png",
            "seg_test/kite/3.png",
        ],
        &[
            "train seg_test/kite/3.png seg_test",
            "train seg_train/drum/2.png seg_train",
            "train seg_train/kite/1.png seg_train",
        ],
        &["`seg_train` is read as one class with all pictures in the folders below it; if these"],
    );
    refused(
        &[
            "seg_train/seg_train/kite/1.png",
            "seg_test/seg_test/kite/2.png",
            "seg_pred/seg_pred/3.png",
        ],
        "seg_test: field `folder`: holds all pictures in folders below `seg_test/seg_test`: if these \
         are the classes, move them one folder up, as `test/<class>`",
    );
    refused(
        &["Train/Train/kite/1.png", "Test/Test/kite/2.png"],
        "Train: field `folder`: holds all pictures in folders below `Train/Train`",
    );
    quiet(
        &["machine/train/1.png", "machine/car/2.png", "bird/3.png"],
        &[
            "train bird/3.png bird",
            "train machine/car/2.png machine",
            "train machine/train/1.png machine",
        ],
    );
}

#[test]
fn a_class_that_is_not_trained_is_told() {
    told(
        &[
            "train/kite/1.png",
            "train/drum/",
            "test/kite/2.png",
            "test/drum/3.png",
            "test/drums/4.png",
        ],
        &[
            "train train/kite/1.png kite",
            "test test/drum/3.png drum",
            "test test/drums/4.png drums",
            "test test/kite/2.png kite",
        ],
        &[
            "the class `drum` has no picture in the training split, though it has some in another \
             (and so is it with 1 more)",
        ],
    );
}

#[test]
fn what_systems_leave_behind_is_no_data() {
    quiet(
        &[
            "train/kite/a.png",
            "train/kite/.DS_Store",
            "train/kite/._a.png",
            "train/kite/Thumbs.db",
            "train/kite/.ipynb_checkpoints/a.png",
            "train/__MACOSX/kite/a.png",
            "__MACOSX/train/kite/._a.png",
            "desktop.ini",
        ],
        &["train train/kite/a.png kite"],
    );
}

#[test]
fn names_that_a_reader_takes_for_one_are_one_or_refused() {
    let (nfc, nfd) = ("caf\u{e9}", "cafe\u{301}");
    quiet(
        &[
            &format!("train/{nfc}/1.png"),
            &format!("test/{nfd}/2.png"),
            "train/kite /3.png",
        ],
        &[
            &format!("train train/{nfc}/1.png {nfc}"),
            "train train/kite /3.png kite",
            &format!("test test/{nfd}/2.png {nfc}"),
        ],
    );
    told(
        &["kite/1.png", "kite /2.png"],
        &["train kite/1.png kite", "train kite /2.png kite"],
        &["the folders `kite` and `kite ` are read as one class, `kite`"],
    );
    refused(
        &["train/Kite/1.png", "test/kite/2.png"],
        "`Kite` and `kite` differ in case",
    );
    quiet(
        &["A/1.png", "a/2.png"],
        &["train A/1.png A", "train a/2.png a"],
    );
    let root = tree(&["Kite/1.png", "kite/2.png"]);
    let config = ImageFolderConfig {
        names: NameCleanup::Replace([("Kite".to_owned(), "Toy kite".to_owned())].into()),
        ..ImageFolderConfig::default()
    };
    let (opened, _) = open_with(&config, root.path());
    assert_eq!(opened.unwrap().classes(), ["Toy kite", "kite"]);
    refused(&[" /1.png", "a/2.png"], "field `name`: is empty");
}

#[cfg(unix)]
#[test]
fn a_link_and_a_picture_are_told_by_their_own_names() {
    let root = tree(&["drum/c.png", "drum/x.heic"]);
    std::os::unix::fs::symlink("gone.png", root.path().join("drum/a.png")).unwrap();
    let (opened, told) = open(root.path());
    assert_eq!(rows(&opened.unwrap()), ["train drum/c.png drum"]);
    assert!(
        told[0].contains("(1 heic; the first is `drum/x.heic`)"),
        "{told:?}"
    );
    assert!(
        told[1].contains("1 link is left out") && told[1].contains("`drum/a.png`"),
        "{told:?}"
    );
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_those_that_lead_nowhere_told() {
    use std::os::unix::fs::symlink;
    let elsewhere = tree(&["a.png", "more/b.png"]);
    let root = tree(&["drum/c.png"]);
    let link = |to: &Path, from: &str| symlink(to, root.path().join(from)).unwrap();
    link(elsewhere.path(), "kite");
    link(&elsewhere.path().join("a.png"), "drum/d.png");
    link(Path::new("gone.png"), "drum/e.png");
    link(root.path(), "drum/round");
    let (opened, told) = open(root.path());
    let wanted = [
        "train drum/c.png drum",
        "train drum/d.png drum",
        "train kite/a.png kite",
        "train kite/more/b.png kite",
    ];
    assert_eq!(rows(&opened.unwrap()), wanted);
    assert_eq!(told.len(), 1, "{told:?}");
    let text = "2 links are left out that lead nowhere, or to a folder around them (the first is \
                `drum/e.png`)";
    assert_eq!(told[0], text);
}

#[cfg(unix)]
#[test]
fn a_split_that_is_a_link_to_another_is_told() {
    let root = tree(&["train/kite/1.png", "train/drum/2.png", "val/kite/1.png"]);
    std::os::unix::fs::symlink("train", root.path().join("test")).unwrap();
    let (opened, told) = open(root.path());
    assert_eq!(rows(&opened.unwrap()).len(), 5);
    assert_eq!(told.len(), 1, "{told:?}");
    let text = "2 of the 2 records of the test split have their picture in the training split, too \
                (the first is `test/drum/2.png`)";
    assert!(told[0].starts_with(text), "{told:?}");
}

#[test]
fn options_that_do_nothing_are_told() {
    let root = tree(&["train/kite/1.png", "test/kite/2.png", "train/drum/1.png"]);
    let names = [("kite", "a kite"), ("lamp", "a lamp")];
    let names = names.map(|(from, to)| (from.to_owned(), to.to_owned()));
    let config = ImageFolderConfig {
        flat_split: Split::Test,
        names: NameCleanup::Replace(names.into()),
        ..ImageFolderConfig::default()
    };
    let (opened, told) = open_with(&config, root.path());
    assert_eq!(opened.unwrap().classes(), ["drum", "a kite"]);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("`names.replace` names `lamp`, and no folder"),
        "{told:?}"
    );
    assert!(
        told[1].starts_with("`flat_split` is test, which does nothing here"),
        "{told:?}"
    );
}
