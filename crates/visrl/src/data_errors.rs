//! What a data set says of its settings, by their names in a run file.

use std::path::Path;

use visrl_data::{Dataset, Error as DataError, Split};

use crate::error::Error;

/// The error of opening the source of the part `name` of a run file: that of an option by its full
/// name, any other, of a file or a row, as it is.
pub(crate) fn of_source(name: &str, error: DataError) -> Error {
    let options = format!("{name}.source.options");
    let classes = format!("{options}.classes");
    match error {
        DataError::Config { field, message } => {
            Error::setting(format!("{options}.{field}"), message)
        }
        DataError::Row {
            row,
            field,
            message,
            ..
        } if &*field == "classes" && row.starts_with("classes[") => {
            Error::setting(format!("{options}.{row}"), message)
        }
        DataError::DuplicateClass {
            name,
            first,
            second,
            advice,
            ..
        } if advice.contains("`classes`") => {
            let message = format!("has `{name}` twice, as number {first} and number {second}");
            Error::setting(classes, message)
        }
        DataError::AlikeClasses {
            first,
            second,
            why,
            advice,
            ..
        } if advice.contains("`classes`") => {
            let message = format!("has `{first}` and `{second}`, which {why}: {advice}");
            Error::setting(classes, message)
        }
        DataError::UnknownLabel {
            path,
            row,
            field,
            label,
            of,
            ..
        } if &*of == "classes given" => {
            let message = format!(
                "has no `{label}`, which is the label in {}: {row}: field `{field}`; add the name, or \
                 correct the row",
                path.display()
            );
            Error::setting(classes, message)
        }
        other => other.into(),
    }
}

/// The error of a split that the data of the part `name` of a run file, which lie at `path`, do not
/// have.
pub(crate) fn of_split(name: &str, path: Option<&Path>, error: DataError) -> Error {
    match (error, path) {
        (error @ DataError::NoSplit { .. }, Some(path)) => {
            let text = error.to_string();
            let (_, lacks) = text.split_once("` has").unwrap_or(("", &text));
            let message = format!("is {}, which has{lacks}", path.display());
            Error::setting(format!("{name}.source.path"), message)
        }
        (error, _) => error.into(),
    }
}

/// Tells of classes that have fewer training images than a draw is to take.
pub(crate) fn tell_small_classes(
    name: &str,
    data: &dyn Dataset,
    shots: usize,
) -> Result<(), Error> {
    let mut counts = vec![0; data.classes().len()];
    for record in data.records_if_any(Split::Train)?.unwrap_or_default() {
        if let Some(count) = counts.get_mut(record.label) {
            *count += 1;
        }
    }
    let small = || {
        let named = data.classes().iter().zip(&counts);
        named.filter(|(_, count)| (1..shots).contains(*count))
    };
    if let Some((class, count)) = small().next() {
        visrl_core::warn_once(format!(
            "`{name}.shots` is {shots}, but {} of {} classes of `{}` have fewer training images, such \
             as `{class}` with {count}: all of theirs are taken",
            small().count(),
            counts.len(),
            data.name()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use visrl_testing::warnings_of;

    use crate::data_config::DataConfig;
    use crate::registry::Registry;

    #[test]
    fn small_classes_are_told_of_what_is_trained_on_alone() {
        let text =
            "shots = 3\n[source]\nkind = \"drawn_shapes\"\noptions = { side = 8, train = 2 }";
        let data: DataConfig = toml::from_str(text).unwrap();
        let registry = Registry::new();
        let (read, told) = warnings_of(|| data.open(&registry, 1));
        assert_eq!((read.is_ok(), told), (true, Vec::new()));
        let (read, told) = warnings_of(|| data.open_to_train("data", &registry, 1));
        assert!(read.is_ok() && told.len() == 1, "{told:?}");
        assert!(
            told[0].starts_with("`data.shots` is 3, but 8 of 8"),
            "{told:?}"
        );
    }

    #[test]
    fn a_list_of_classes_is_blamed_by_its_own_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rows.jsonl");
        let row = |label: &str| {
            format!("{{\"image\": \"a.png\", \"label\": \"{label}\", \"split\": \"train\"}}\n")
        };
        fs::write(&file, row("kite") + &row("drum")).unwrap();
        fs::write(dir.path().join("a.png"), "").unwrap();
        let error = |classes: &str| {
            let text = format!(
                "[source]\nkind = \"json_lines\"\npath = {file:?}\noptions = {{ classes = {classes} }}"
            );
            let data: DataConfig = toml::from_str(&text).unwrap();
            data.open_as("data", &Registry::new(), 1)
                .unwrap_err()
                .to_string()
        };
        for (classes, parts) in [
            (
                "[\"kite\", \"dram\"]",
                &["classes` has no `drum`", "rows.jsonl", "line 2"][..],
            ),
            (
                "[\"kite\", \"kite\", \"drum\"]",
                &["classes` has `kite` twice"],
            ),
            ("[\"kite\", \"<answer></answer>\"]", &["classes[1]` "]),
        ] {
            let error = error(classes);
            assert!(error.starts_with("`data.source.options.classes"), "{error}");
            for part in parts {
                assert!(error.contains(part), "`{part}` is not in: {error}");
            }
        }
    }
}
