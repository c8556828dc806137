use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use visrl_core::ImageSource;

use crate::dataset::Dataset;
use crate::files::told::tell;
use crate::memory::MemoryDataset;
use crate::record::Record;
use crate::split::Split;

/// Tells of pictures that are trained on and asked about in another split: one file, also where a
/// folder of one split is a link to that of the other. A row with another question about a picture
/// or with several pictures is another one, and copies of a file are not looked for.
pub(crate) fn tell_shared(path: &Path, data: &MemoryDataset) {
    let records = |split| data.records(split).unwrap_or_default();
    let others = [Split::Val, Split::Test].map(|split| (split, records(split)));
    if others.iter().all(|(_, tested)| tested.is_empty()) {
        return;
    }
    let mut folders = Folders::default();
    let train = records(Split::Train).iter();
    let trained: HashSet<Asked<'_>> = train.filter_map(|record| folders.asked(record)).collect();
    for (split, tested) in others {
        let mut shared = tested.iter().filter(|record| {
            let asked = folders.asked(record);
            asked.is_some_and(|asked| trained.contains(&asked))
        });
        let Some(first) = shared.next() else {
            continue;
        };
        let message = format!(
            "{} of the {} records of the {split} split have their picture in the training split, too \
             (the first is `{}`): what is measured was trained on; leave each in one split",
            1 + shared.count(),
            tested.len(),
            first.id
        );
        tell(path, &message);
    }
}

/// A picture's folder without links, its name there, and the record's own question.
type Asked<'r> = (Arc<Path>, &'r OsStr, Option<&'r str>);

/// Folders of pictures, and where they lie without links.
#[derive(Default)]
struct Folders<'r>(HashMap<&'r Path, Option<Arc<Path>>>);

impl<'r> Folders<'r> {
    fn asked(&mut self, record: &'r Record) -> Option<Asked<'r>> {
        let ImageSource::Path(path) = &record.image else {
            return None;
        };
        if record.further_images().next().is_some() {
            return None;
        }
        let folder = path.parent()?;
        let real = self.0.entry(folder).or_insert_with(|| {
            let folder = match folder.as_os_str().is_empty() {
                true => Path::new("."),
                false => folder,
            };
            folder.canonicalize().ok().map(Arc::from)
        });
        let real = Arc::clone(real.as_ref()?);
        Some((real, path.file_name()?, record.question.as_deref()))
    }
}
