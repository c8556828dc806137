//! Image folders with renamed, moved, lost and strange entries, by the thousand: each gives a data
//! set or a typed error that names the folder, and no picture is passed over without a word.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use visrl_core::ImageSource;
use visrl_core::files::FileError;
use visrl_data::{Dataset, Error, ImageFolderConfig, MemoryDataset, Split, plain_label};
use visrl_testing::fuzz::mutate::Rng;
use visrl_testing::fuzz::{self, MIB};
use visrl_testing::warnings_of;

#[global_allocator]
static ALLOCATOR: fuzz::memory::Counting = fuzz::memory::Counting;

/// Names that a folder or a file may have by mistake or on another system.
const NAMES: [&str; 40] = [
    "train",
    "Train",
    "training",
    "val",
    "valid",
    "validation",
    "dev",
    "test",
    "test_set",
    "eval",
    "kite",
    "kite ",
    " kite",
    "Kite",
    "caf\u{e9}",
    "cafe\u{301}",
    "drum",
    "1",
    "a",
    "A",
    " ",
    "\u{200b}",
    "<answer>kite<",
    "<think>",
    "__MACOSX",
    ".hidden",
    "Thumbs.db",
    "\u{1f41f}",
    "x.png",
    "x.JPG",
    "x.webp",
    "x.bmp",
    "x.txt",
    "x",
    "x.",
    "x.png.tmp",
    "y.jpeg",
    "y.gif",
    "a.jfif",
    "desktop.ini",
];

/// A tree with splits, or one with classes right below the root.
fn plant(rng: &mut Rng, root: &Path) {
    let splits: &[&str] = match rng.below(4) {
        0 => &[""],
        1 => &["train"],
        2 => &["train", "test"],
        _ => &["train", "val", "test"],
    };
    for split in splits {
        for class in ["kite", "drum", "lamp"] {
            let folder = root.join(split).join(class);
            fs::create_dir_all(&folder).unwrap();
            for picture in ["a.png", "b.jpg"] {
                fs::write(folder.join(picture), b"").unwrap();
            }
        }
    }
}

/// Every entry below a folder; links are not followed.
fn entries(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        found.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            entries(&entry.path(), found);
        }
    }
}

/// A name: one of the list, one that is not UTF-8, or a long one.
fn name(rng: &mut Rng) -> PathBuf {
    #[cfg(unix)]
    if rng.one_in(40) {
        use std::os::unix::ffi::OsStrExt;
        return PathBuf::from(std::ffi::OsStr::from_bytes(b"k\xffte.png"));
    }
    match rng.below(60) {
        0 => PathBuf::from("k".repeat(255)),
        _ => PathBuf::from(rng.pick(&NAMES)),
    }
}

fn link(to: &Path, from: &Path) {
    #[cfg(unix)]
    let _ = std::os::unix::fs::symlink(to, from);
    #[cfg(not(unix))]
    let _ = (to, from);
}

fn mutate(rng: &mut Rng, root: &Path) {
    for _ in 0..1 + rng.below(4) {
        let mut all = vec![root.to_path_buf()];
        entries(root, &mut all);
        let one = rng.pick(&all).clone();
        let other = rng.pick(&all).clone();
        let beside = one.parent().unwrap().join(name(rng));
        let within = other.join(name(rng));
        // What cannot be done, such as a folder that is moved into itself, changes nothing.
        match rng.below(9) {
            _ if one == root && rng.one_in(2) => {
                let _ = fs::write(root.join(name(rng)), b"");
            }
            0 | 1 if one != root => drop(fs::rename(&one, beside)),
            2 if one != root => drop(fs::rename(&one, within)),
            3 if one != root => {
                let _ = fs::remove_file(&one).or_else(|_| fs::remove_dir_all(&one));
            }
            4 => drop(fs::create_dir_all(within)),
            5 => {
                let starts: [&[u8]; 3] = [b"", b"\xff\xd8\xff\xe0", b"text"];
                let _ = fs::write(within, rng.pick(&starts));
            }
            6 => link(&one, &within),
            7 => link(Path::new("nowhere"), &within),
            _ => drop(fs::write(other.join("more.png"), b"")),
        }
    }
}

/// The pictures of the tree, and whether there are links.
fn pictures(folder: &Path, links: &mut bool) -> usize {
    let left = ["__MACOSX", "Thumbs.db", "desktop.ini"];
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().unwrap();
        *links |= kind.is_symlink();
        if name.starts_with('.') || left.contains(&&*name) {
            continue;
        }
        if kind.is_dir() {
            count += pictures(&entry.path(), links);
        } else if kind.is_file() {
            let ending = name
                .rsplit_once('.')
                .map(|(_, ending)| ending.to_lowercase());
            let known = ["png", "jpg", "jpeg", "jfif", "webp", "bmp", "gif"];
            count += usize::from(match ending.as_deref() {
                Some(ending) if !ending.is_empty() => known.contains(&ending),
                _ => fs::read(entry.path()).unwrap().starts_with(b"\xff\xd8\xff"),
            });
        }
    }
    count
}

/// The numbers of pictures that warnings say are left out.
fn left_out(told: &[String]) -> usize {
    let number = |text: &String| {
        let words: Vec<&str> = text.split(' ').collect();
        let at = words
            .windows(4)
            .position(|words| words[1].starts_with("picture") && words[3].starts_with("left"));
        at.map_or(0, |at| words[at].parse().unwrap())
    };
    told.iter().map(number).sum()
}

fn check(dataset: &MemoryDataset, root: &Path) -> usize {
    let classes: BTreeSet<&String> = dataset.classes().iter().collect();
    assert_eq!(classes.len(), dataset.classes().len());
    for class in classes {
        assert_eq!(plain_label(class).unwrap(), class.as_str());
    }
    let mut ids = BTreeSet::new();
    for split in Split::ALL {
        for record in dataset.records(split).unwrap_or_default() {
            assert!(record.label < dataset.classes().len());
            assert!(ids.insert(&record.id), "{}", record.id);
            let ImageSource::Path(path) = &record.image else {
                panic!("{:?}", record.image);
            };
            assert!(
                path.starts_with(root) && path.is_file(),
                "{}",
                path.display()
            );
        }
    }
    ids.len()
}

#[test]
fn mutated_folders_are_read_told_or_refused() {
    let folder = fuzz::folder();
    let mut case = 0;
    fuzz::group("image folders", MIB, |rng| {
        case += 1;
        // A warning is given once for one folder, so each case has its own.
        let root = folder.path().join(case.to_string());
        fs::create_dir(&root).unwrap();
        plant(rng, &root);
        mutate(rng, &root);
        let (opened, told) = warnings_of(|| ImageFolderConfig::default().open(&root));
        let accepted = match opened {
            Ok(dataset) => {
                let read = check(&dataset, &root);
                let mut links = false;
                let there = pictures(&root, &mut links);
                let mut all = Vec::new();
                entries(&root, &mut all);
                assert!(
                    links || there == read + left_out(&told),
                    "{there} pictures, {read} read, of {all:?}, told {told:?}"
                );
                true
            }
            Err(error) => {
                let message = error.to_string();
                assert!(message.starts_with(root.to_str().unwrap()), "{message}");
                assert!(
                    matches!(
                        error,
                        Error::Missing { .. }
                            | Error::Row { .. }
                            | Error::AlikeClasses { .. }
                            | Error::File(FileError::Io { .. })
                    ),
                    "{error:?}"
                );
                assert!(told.is_empty(), "{told:?}");
                false
            }
        };
        fs::remove_dir_all(&root).unwrap();
        accepted
    });
}
