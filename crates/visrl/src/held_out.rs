//! Validation examples that are not reported on.

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};

use visrl_core::{Example, ImageSource};
use visrl_train::{Evaluator, Warnings};

const CAUSE: &str = "validation on test pictures";

/// The validation examples whose pictures are not among the test ones; nothing when none is left.
///
/// What is chosen on must not be what is reported on. A picture is the same at another path, too.
pub(crate) fn held_out(
    mut validation: Evaluator,
    test: &Evaluator,
    warnings: &Warnings,
) -> Option<Evaluator> {
    let mut pictures = Pictures::new(test.examples.iter().flat_map(Example::images));
    let count = validation.examples.len();
    let mut shared = None;
    validation.examples.retain(|example| {
        let is_shared = example.images().any(|image| pictures.contains(image));
        if is_shared && shared.is_none() {
            shared = Some(example.id.clone());
        }
        !is_shared
    });
    let left = validation.examples.len();
    let Some(first) = shared else {
        return Some(validation);
    };
    if left == 0 {
        let message = format!(
            "all {count} validation pictures are among the test pictures: the evaluations on the \
             way are made on the test examples, which `validated_on` of the summary says"
        );
        warnings.warn(CAUSE, message);
        return None;
    }
    let message = format!(
        "{} of {count} validation pictures are among the test pictures, such as that of `{first}`: \
         they are left out of the evaluations on the way",
        count - left
    );
    warnings.warn(CAUSE, message);
    Some(validation)
}

/// Pictures by their sizes in bytes, so that few are read.
struct Pictures<'a> {
    by_size: HashMap<u64, Vec<(&'a ImageSource, Option<u64>)>>,
}

impl<'a> Pictures<'a> {
    fn new(pictures: impl Iterator<Item = &'a ImageSource>) -> Self {
        let mut by_size: HashMap<u64, Vec<_>> = HashMap::new();
        for picture in pictures {
            if let Some(size) = size(picture) {
                by_size.entry(size).or_default().push((picture, None));
            }
        }
        Self { by_size }
    }

    fn contains(&mut self, picture: &ImageSource) -> bool {
        let same_size = size(picture).and_then(|size| self.by_size.get_mut(&size));
        let Some(others) = same_size else {
            return false;
        };
        if others.iter().any(|(other, _)| *other == picture) {
            return true;
        }
        let Some(wanted) = contents(picture) else {
            return false;
        };
        others.iter_mut().any(|(other, found)| {
            if found.is_none() {
                *found = contents(other);
            }
            *found == Some(wanted)
        })
    }
}

/// Bytes of a picture; nothing for a file that cannot be had, of which its decoding will tell.
fn size(picture: &ImageSource) -> Option<u64> {
    match picture {
        ImageSource::Path(path) => fs::metadata(path).ok().map(|data| data.len()),
        ImageSource::Encoded { bytes, .. } => Some(bytes.len() as u64),
        ImageSource::Gray { pixels, .. } | ImageSource::Rgb { pixels, .. } => {
            Some(pixels.len() as u64)
        }
    }
}

/// A hash of what a picture is made of.
fn contents(picture: &ImageSource) -> Option<u64> {
    let mut hash = DefaultHasher::new();
    match picture {
        ImageSource::Path(path) => fs::read(path).ok()?.hash(&mut hash),
        ImageSource::Encoded { bytes, .. } => bytes.hash(&mut hash),
        ImageSource::Gray {
            pixels,
            width,
            height,
            ..
        }
        | ImageSource::Rgb {
            pixels,
            width,
            height,
            ..
        } => (pixels, width, height).hash(&mut hash),
    }
    Some(hash.finish())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_picture_is_the_same_at_another_path_and_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            ImageSource::path(path)
        };
        let memory = |text: &[u8]| ImageSource::Encoded {
            name: Arc::from("x"),
            bytes: Arc::from(text),
        };
        let test = [path("a", b"one"), memory(b"three")];
        let mut pictures = Pictures::new(test.iter());
        for (picture, is_there) in [
            (path("a", b"one"), true),
            (path("b", b"one"), true),
            (memory(b"one"), true),
            (path("c", b"three"), true),
            (path("d", b"two"), false),
            (memory(b"four"), false),
            (ImageSource::path(folder.path().join("gone")), false),
        ] {
            assert_eq!(pictures.contains(&picture), is_there, "{picture:?}");
        }
    }
}
