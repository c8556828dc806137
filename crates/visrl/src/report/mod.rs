//! One self-contained HTML file about a run, a comparison or a cross-data-set table.
//!
//! Everything is in the file: curves and maps as SVG, images as data. It needs no script and no
//! network, and is as readable on a phone as on a screen.

mod charts;
mod page;
mod sections;

use std::path::Path;

use serde::de::DeserializeOwned;
use visrl_core::files::{FileError, write_file};
use visrl_train::Error;

use crate::Summary;
use crate::experiment::{ComparisonRow, CrossMatrix};
use page::Page;

/// Makes the report of a folder: that of a run (`summary.json`), of a comparison (`compare.json`)
/// or of a cross-data-set table (`cross_dataset.json`).
///
/// # Errors
/// [`Error::File`] when the folder holds none of these, or one that does not parse.
pub fn render(dir: impl AsRef<Path>) -> Result<String, Error> {
    let dir = dir.as_ref();
    let mut page = Page::default();
    let mut found = false;
    if let Some(summary) = read::<Summary>(&dir.join("summary.json"))? {
        sections::run(&mut page, dir, &summary)?;
        found = true;
    }
    if let Some(rows) = read::<Vec<ComparisonRow>>(&dir.join("compare.json"))? {
        sections::comparison(&mut page, dir, &rows)?;
        found = true;
    }
    if let Some(matrix) = read::<CrossMatrix>(&dir.join("cross_dataset.json"))? {
        sections::cross_dataset(&mut page, &matrix)?;
        found = true;
    }
    if !found {
        let message = "holds no `summary.json`, `compare.json` or `cross_dataset.json`";
        return Err(Error::file(dir, message));
    }
    page.render()
}

/// Writes the report of a folder into a file, whole or not at all.
///
/// # Errors
/// As [`render`], and what stands in the way of writing.
pub fn write(dir: impl AsRef<Path>, file: impl AsRef<Path>) -> Result<(), Error> {
    let html = render(dir)?;
    Ok(write_file(file.as_ref(), html.as_bytes())?)
}

/// A JSON file, if it is there.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError::io(path, source).into()),
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| Error::file(path, error.to_string())),
    }
}

/// The lines of a file of JSON lines, if it is there.
fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Error> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(|source| FileError::io(path, source))?,
    };
    let lines = text.lines().enumerate();
    lines
        .map(|(number, line)| {
            serde_json::from_str(line)
                .map_err(|error| Error::file(path, format!("line {}: {error}", number + 1)))
        })
        .collect()
}
