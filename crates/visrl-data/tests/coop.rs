//! CoOp's published splits and few-shot draws, and the random numbers of CPython they rest on.
//!
//! The cases are whatever lies in the folder of `VISRL_COOP`, by default `tests/coop`.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use visrl_core::ImageSource;
use visrl_data::{
    Classes, CoopSet, Dataset, MemoryDataset, PythonRandom, Record, Split, base_new, few_shot,
    read_split_file,
};

fn folder() -> PathBuf {
    let folder = std::env::var_os("VISRL_COOP").unwrap_or_else(|| "tests/coop".into());
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(folder)
}

fn read<T: DeserializeOwned>(path: &Path) -> T {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

type Row = (String, usize, String);

/// The rows of a split, as they stand in CoOp's files.
fn rows(dataset: &dyn Dataset, split: Split) -> Vec<Row> {
    let records = dataset.records(split).unwrap().iter();
    records
        .map(|r| (r.id.clone(), r.label, dataset.classes()[r.label].clone()))
        .collect()
}

/// The sets whose split file is in the folder.
fn full_splits() -> BTreeMap<CoopSet, MemoryDataset> {
    let mut sets = BTreeMap::new();
    for set in CoopSet::ALL {
        let Some(path) = set.split_file().map(|file| folder().join(file)) else {
            continue;
        };
        if path.is_file() {
            let images = Path::new("images");
            let name = set.folder();
            let dataset =
                read_split_file(&path, images, name, set.question(), set.num_classes()).unwrap();
            sets.insert(set, dataset);
        }
    }
    sets
}

/// A published draw and what its file name says about it.
struct Draw {
    file: PathBuf,
    set: String,
    shots: usize,
    seed: u64,
    classes: Classes,
    expected: Expected,
}

#[derive(Deserialize)]
struct Expected {
    train: Vec<Row>,
    val: Vec<Row>,
    train_indices: Option<Vec<usize>>,
    val_indices: Option<Vec<usize>>,
}

fn draws() -> Vec<Draw> {
    let mut draws = Vec::new();
    for entry in fs::read_dir(folder().join("fewshot")).unwrap() {
        let file = entry.unwrap().path();
        let Some(stem) = file
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .strip_suffix(".json")
        else {
            continue;
        };
        let (stem, classes) = match stem {
            _ if stem.ends_with("-base") => (&stem[..stem.len() - 5], Classes::Base),
            _ if stem.ends_with("-new") => (&stem[..stem.len() - 4], Classes::New),
            _ => (stem, Classes::All),
        };
        let (set, numbers) = stem.rsplit_once("_shot_").unwrap();
        let (shots, seed) = numbers.split_once("-seed_").unwrap();
        draws.push(Draw {
            set: set.to_owned(),
            shots: shots.parse().unwrap(),
            seed: seed.parse().unwrap(),
            classes,
            expected: read(&file),
            file,
        });
    }
    draws
}

#[test]
fn published_draws_come_out_row_by_row() {
    let sets: BTreeMap<&str, MemoryDataset> = full_splits()
        .into_iter()
        .map(|(set, dataset)| (set.folder(), dataset))
        .collect();
    let mut compared = 0;
    for draw in draws() {
        let Some(full) = sets.get(draw.set.as_str()) else {
            continue;
        };
        let drawn = few_shot(full, draw.shots, draw.seed).unwrap();
        let part = base_new(&drawn, draw.classes).unwrap();
        let name = draw.file.display();
        assert_eq!(
            rows(&part, Split::Train),
            draw.expected.train,
            "{name}: train"
        );
        assert_eq!(rows(&part, Split::Val), draw.expected.val, "{name}: val");
        compared += 1;
    }
    println!("few-shot draws compared with their full split: {compared}");
    assert!(
        compared > 0,
        "no draw with its split file in {}",
        folder().display()
    );
}

/// Sets of which only draws are published here, but whose splits have a known shape: so many rows
/// of every class, class by class. The rows drawn can be compared by their places.
const EVEN_SETS: [(&str, usize, usize, usize); 2] =
    [("food101", 101, 500, 200), ("sun397", 397, 40, 10)];

#[test]
fn draws_of_evenly_filled_sets_come_out_by_place() {
    let mut compared = 0;
    for draw in draws() {
        let Some(&(_, classes, train, val)) = EVEN_SETS.iter().find(|set| set.0 == draw.set) else {
            continue;
        };
        let (Classes::All, Some(train_places), Some(val_places)) = (
            draw.classes,
            draw.expected.train_indices,
            draw.expected.val_indices,
        ) else {
            continue;
        };
        let records = |per_class: usize| -> Vec<Record> {
            let image = ImageSource::path("x.jpg");
            (0..classes * per_class)
                .map(|row| Record::new(row.to_string(), image.clone(), row / per_class))
                .collect()
        };
        let full = MemoryDataset::new("even", (0..classes).map(|c| c.to_string()), "?")
            .with_split(Split::Train, records(train))
            .and_then(|full| full.with_split(Split::Val, records(val)))
            .unwrap();
        let drawn = few_shot(&full, draw.shots, draw.seed).unwrap();
        let places = |split| -> Vec<usize> {
            drawn
                .records(split)
                .unwrap()
                .iter()
                .map(|r| r.id.parse().unwrap())
                .collect()
        };
        assert_eq!(
            places(Split::Train),
            train_places,
            "{}: train",
            draw.file.display()
        );
        assert_eq!(
            places(Split::Val),
            val_places,
            "{}: val",
            draw.file.display()
        );
        compared += 1;
    }
    println!("few-shot draws compared by place: {compared}");
}

/// Classes, then train/val/test rows of the whole set, of base and of new, as published.
type Sizes = (usize, [usize; 3], [usize; 3], [usize; 3]);

fn published(set: CoopSet) -> Option<Sizes> {
    Some(match set {
        CoopSet::OxfordPets => (37, [2944, 736, 3669], [1508, 377, 1881], [1436, 359, 1788]),
        CoopSet::Caltech101 => (
            100,
            [4128, 1649, 2465],
            [2594, 1036, 1549],
            [1534, 613, 916],
        ),
        CoopSet::Dtd => (47, [2820, 1128, 1692], [1440, 576, 864], [1380, 552, 828]),
        CoopSet::EuroSat => (
            10,
            [13500, 5400, 8100],
            [7000, 2800, 4200],
            [6500, 2600, 3900],
        ),
        CoopSet::Flowers102 => (
            102,
            [4093, 1633, 2463],
            [1744, 696, 1053],
            [2349, 937, 1410],
        ),
        CoopSet::StanfordCars => (
            196,
            [6509, 1635, 8041],
            [3240, 812, 4002],
            [3269, 823, 4039],
        ),
        CoopSet::Ucf101 => (
            101,
            [7639, 1898, 3783],
            [3926, 975, 1934],
            [3713, 923, 1849],
        ),
        _ => return None,
    })
}

#[test]
fn whole_base_and_new_have_the_published_sizes() {
    let mut as_published = 0;
    let sets = full_splits();
    for (&set, full) in &sets {
        let [whole, base, new] = [Classes::All, Classes::Base, Classes::New].map(|classes| {
            let part = base_new(full, classes).unwrap();
            let rows = Split::ALL.map(|split| part.records(split).unwrap().len());
            (part.classes().len(), rows)
        });
        assert_eq!(base.0 + new.0, whole.0, "{set:?}");
        assert!(base.0 == new.0 || base.0 == new.0 + 1, "{set:?}");
        let sums: Vec<usize> = base
            .1
            .iter()
            .zip(new.1)
            .map(|(base, new)| base + new)
            .collect();
        assert_eq!(sums, whole.1, "{set:?}");
        let Some((classes, whole_rows, base_rows, new_rows)) = published(set) else {
            continue;
        };
        if whole == (classes, whole_rows) {
            assert_eq!((base.1, new.1), (base_rows, new_rows), "{set:?}");
            as_published += 1;
        }
    }
    println!(
        "split files read: {}, {as_published} of the published size",
        sets.len()
    );
    assert!(!sets.is_empty(), "no split file in {}", folder().display());
}

#[test]
fn class_names_of_the_splits_are_the_published_ones() {
    let mut compared = 0;
    for (set, full) in full_splits() {
        let path = folder()
            .join("classnames")
            .join(format!("{}.json", set.folder()));
        if path.is_file() {
            assert_eq!(full.classes(), read::<Vec<String>>(&path), "{set:?}");
            compared += 1;
        }
    }
    println!("lists of class names compared: {compared}");
    let group = folder().join("classnames");
    assert!(
        compared > 0 || !group.is_dir(),
        "no list of a split's names in {}",
        group.display()
    );
}

#[test]
fn aircraft_labels_follow_the_list_of_variants() {
    let variants = folder().join("fgvc_variants_reconstructed.txt");
    let draws = draws()
        .into_iter()
        .filter(|draw| draw.set == CoopSet::FgvcAircraft.folder());
    let mut compared = 0;
    for draw in draws.filter(|draw| draw.classes == Classes::All && variants.is_file()) {
        // The rows of the draw in the form of FGVC's own files.
        let root = tempfile::tempdir().unwrap();
        let aircraft = root.path().join(CoopSet::FgvcAircraft.folder());
        fs::create_dir(&aircraft).unwrap();
        fs::copy(&variants, aircraft.join("variants.txt")).unwrap();
        let splits = [("train", &draw.expected.train), ("val", &draw.expected.val)];
        for (split, rows) in splits.into_iter().chain([("test", &Vec::new())]) {
            let line = |(path, _, name): &Row| {
                format!(
                    "{} {name}\n",
                    Path::new(path).file_stem().unwrap().to_str().unwrap()
                )
            };
            let lines: String = rows.iter().map(line).collect();
            fs::write(aircraft.join(format!("images_variant_{split}.txt")), lines).unwrap();
        }
        let dataset = CoopSet::FgvcAircraft.open(root.path()).unwrap();
        for (split, expected) in [
            (Split::Train, draw.expected.train),
            (Split::Val, draw.expected.val),
        ] {
            let rows: Vec<Row> = rows(&dataset, split)
                .into_iter()
                .map(|(id, label, name)| (format!("images/{id}"), label, name))
                .collect();
            assert_eq!(rows, expected, "{}", draw.file.display());
        }
        compared += 1;
    }
    println!("draws compared with the list of aircraft variants: {compared}");
}

#[test]
fn imagenet_labels_follow_the_sorted_folders() {
    let names = folder().join("imagenet_classnames.txt");
    let expected = folder().join("classnames/imagenet.json");
    if !names.is_file() || !expected.is_file() {
        println!("no names of ImageNet in {}", folder().display());
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let imagenet = root.path().join(CoopSet::ImageNet.folder());
    for line in fs::read_to_string(&names).unwrap().lines() {
        let wnid = line.split(' ').next().unwrap();
        fs::create_dir_all(imagenet.join("images/train").join(wnid)).unwrap();
    }
    fs::create_dir_all(imagenet.join("images/val")).unwrap();
    fs::copy(&names, imagenet.join("classnames.txt")).unwrap();
    let dataset = CoopSet::ImageNet.open(root.path()).unwrap();
    assert_eq!(dataset.classes(), read::<Vec<String>>(&expected));
    println!(
        "class names of ImageNet compared: {}",
        dataset.classes().len()
    );
}

#[derive(Deserialize)]
struct Vectors {
    getrandbits32: Vec<u64>,
    random: Vec<f64>,
    sample10_4: Vec<usize>,
    then_sample100_4: Vec<usize>,
    then_sample1000_16: Vec<usize>,
    shuffle10: Vec<usize>,
    randbelow7: Vec<usize>,
}

#[test]
fn random_numbers_are_cpythons() {
    let cases: BTreeMap<String, Vectors> = read(&folder().join("python_random_vectors.json"));
    for (key, expected) in &cases {
        let seed = key.parse().unwrap();
        let mut random = PythonRandom::new(seed);
        for (i, &bits) in expected.getrandbits32.iter().enumerate() {
            assert_eq!(random.getrandbits(32), bits, "seed {seed}, word {i}");
        }
        let mut random = PythonRandom::new(seed);
        for &number in &expected.random {
            assert_eq!(random.random(), number, "seed {seed}");
        }
        let mut random = PythonRandom::new(seed);
        assert_eq!(
            random.sample(10, 4).unwrap(),
            expected.sample10_4,
            "seed {seed}"
        );
        assert_eq!(
            random.sample(100, 4).unwrap(),
            expected.then_sample100_4,
            "seed {seed}"
        );
        assert_eq!(
            random.sample(1000, 16).unwrap(),
            expected.then_sample1000_16,
            "seed {seed}"
        );
        let mut items: Vec<usize> = (0..10).collect();
        PythonRandom::new(seed).shuffle(&mut items);
        assert_eq!(items, expected.shuffle10, "seed {seed}");
        let mut random = PythonRandom::new(seed);
        for &number in &expected.randbelow7 {
            assert_eq!(random.randbelow(7), number, "seed {seed}");
        }
    }
    println!("seeds compared with CPython: {}", cases.len());
    assert!(!cases.is_empty());
}
