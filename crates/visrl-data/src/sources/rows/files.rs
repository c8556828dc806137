use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::files::paths::list;
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

/// The split that a file's name begins with: `train.jsonl`, `test-00000-of-00001.parquet`.
pub(crate) fn split_of(path: &Path) -> Option<Split> {
    let name = path.file_stem()?.to_string_lossy().to_lowercase();
    let word = name.split(['-', '.', ' ']).next().unwrap_or_default();
    let first = word.split('_').next().unwrap_or_default();
    Split::named(word).or_else(|| Split::named(first))
}

/// The files of rows: the file itself, or those of a folder.
pub(crate) fn row_files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    for folder in [path.to_path_buf(), path.join("data")] {
        if !folder.is_dir() {
            continue;
        }
        let names = list(&folder, false, "a folder of rows")?;
        let files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
        let parquet: Vec<PathBuf> = files.iter().filter(|f| is_parquet(f)).cloned().collect();
        if !parquet.is_empty() {
            return Ok(parquet);
        }
        let is_rows =
            |file: &&PathBuf| ends_in(file, &["jsonl", "json"]) && split_of(file).is_some();
        let json: Vec<PathBuf> = files.iter().filter(is_rows).cloned().collect();
        if !json.is_empty() {
            return Ok(json);
        }
    }
    Err(Error::Missing {
        path: path.to_path_buf(),
        hint: "neither here nor in `data` is a parquet file, or a JSON file of a split, such as \
               `train.jsonl`"
            .into(),
    })
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
            ("data.parquet", None),
            ("testament.jsonl", None),
        ] {
            assert_eq!(split_of(Path::new(name)), split, "{name}");
        }
    }
}
