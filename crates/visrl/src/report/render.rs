use std::path::Path;

use visrl_core::files::{check_replaceable, write_file};

use super::page::Page;
use super::read::read;
use super::sections;
use crate::error::Error;
use crate::experiment::{ComparisonRow, CrossMatrix};
use crate::summary::Summary;

/// What a page has in its head by which it is known as a report.
const REPORT_MARK: &str = "<meta name=\"generator\" content=\"visrl report\">";

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

/// Writes the report of a folder into a file, whole or not at all. An earlier report is replaced, no
/// other file.
///
/// # Errors
/// As [`render`], and what stands in the way of writing.
pub fn write(dir: impl AsRef<Path>, file: impl AsRef<Path>) -> Result<(), Error> {
    let file = file.as_ref();
    check_replaceable(file, |bytes| {
        String::from_utf8_lossy(bytes).contains(REPORT_MARK)
    })?;
    let html = render(dir)?;
    Ok(write_file(file, html.as_bytes())?)
}
