//! Rows of parquet: labels that are numbers, and a small file that an example trains on
//! (`tests/fixtures/rows/bags.parquet`).

mod parquet_file;

use std::fs;
use std::path::Path;

use parquet_file::{Column, Form, picture, write};
use visrl_core::ImageSource;
use visrl_data::{Dataset, ParquetConfig, RowsConfig, Split};
use visrl_testing::warnings_of;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures");

#[test]
fn numbers_are_labels_by_their_digits() {
    let schema = "message m {
        optional binary image;
        optional int64 whole;
        optional double part;
        optional binary json (JSON);
        optional group several (LIST) { repeated group list { optional binary element (UTF8); } }
    }";
    let pictures = (0..3).map(|i| Some(picture(i))).collect();
    let columns = [
        Column::Bytes(pictures, 1),
        Column::Ints(vec![Some(-1), Some(10), Some(9_007_199_254_740_993)]),
        Column::Doubles(vec![Some(1.0), Some(2.5), Some(1e-7)]),
        Column::texts(["2.50", "\"2.5\"", "1e3"]),
        Column::Lists(vec![vec!["a".into(), "b".into()]; 3]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.parquet");
    write(&path, schema, &columns, &Form::default());
    let open = |solution: &str| {
        let config = ParquetConfig {
            solution: solution.into(),
            question: Some("?".into()),
            ..Default::default()
        };
        let (opened, told) = warnings_of(|| config.open(&path));
        let opened = opened.map(|dataset| dataset.classes().to_vec());
        (opened.map_err(|error| error.to_string()), told)
    };
    assert_eq!(open("whole").0.unwrap(), ["-1", "10", "9007199254740993"]);
    assert_eq!(open("part").0.unwrap(), ["1.0", "1e-7", "2.5"]);
    let (classes, told) = open("json");
    assert_eq!(classes.unwrap(), ["1e3", "2.5", "2.50"]);
    assert!(
        told[0].contains("`whole`, `part`, `several` are not used"),
        "{told:?}"
    );
    let found = open("several").0.unwrap_err();
    assert!(
        found.contains("row 0: field `several`: is a list of several"),
        "{found}"
    );

    let columns = [
        columns[0].clone(),
        columns[1].clone(),
        Column::Doubles(vec![Some(1.0), Some(f64::NAN), None]),
        columns[3].clone(),
        columns[4].clone(),
    ];
    write(&path, schema, &columns, &Form::default());
    let found = open("part").0.unwrap_err();
    assert!(
        found.contains("row 1: field `part`: is NaN, which is no answer"),
        "{found}"
    );
}

/// Twelve pictures of two classes, as the hub has them, with a split for each row.
fn bags() -> Vec<Column> {
    let pictures = ["1", "2", "3"].map(|name| {
        let path = format!("{FIXTURES}/data-forms/cls-rl-lines/kitchen/{name}.png");
        fs::read(path).unwrap()
    });
    let names = (0..12).map(|number| Some(format!("{number}.png").into_bytes()));
    vec![
        Column::inside((0..12).map(|number| Some(pictures[number % 3].clone()))),
        Column::inside(names),
        Column::texts((0..12).map(|_| "What type of object is in the photo?")),
        Column::texts((0..12).map(|number| ["Bag", "Coat"][number % 2])),
        Column::texts((0..12).map(|number| ["train", "test"][number / 8])),
    ]
}

/// `VISRL_WRITE_ROWS` writes the file anew.
#[test]
fn the_file_that_an_example_trains_on_is_read_by_both_kinds() {
    let path = Path::new(FIXTURES).join("rows/bags.parquet");
    if std::env::var_os("VISRL_WRITE_ROWS").is_some() {
        let schema = "message schema {
            optional group image { optional binary bytes; optional binary path (UTF8); }
            optional binary problem (UTF8);
            optional binary solution (UTF8);
            optional binary split (UTF8);
        }";
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(&path, schema, &bags(), &Form::default());
    }
    let rows = || RowsConfig::default().open(&path);
    let parquet = || ParquetConfig::default().open(&path);
    let (opened, told) = warnings_of(|| (rows().unwrap(), parquet().unwrap()));
    assert!(told.is_empty(), "{told:?}");
    assert_eq!(opened.0, opened.1);
    let data = opened.0;
    assert_eq!(data.classes(), ["Bag", "Coat"]);
    for (split, count) in [(Split::Train, 8), (Split::Test, 4)] {
        let records = data.records(split).unwrap();
        assert_eq!(records.len(), count);
        for (number, record) in records.iter().enumerate() {
            assert_eq!(record.label, number % 2);
            let Column::Bytes(pictures, _) = &bags()[0] else {
                panic!();
            };
            let ImageSource::Encoded { bytes, .. } = &record.image else {
                panic!("{record:?}");
            };
            let row = number + if split == Split::Test { 8 } else { 0 };
            assert_eq!(Some(&bytes[..]), pictures[row].as_deref());
        }
    }
}
