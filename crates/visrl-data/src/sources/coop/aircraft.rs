use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use visrl_core::ImageSource;
use visrl_core::files::read_text;

use crate::error::Error;
use crate::files::limits::MAX_LIST;
use crate::files::paths::join_below;
use crate::memory::MemoryDataset;
use crate::plain_label::plain_label;
use crate::record::Record;
use crate::sources::coop::set::CoopSet;
use crate::sources::labels::check_unique;
use crate::split::Split;

/// FGVC-Aircraft: `variants.txt` gives the labels their order, `images_variant_{split}.txt` has
/// rows `<id> <variant>`.
pub(crate) fn open_aircraft(folder: &Path, question: &str) -> Result<MemoryDataset, Error> {
    let read = |name: &str| {
        let path = folder.join(name);
        let hint = "a list of FGVC-Aircraft's variants";
        let text = read_text(&path, MAX_LIST).map_err(Error::file(hint))?;
        Ok::<_, Error>((path, text))
    };
    let (list, variants) = read("variants.txt")?;
    let rows = (1..).zip(variants.lines());
    let names = rows.filter(|(_, row)| !row.trim().is_empty());
    let names = names.map(|(line, row)| plain_name(row, &list, || format!("line {line}")));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    let advice = "remove one of the two lines";
    check_unique(&list, names.iter().copied(), advice)?;
    let labels: HashMap<&str, usize> = names
        .iter()
        .enumerate()
        .map(|(label, &name)| (name, label))
        .collect();
    let name = CoopSet::FgvcAircraft.folder();
    let images = folder.join(CoopSet::FgvcAircraft.image_folder());
    let mut dataset = MemoryDataset::new(name, names.iter().copied(), question);
    for split in Split::ALL {
        let (path, rows) = read(&format!("images_variant_{split}.txt"))?;
        let mut records = Vec::new();
        for (line, row) in (1..)
            .zip(rows.lines())
            .filter(|(_, row)| !row.trim().is_empty())
        {
            let row_name = || format!("line {line}");
            let (id, variant) = row.trim().split_once(' ').ok_or_else(|| Error::Row {
                path: path.clone(),
                row: row_name(),
                field: "variant".into(),
                message: "is missing; a row is `<id> <variant>`".into(),
            })?;
            let variant = plain_name(variant, &path, row_name)?;
            let label = labels.get(&*variant).copied().ok_or_else(|| Error::Row {
                path: path.clone(),
                row: row_name(),
                field: "variant".into(),
                message: format!("`{variant}` is not in variants.txt"),
            })?;
            let file = format!("{id}.jpg");
            let image = ImageSource::path(join_below(&images, &file, &path, row_name, "image")?);
            records.push(Record::new(file, image, label));
        }
        dataset = dataset.with_split(split, records)?;
    }
    Ok(dataset)
}

/// A variant's plain name.
fn plain_name<'r>(
    name: &'r str,
    path: &Path,
    row: impl FnOnce() -> String,
) -> Result<Cow<'r, str>, Error> {
    plain_label(name).map_err(|fault| Error::Row {
        path: path.to_path_buf(),
        row: row(),
        field: "variant".into(),
        message: fault.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::dataset::Dataset;

    fn write(folder: &Path, train: &str) {
        fs::write(
            folder.join("variants.txt"),
            "707-320\nF-16A/B\nBeechcraft 1900\n",
        )
        .unwrap();
        for (split, rows) in [("train", train), ("val", "2 F-16A/B\n"), ("test", "")] {
            fs::write(folder.join(format!("images_variant_{split}.txt")), rows).unwrap();
        }
    }

    #[test]
    fn labels_follow_the_list_of_variants() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "0001 Beechcraft 1900\n0002  707-320 \n");
        let dataset = open_aircraft(folder.path(), "?").unwrap();
        assert_eq!(dataset.classes(), ["707-320", "F-16A/B", "Beechcraft 1900"]);
        let train = dataset.records(Split::Train).unwrap();
        assert_eq!((train[0].label, train[1].label), (2, 0));
        assert_eq!(
            train[0].image,
            ImageSource::path(folder.path().join("images/0001.jpg"))
        );
        assert!(dataset.records(Split::Test).unwrap().is_empty());
    }

    #[test]
    fn a_variant_listed_twice_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "0001 707-320\n");
        fs::write(folder.path().join("variants.txt"), "a\nb\n\na\n").unwrap();
        let message = open_aircraft(folder.path(), "?").unwrap_err().to_string();
        assert!(
            message.contains("variants.txt: class `a` is both number 0 and number 2"),
            "{message}"
        );
    }

    #[test]
    fn bad_rows_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = |train: &str| {
            write(folder.path(), train);
            open_aircraft(folder.path(), "?").unwrap_err()
        };
        let message = error("0001 707-320\n\n0002 Concorde\n").to_string();
        assert!(message.ends_with("line 3: field `variant`: `Concorde` is not in variants.txt"));
        assert!(matches!(error("0001\n"), Error::Row { .. }));
        assert!(matches!(error("../1 707-320\n"), Error::ImagePath { .. }));
    }
}
