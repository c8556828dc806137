//! Data sets in parquet files, as the hub has them.
#![allow(clippy::print_stdout)]

mod parquet_file;

use std::path::{Path, PathBuf};

use parquet::basic::{Compression, ZstdLevel};
use parquet_file::{Column, Form, HUB, hub, picture, write};
use tempfile::TempDir;
use visrl_core::ImageSource;
use visrl_data::{Dataset, Error, MemoryDataset, ParquetConfig, ParquetLimits, Split};
use visrl_testing::warnings_of;

const SOLUTIONS: [&str; 3] = [
    "<answer>pear</answer>",
    "apple",
    "<think> red </think> <answer> cherry </answer>",
];

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn written(folder: &TempDir, columns: &[Column], form: &Form) -> PathBuf {
    let path = folder.path().join("train-00000-of-00001.parquet");
    write(&path, HUB, columns, form);
    path
}

fn open(path: &Path) -> Result<MemoryDataset, Error> {
    ParquetConfig::default().open(path)
}

fn message(result: Result<MemoryDataset, Error>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn the_papers_form_is_read_however_it_was_written() {
    let forms = Form::all();
    for form in &forms {
        let folder = folder();
        let path = written(&folder, &hub(12, &SOLUTIONS), form);
        let dataset = open(&path).unwrap_or_else(|error| panic!("{form:?}: {error}"));
        assert_eq!(dataset.classes(), ["apple", "cherry", "pear"]);
        let records = dataset.records(Split::Train).unwrap();
        assert_eq!(records.len(), 12);
        for (i, record) in records.iter().enumerate() {
            assert_eq!(record.id, format!("train[{i}]"));
            assert_eq!(record.label, [2, 0, 1][i % 3]);
            assert_eq!(
                record.question.as_deref(),
                Some("Which fruit is in the photo?")
            );
            let ImageSource::Encoded { name, bytes } = &record.image else {
                panic!("{record:?}");
            };
            let place = format!("of-00001.parquet: row {i}: field `image` ({i}.png)");
            assert!(name.ends_with(&place), "{name}");
            assert_eq!(bytes[..], picture(i));
        }
        assert!(dataset.records(Split::Test).is_err());
    }
    println!("forms of a file read: {}", forms.len());
}

#[test]
fn labels_and_questions_are_read_as_other_projects_write_them() {
    let folder = folder();
    let labels = [
        "kite",
        "kite ",
        "<answer>kite</answer>",
        "cafe\u{301}",
        "caf\u{e9}",
    ];
    let mut columns = hub(5, &labels);
    if let Column::Bytes(problems, _) = &mut columns[2] {
        problems[1] = Some(b"<image>\nWhich?".to_vec());
    }
    let path = written(&folder, &columns, &Form::default());
    let dataset = open(&path).unwrap();
    assert_eq!(dataset.classes(), ["caf\u{e9}", "kite"]);
    let records = dataset.records(Split::Train).unwrap();
    let found: Vec<usize> = records.iter().map(|record| record.label).collect();
    assert_eq!(found, [1, 1, 1, 0, 0]);
    assert_eq!(records[1].question.as_deref(), Some("Which?"));
    if let Column::Bytes(problems, _) = &mut columns[2] {
        problems[1] = Some(b"<image><image>Which?".to_vec());
    }
    let path = written(&folder, &columns, &Form::default());
    let message = message(open(&path));
    assert!(
        message.contains("row 1: field `problem`: marks the places of 2 images"),
        "{message}"
    );
}

#[test]
fn a_file_that_names_no_split_beside_others_is_told() {
    let root = folder();
    for (names, texts) in [
        (&["a.parquet", "b.parquet"][..], 0),
        (&["train.parquet", "eval.parquet"], 1),
    ] {
        let data = root.path().join(names[0]);
        std::fs::create_dir(&data).unwrap();
        for name in names {
            write(&data.join(name), HUB, &hub(2, &["pear"]), &Form::default());
        }
        let (opened, told) = warnings_of(|| open(&data));
        assert_eq!(opened.unwrap().records(Split::Train).unwrap().len(), 4);
        assert_eq!(told.len(), texts, "{told:?}");
        assert!(
            told.iter()
                .all(|text| text.contains("`eval.parquet` begins with no split's"))
        );
    }
}

#[test]
fn a_folder_of_files_is_one_data_set() {
    let root = folder();
    let data = root.path().join("data");
    std::fs::create_dir(&data).unwrap();
    for (name, solution) in [
        ("train-00001-of-00002", "b"),
        ("train-00000-of-00002", "c"),
        ("validation-00000-of-00001", "a"),
        ("test-00000-of-00001", "b"),
    ] {
        let path = data.join(name).with_extension("parquet");
        write(&path, HUB, &hub(2, &[solution]), &Form::default());
    }
    let dataset = open(root.path()).unwrap();
    assert_eq!(dataset.classes(), ["a", "b", "c"]);
    let labels = |split| -> Vec<usize> {
        let records = dataset.records(split).unwrap();
        records.iter().map(|record| record.label).collect()
    };
    assert_eq!(labels(Split::Train), [2, 2, 1, 1]);
    assert_eq!(labels(Split::Val), [0, 0]);
    assert_eq!(labels(Split::Test), [1, 1]);
    let all = ParquetConfig {
        split: Some(Split::Test),
        ..Default::default()
    };
    let dataset = all.open(root.path()).unwrap();
    assert_eq!(dataset.records(Split::Test).unwrap().len(), 8);
    assert!(message(open(folder().path())).contains("ends in `.parquet`"));
    assert!(matches!(
        open(&root.path().join("gone.parquet")),
        Err(Error::Missing { .. })
    ));
}

#[test]
fn columns_may_have_other_names() {
    let schema = "message m { optional binary picture; optional binary name (UTF8); }";
    let pictures = [Some(picture(1)), Some(picture(2))].to_vec();
    let columns = [Column::Bytes(pictures, 1), Column::texts(["pear", "apple"])];
    let folder = folder();
    let path = folder.path().join("mine.parquet");
    write(&path, schema, &columns, &Form::default());
    let config = ParquetConfig {
        image: "picture".into(),
        solution: "name".into(),
        question: Some("Which fruit?".into()),
        ..Default::default()
    };
    let dataset = config.open(&path).unwrap();
    assert_eq!(
        (dataset.name(), dataset.question()),
        ("mine", "Which fruit?")
    );
    assert_eq!(dataset.records(Split::Train).unwrap()[0].label, 1);
    assert_eq!(dataset.records(Split::Train).unwrap()[0].question, None);

    let error = |config: ParquetConfig| message(config.open(&path));
    let named = "was named as the";
    for (config, fault) in [
        (
            ParquetConfig::default(),
            format!("row 0: field `problem`: {named} question, and is not"),
        ),
        (
            ParquetConfig {
                solution: "answer".into(),
                ..config.clone()
            },
            format!("row 0: field `answer`: {named} answer, and is not"),
        ),
        (
            ParquetConfig {
                image: "image".into(),
                ..config
            },
            format!("row 0: field `image`: {named} images, and is not"),
        ),
    ] {
        let found = error(config);
        assert!(found.contains(&fault), "{found}");
    }
}

#[test]
fn class_numbers_take_their_names_from_the_file_or_the_configuration() {
    let schema = "message m {
        optional group image { optional binary bytes; optional binary path (UTF8); }
        optional int64 label;
    }";
    let image = Column::inside([Some(picture(0)), Some(picture(1))]);
    let path_column = Column::inside([None, None]);
    let note = r#"{"info": {"features": {"image": {"_type": "Image"}, "label":
        {"names": ["crane", "tench", "crane"], "_type": "ClassLabel"}}}}"#;
    let folder = folder();
    let path = folder.path().join("test.parquet");
    let config = ParquetConfig {
        solution: "label".into(),
        question: Some("?".into()),
        ..Default::default()
    };
    let write = |label: Option<i64>, note: Option<&str>| {
        let labels = Column::Ints(vec![Some(2), label]);
        let form = Form {
            note: note.map(String::from),
            ..Default::default()
        };
        write(
            &path,
            schema,
            &[image.clone(), path_column.clone(), labels],
            &form,
        );
    };
    write(Some(1), Some(note));
    let dataset = config.open(&path).unwrap();
    assert_eq!(dataset.classes(), ["crane", "tench", "crane"]);
    let records = dataset.records(Split::Test).unwrap();
    assert_eq!((records[0].label, records[1].label), (2, 1));
    assert!(
        records[0]
            .image
            .name()
            .ends_with("test.parquet: row 0: field `image`")
    );

    write(Some(3), Some(note));
    let fault = "row 1: field `label`: `3` is no class number: they are 0 to 2";
    assert!(message(config.open(&path)).contains(fault));
    write(None, Some(note));
    assert!(message(config.open(&path)).contains("row 1: field `label`: is null"));
    // Without names the digits are the classes.
    write(Some(1), None);
    assert_eq!(config.open(&path).unwrap().classes(), ["1", "2"]);
    let given = ParquetConfig {
        classes: Some(["a", "b", "c"].map(String::from).to_vec()),
        ..config
    };
    assert_eq!(given.open(&path).unwrap().classes(), ["a", "b", "c"]);
}

#[test]
fn rows_that_cannot_be_used_are_named() {
    let folder = folder();
    let error = |change: &dyn Fn(&mut Vec<Column>), config: &ParquetConfig| {
        let mut columns = hub(3, &["pear"]);
        change(&mut columns);
        let path = written(&folder, &columns, &Form::default());
        message(config.open(&path))
    };
    let set = |columns: &mut Vec<Column>, column: usize, value: Option<&[u8]>| {
        if let Column::Bytes(values, _) = &mut columns[column] {
            values[1] = value.map(<[u8]>::to_vec);
        }
    };
    let default = ParquetConfig::default();
    let without = error(&|c| set(c, 3, None), &default);
    assert!(
        without.contains("row 1: field `solution`: is null"),
        "{without}"
    );
    let empty = error(&|c| set(c, 3, Some(b"<answer> </answer>")), &default);
    assert!(
        empty.contains("row 1: field `solution`: is empty"),
        "{empty}"
    );
    let text = error(&|c| set(c, 2, Some(b"\xff")), &default);
    assert!(text.contains("problem"), "{text}");
    let long = error(&|c| set(c, 2, Some(&[b'x'; 70_000])), &default);
    assert!(
        long.contains("row 1: field `problem`: 70000 bytes"),
        "{long}"
    );
    let neither = |c: &mut Vec<Column>| {
        set(c, 0, None);
        set(c, 1, None);
    };
    let neither = error(&neither, &default);
    assert!(
        neither.contains("row 1: field `image`: holds no image"),
        "{neither}"
    );
    let parent = |c: &mut Vec<Column>| {
        set(c, 0, None);
        set(c, 1, Some(b"../../etc/passwd"));
    };
    let parent = error(&parent, &default);
    assert!(
        parent.contains("row 1: field `image`: `../../etc/passwd` is not a relative path"),
        "{parent}"
    );
    let unknown = ParquetConfig {
        classes: Some(vec!["apple".into()]),
        ..default
    };
    let unknown = error(&|_| {}, &unknown);
    assert!(unknown.contains("row 0: field `solution`: `pear` is not one of the classes given"));
}

#[test]
fn an_image_may_be_a_file_beside_the_table() {
    let folder = folder();
    let mut columns = hub(2, &["pear"]);
    columns[0] = Column::inside([None, Some(Vec::new())]);
    let path = written(&folder, &columns, &Form::default());
    let missing = message(open(&path));
    assert!(
        missing.contains("row 0: field `image`: there is no file"),
        "{missing}"
    );
    for i in 0..2 {
        std::fs::write(folder.path().join(format!("{i}.png")), b"").unwrap();
    }
    let dataset = open(&path).unwrap();
    let records = dataset.records(Split::Train).unwrap();
    for (i, record) in records.iter().enumerate() {
        let image = folder.path().join(format!("{i}.png"));
        assert_eq!(record.image, ImageSource::path(image));
    }
}

#[test]
fn limits_are_kept() {
    let folder = folder();
    let path = written(&folder, &hub(12, &SOLUTIONS), &Form::default());
    let with = |limits: ParquetLimits| {
        message(
            ParquetConfig {
                limits,
                ..Default::default()
            }
            .open(&path),
        )
    };
    let default = ParquetLimits::default();
    let rows = with(ParquetLimits {
        rows: 11,
        ..default
    });
    assert!(
        rows.contains("12 rows, the limit is 11; raise `limits.rows`"),
        "{rows}"
    );
    let image = ParquetLimits {
        image_bytes: 12,
        ..default
    };
    let image = with(image);
    assert!(
        image.contains("row 0: field `image`: 16 bytes, the limit is 12"),
        "{image}"
    );
    let page = with(ParquetLimits {
        page_bytes: 20,
        ..default
    });
    assert!(
        page.contains("row group 0: column `image.bytes`: the page at byte"),
        "{page}"
    );
    let total = with(ParquetLimits {
        total_bytes: 150,
        ..default
    });
    assert!(
        total.contains("row 9: field `image`: 160 bytes, the limit is 150"),
        "{total}"
    );
}

#[test]
fn a_small_file_cannot_fill_the_memory() {
    let folder = folder();
    let mut columns = hub(8, &["pear"]);
    columns[0] = Column::inside((0..8).map(|_| Some(vec![0; 32 << 20])));
    let form = Form {
        compression: Compression::ZSTD(ZstdLevel::default()),
        dictionary: false,
        ..Default::default()
    };
    let path = written(&folder, &columns, &form);
    drop(columns);
    assert!(std::fs::metadata(&path).unwrap().len() < 1 << 20);
    let config = ParquetConfig {
        limits: ParquetLimits {
            page_bytes: 8 << 20,
            ..Default::default()
        },
        ..Default::default()
    };
    let found = message(config.open(&path));
    assert!(
        found.contains("row group 0: column `image.bytes`: the page at byte"),
        "{found}"
    );
    assert!(found.contains("takes 335"), "{found}");
}

#[test]
fn what_is_no_parquet_file_is_said_so() {
    let folder = folder();
    let path = folder.path().join("x.parquet");
    for (bytes, fault) in [
        (&b""[..], "the file is too short"),
        (b"PAR1\0\0\0\0PAR1", "it is cut short"),
        (b"not a parquet file", "does not end in `PAR1`"),
        (b"PAR1\xff\xff\xff\xffPAR1", "it is longer than the file"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let found = message(open(&path));
        assert!(
            found.contains("x.parquet: the footer cannot be read"),
            "{found}"
        );
        assert!(found.contains(fault), "{found}");
    }
}
