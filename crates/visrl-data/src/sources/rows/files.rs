use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::files::paths::list;
use crate::files::told::tell;
use crate::split::Split;

/// Whether a file is parquet, by its ending.
pub(crate) fn is_parquet(path: &Path) -> bool {
    ends_in(path, &["parquet"])
}

/// Whether a file is YAML, by its ending.
pub(crate) fn is_yaml(path: &Path) -> bool {
    ends_in(path, &["yaml", "yml"])
}

fn ends_in(path: &Path, endings: &[&str]) -> bool {
    let ending = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    endings.contains(&&ending[..])
}

/// The split that a file's name begins with: `train.jsonl`, `test-00000-of-00001.parquet`,
/// `val2017.json`.
pub(crate) fn split_of(path: &Path) -> Option<Split> {
    let name = path.file_stem()?.to_string_lossy().to_lowercase();
    let word = name.split(['-', '.', ' ']).next().unwrap_or_default();
    let first = word.split('_').next().unwrap_or_default();
    let bare = first.trim_end_matches(|c: char| c.is_ascii_digit());
    let mut names = [word, first, bare].into_iter();
    names.find_map(Split::named)
}

/// The files of rows: the file itself, or those of a folder, its parquet files alone where no others
/// are meant. Of names that say no split nothing is told where `one_split` is given for all.
pub(crate) fn row_files(
    path: &Path,
    only_parquet: bool,
    one_split: Option<Split>,
) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    for folder in [path.to_path_buf(), path.join("data")] {
        if !folder.is_dir() {
            continue;
        }
        let names = list(&folder, false, "a folder of rows")?;
        let files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
        let (parquet, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|f| is_parquet(f));
        let json = others
            .into_iter()
            .filter(|file| ends_in(file, &["jsonl", "json"]));
        let (json, unnamed): (Vec<_>, Vec<_>) = json.partition(|file| split_of(file).is_some());
        if !parquet.is_empty() {
            if one_split.is_none() {
                tell_unnamed(path, &parquet);
            }
            if !only_parquet {
                tell_unread(path, &json, "parquet files lie beside it");
            }
            return Ok(parquet);
        }
        if !json.is_empty() && !only_parquet {
            let lines: Vec<_> = unnamed
                .into_iter()
                .filter(|f| ends_in(f, &["jsonl"]))
                .collect();
            tell_unread(
                path,
                &lines,
                "its name begins with no split's, as others' here do",
            );
            return Ok(json);
        }
    }
    let hint = match only_parquet {
        true => "neither here nor in `data` is a file that ends in `.parquet`",
        false => {
            "neither here nor in `data` is a parquet file, or a JSON file of a split, such as \
             `train.jsonl`"
        }
    };
    Err(Error::Missing {
        path: path.to_path_buf(),
        hint: hint.into(),
    })
}

/// Tells of a parquet file that names no split beside others that do.
fn tell_unnamed(path: &Path, files: &[PathBuf]) {
    let unnamed: Vec<&PathBuf> = files
        .iter()
        .filter(|file| split_of(file).is_none())
        .collect();
    if let (Some(first), true) = (unnamed.first(), unnamed.len() < files.len()) {
        let message = format!(
            "the name of `{}` begins with no split's, and it is read as training data ({} such in \
             all); rename it, or give `split`",
            name(first),
            unnamed.len()
        );
        tell(path, &message);
    }
}

/// Tells of files of rows that are not read.
fn tell_unread(path: &Path, files: &[PathBuf], why: &str) {
    if let Some(first) = files.first() {
        let more = match files.len() - 1 {
            0 => String::new(),
            more => format!(" ({more} more such)"),
        };
        tell(
            path,
            &format!("`{}` is not read, since {why}{more}", name(first)),
        );
    }
}

fn name(file: &Path) -> std::borrow::Cow<'_, str> {
    file.file_name().unwrap_or_default().to_string_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_may_begin_with_its_split() {
        for (name, split) in [
            ("train.jsonl", Some(Split::Train)),
            ("test-00000-of-00001.parquet", Some(Split::Test)),
            ("validation_4shot.jsonl", Some(Split::Val)),
            ("train2017.jsonl", Some(Split::Train)),
            ("val2_a.parquet", Some(Split::Val)),
            ("data.parquet", None),
            ("testament.jsonl", None),
        ] {
            assert_eq!(split_of(Path::new(name)), split, "{name}");
        }
    }

    #[test]
    fn files_of_a_folder_that_are_not_read_are_told() {
        for (files, read, told) in [
            (
                &["a.parquet", "b.parquet", "notes.json"][..],
                &["a.parquet", "b.parquet"][..],
                None,
            ),
            (
                &["train.parquet", "eval.parquet"],
                &["eval.parquet", "train.parquet"],
                Some("`eval.parquet` begins with no split's"),
            ),
            (
                &["train.parquet", "test.jsonl"],
                &["train.parquet"],
                Some("`test.jsonl` is not read, since parquet files lie beside it"),
            ),
            (
                &["train.jsonl", "more.jsonl", "config.json"],
                &["train.jsonl"],
                Some("`more.jsonl` is not read, since its name begins with no split's"),
            ),
        ] {
            let root = tempfile::tempdir().unwrap();
            for file in files {
                std::fs::write(root.path().join(file), "").unwrap();
            }
            let (found, texts) = visrl_testing::warnings_of(|| row_files(root.path(), false, None));
            let found = found.unwrap();
            let names: Vec<_> = found.iter().map(|file| name(file).into_owned()).collect();
            assert_eq!(names, read);
            assert_eq!(texts.len(), usize::from(told.is_some()), "{texts:?}");
            assert!(
                texts.iter().all(|text| text.contains(told.unwrap())),
                "{texts:?}"
            );
        }
        let root = tempfile::tempdir().unwrap();
        for name in ["train.parquet", "eval.parquet"] {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        let all = || row_files(root.path(), false, Some(Split::Test));
        assert!(visrl_testing::warnings_of(all).1.is_empty());
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("train.jsonl"), "").unwrap();
        assert!(row_files(root.path(), true, None).is_err());
    }
}
