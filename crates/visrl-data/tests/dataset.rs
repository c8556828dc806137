//! The contract of a data set: what it makes of records, and what one of one's own has to do.

use std::sync::Arc;

use visrl_core::ImageSource;
use visrl_data::{
    ChoiceList, ChoiceRule, Classes, Dataset, Error, ExampleDealer, FewShot, MemoryDataset, Record,
    Split, base_new, check_image_files,
};

fn pets() -> MemoryDataset {
    let record = |id: &str, label| Record::new(id, ImageSource::path(id), label);
    MemoryDataset::new("pets", ["cat", "dog"], "Which pet?")
        .with_split(Split::Train, vec![record("a.png", 1), record("b.png", 0)])
        .unwrap()
}

#[test]
fn a_record_becomes_an_example_with_its_own_question_first() {
    let pets = pets();
    let record = pets.records(Split::Train).unwrap()[0]
        .clone()
        .with_question("Dog?");
    let example = pets.example(&record, vec!["dog".into()]).unwrap();
    assert_eq!(
        (example.question.as_str(), example.label.as_str()),
        ("Dog?", "dog")
    );
    assert_eq!(example.choices, ["dog"]);
    let list = ChoiceList::new(ChoiceRule::All, 1);
    let examples = pets.examples(Split::Train, &list, 0).unwrap();
    assert_eq!(examples[1].question, "Which pet?");
    assert_eq!(
        (examples[1].choices.len(), examples[1].label.as_str()),
        (2, "cat")
    );
}

#[test]
fn labels_beyond_the_classes_are_refused() {
    let record = Record::new("c.png", ImageSource::path("c.png"), 2);
    let error = pets().example(&record, vec![]).unwrap_err().to_string();
    assert_eq!(
        error,
        "pets: c.png: label 2 is out of range, there are 2 classes"
    );
}

#[test]
fn a_label_must_be_among_the_choices_given() {
    let record = pets().records(Split::Train).unwrap()[0].clone();
    let error = pets().example(&record, vec!["cat".into()]).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with("pets: a.png: field `label`: `dog` is not one of the choices [ cat];"),
        "{message}"
    );
}

#[test]
fn a_records_own_choices_stand_in_place_of_drawn_ones() {
    let own = ["left", "right"].map(String::from).to_vec();
    let record = pets().records(Split::Train).unwrap()[0].clone();
    let pets = pets()
        .with_split(Split::Test, vec![record.with_choices(own.clone())])
        .unwrap();
    for rule in [ChoiceRule::All, ChoiceRule::Open] {
        let list = ChoiceList::new(rule, 1);
        let examples = pets.examples(Split::Test, &list, 0).unwrap();
        assert_eq!(examples[0].choices, own);
    }
}

#[test]
fn a_missing_image_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("there.png");
    std::fs::write(&there, b"x").unwrap();
    let record = |path: std::path::PathBuf| Record::new("r", ImageSource::path(path), 0);
    let good = MemoryDataset::new("d", ["x"], "?")
        .with_split(Split::Test, vec![record(there.clone())])
        .unwrap();
    assert_eq!(check_image_files(&good).unwrap(), 1);
    let bad = good
        .with_split(Split::Val, vec![record(folder.path().join("gone.png"))])
        .unwrap();
    assert!(
        matches!(check_image_files(&bad), Err(Error::Missing { path, .. })
        if path.ends_with("gone.png"))
    );
}

/// A data set of one's own: eight stones for training, and a file of test images that cannot be
/// read.
struct Stones {
    classes: Vec<String>,
    records: Vec<Record>,
}

impl Dataset for Stones {
    fn name(&self) -> &str {
        "stones"
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn question(&self) -> &str {
        "Which stone?"
    }
    fn records(&self, split: Split) -> Result<&[Record], Error> {
        match split {
            Split::Train => Ok(&self.records),
            Split::Test => Err(Error::dataset("stones", "the server does not answer")),
            Split::Val => Err(Error::NoSplit {
                dataset: "stones".into(),
                split,
            }),
        }
    }
}

fn stones() -> Stones {
    let record = |n: usize| Record::new(n.to_string(), ImageSource::path("stone.png"), n % 4);
    Stones {
        classes: ["agate", "basalt", "chalk", "flint"]
            .map(String::from)
            .to_vec(),
        records: (0..8).map(record).collect(),
    }
}

#[test]
fn whatever_points_at_a_data_set_is_one() {
    fn first(dataset: impl Dataset) -> String {
        let list = ChoiceList::new(ChoiceRule::All, 1);
        let examples = dataset.examples(Split::Train, &list, 0).unwrap();
        format!("{}: {:?}", dataset.name(), examples[0])
    }
    let own = stones();
    let expected = first(&own);
    assert_eq!(first(&own as &dyn Dataset), expected);
    assert_eq!(first(Box::new(stones()) as Box<dyn Dataset>), expected);
    let shared: Arc<dyn Dataset> = Arc::new(own);
    assert_eq!(first(&shared), expected);
    assert_eq!(first(Arc::clone(&shared)), expected);

    // The same through a trait object, wherever a data set is taken.
    let choices = ChoiceList::new(ChoiceRule::All, 1);
    let records = shared.records(Split::Train).unwrap();
    let dealer = ExampleDealer::new(&shared, records, choices, 1).unwrap();
    assert_eq!(dealer.deal(0, 8).unwrap().len(), 8);
}

#[test]
fn a_split_that_is_missing_is_left_out_and_one_that_fails_is_an_error() {
    let shared: Arc<dyn Dataset> = Arc::new(stones());
    assert!(shared.records_if_any(Split::Val).unwrap().is_none());
    let expected = "data set `stones`: the server does not answer";
    let draw = FewShot::new(1, 1);
    for result in [
        MemoryDataset::copy_of(&*shared),
        base_new(&shared, Classes::Base),
        base_new(&shared, Classes::All),
        draw.draw(&shared),
    ] {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
    assert_eq!(check_image_files(&shared).unwrap_err().to_string(), {
        "stone.png: not found: image of `0` in stones"
    });

    struct TrainOnly(Stones);
    impl Dataset for TrainOnly {
        fn name(&self) -> &str {
            self.0.name()
        }
        fn classes(&self) -> &[String] {
            self.0.classes()
        }
        fn question(&self) -> &str {
            self.0.question()
        }
        fn records(&self, split: Split) -> Result<&[Record], Error> {
            match split {
                Split::Train => self.0.records(split),
                _ => Err(Error::NoSplit {
                    dataset: self.name().into(),
                    split,
                }),
            }
        }
    }
    let shared: Arc<dyn Dataset> = Arc::new(TrainOnly(stones()));
    let copy = MemoryDataset::copy_of(&shared).unwrap();
    assert_eq!(copy.records(Split::Train).unwrap().len(), 8);
    assert!(copy.records(Split::Test).is_err());
    assert_eq!(
        draw.draw(&shared)
            .unwrap()
            .records(Split::Train)
            .unwrap()
            .len(),
        4
    );
    let base = base_new(&shared, Classes::Base).unwrap();
    assert_eq!(base.classes(), ["agate", "basalt"]);
}
