//! A few test examples whose completions are written down at every evaluation.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{ExtendedColorType, ImageFormat};
use serde::{Deserialize, Serialize};
use visrl_core::files::{FileError, write_file};
use visrl_core::{Example, ImageSource};
use visrl_train::{Answer, LineFile};

use crate::error::Error;

/// The file of samples in a run's folder.
const FILE: &str = "samples.jsonl";

/// A line of `samples.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Training steps made before.
    pub step: usize,
    /// The number of the sample; its image is `samples/NUMBER.png` or `.jpg`.
    pub number: usize,
    /// The answer, from the greedy evaluation.
    pub answer: Answer,
}

impl Sample {
    /// So many answers, of as many classes as possible.
    fn of(step: usize, answers: &[Answer], count: usize) -> impl Iterator<Item = Self> {
        let labels = answers.iter().map(|answer| answer.label.as_str());
        let places = places(labels, count).into_iter().enumerate();
        places.map(move |(number, at)| Self {
            step,
            number,
            answer: answers[at].clone(),
        })
    }
}

/// Writes the lines of `samples.jsonl`.
pub(crate) struct SampleLog {
    lines: LineFile,
    count: usize,
}

impl SampleLog {
    /// A new file for so many samples of an evaluation.
    pub(crate) fn create(out: &Path, count: usize) -> Result<Self, Error> {
        let lines = LineFile::create(&out.join(FILE))?;
        Ok(Self { lines, count })
    }

    /// The file of an interrupted run, as it was after `step` steps. Samples of the step itself were
    /// there if an evaluation on the way wrote them; those of the end of the run come again.
    pub(crate) fn resume(
        out: &Path,
        count: usize,
        step: usize,
        evaluated: bool,
    ) -> Result<Self, Error> {
        let lines = LineFile::resume(&out.join(FILE), kept(step, evaluated))?;
        Ok(Self { lines, count })
    }

    /// Whether [`resume`](Self::resume) would find the file as the run left it: so many samples of
    /// each evaluation after one of `evaluations` steps, and of no other.
    pub(crate) fn check(
        out: &Path,
        count: usize,
        evaluations: &[usize],
        (step, evaluated): (usize, bool),
    ) -> Result<(), Error> {
        let path = out.join(FILE);
        let mut keep = kept(step, evaluated);
        let mut found = Vec::new();
        LineFile::check(&path, |sample: Sample| {
            let place = (sample.step, sample.number);
            let keep = keep(sample);
            if keep {
                found.push(place);
            }
            keep
        })?;
        let places = |&step: &usize| (0..count).map(move |number| (step, number));
        let expected: Vec<_> = evaluations.iter().flat_map(places).collect();
        let differs = |at: &usize| found.get(*at) != expected.get(*at);
        let Some(at) = (0..found.len().max(expected.len())).find(differs) else {
            return Ok(());
        };
        let shown = |(step, number): (usize, usize)| format!("sample {number} of step {step}");
        let expected = expected.get(at).copied().map(shown);
        let message = match (found.get(at).copied().map(shown), expected) {
            _ if !path.exists() => "is missing".to_owned(),
            (Some(found), Some(expected)) => {
                format!("line {}: is {found}, expected {expected}", at + 1)
            }
            (None, Some(expected)) => format!("ends before {expected}"),
            (found, None) => {
                let found = found.unwrap_or_default();
                format!("line {}: is {found}, which the run did not write", at + 1)
            }
        };
        let message = format!("{message}: the run to resume left it otherwise, put it back");
        Err(Error::file(path, message))
    }

    /// Writes the samples of an evaluation after so many steps.
    pub(crate) fn write(
        &mut self,
        step: usize,
        answers: &[Answer],
    ) -> Result<(), visrl_train::Error> {
        Sample::of(step, answers, self.count).try_for_each(|sample| self.lines.write(&sample))
    }

    /// Makes what was written durable.
    pub(crate) fn sync(&mut self) -> Result<(), visrl_train::Error> {
        self.lines.sync()
    }
}

/// The samples that stay when a run goes on after so many steps.
fn kept(step: usize, evaluated: bool) -> impl FnMut(Sample) -> bool {
    move |sample| sample.step < step || (evaluated && sample.step == step)
}

/// The first example of each class, then the second of each, and so on, in the order in which
/// classes are first met.
fn places<'a>(labels: impl Iterator<Item = &'a str>, count: usize) -> Vec<usize> {
    let mut met: Vec<(&str, usize)> = Vec::new();
    let mut ranked: Vec<(usize, usize, usize)> = Vec::new();
    for (at, label) in labels.enumerate() {
        let class = met.iter().position(|(name, _)| *name == label);
        let class = class.unwrap_or_else(|| {
            met.push((label, 0));
            met.len() - 1
        });
        ranked.push((met[class].1, class, at));
        met[class].1 += 1;
    }
    ranked.sort_unstable();
    ranked.into_iter().take(count).map(|(.., at)| at).collect()
}

/// Writes the images of the samples below `out/samples`: files as they are, pixels as PNG.
pub(crate) fn write_images(out: &Path, examples: &[Example], count: usize) -> Result<(), Error> {
    let labels = examples.iter().map(|example| example.label.as_str());
    for (number, at) in places(labels, count).into_iter().enumerate() {
        let Some((bytes, ending)) = encoded(&examples[at].image)? else {
            continue;
        };
        let path = out.join("samples").join(format!("{number}.{ending}"));
        write_file(&path, &bytes)?;
    }
    Ok(())
}

/// An image as a file that a browser shows, with its ending; nothing for another format.
fn encoded(image: &ImageSource) -> Result<Option<(Vec<u8>, &'static str)>, Error> {
    let (name, size, pixels, colour) = match image {
        ImageSource::Path(path) => {
            let bytes = std::fs::read(path).map_err(|source| FileError::io(path, source))?;
            return Ok(ending(&bytes).map(|ending| (bytes, ending)));
        }
        ImageSource::Encoded { bytes, .. } => {
            return Ok(ending(bytes).map(|ending| (bytes.to_vec(), ending)));
        }
        ImageSource::Gray {
            name,
            width,
            height,
            pixels,
        } => (name, (*width, *height), pixels, ExtendedColorType::L8),
        ImageSource::Rgb {
            name,
            width,
            height,
            pixels,
        } => (name, (*width, *height), pixels, ExtendedColorType::Rgb8),
    };
    let mut png = Cursor::new(Vec::new());
    image::write_buffer_with_format(&mut png, pixels, size.0, size.1, colour, ImageFormat::Png)
        .map_err(|error| Error::file(PathBuf::from(&**name), error.to_string()))?;
    Ok(Some((png.into_inner(), "png")))
}

fn ending(bytes: &[u8]) -> Option<&'static str> {
    match image::guess_format(bytes).ok()? {
        ImageFormat::Png => Some("png"),
        ImageFormat::Jpeg => Some("jpg"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_of_many_classes() {
        let at = |labels: &[&'static str], count| places(labels.iter().copied(), count);
        assert_eq!(at(&["a", "a", "b", "a", "c", "b"], 4), [0, 2, 4, 1]);
        assert_eq!(at(&["a", "a"], 5), [0, 1]);
        assert!(at(&[], 3).is_empty());
    }

    #[test]
    fn a_file_that_is_not_as_the_run_left_it_is_named_by_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let write = |places: &[(usize, usize)]| {
            let mut log = LineFile::create(&path).unwrap();
            for &(step, number) in places {
                let answer = Answer {
                    id: "a".into(),
                    label: "b".into(),
                    completion: "c".into(),
                    tokens: 1,
                    truncated: false,
                    right: true,
                    lenient: true,
                    guided: None,
                    predicted: None,
                    agrees: None,
                };
                let sample = Sample {
                    step,
                    number,
                    answer,
                };
                log.write(&sample).unwrap();
            }
        };
        let check = || SampleLog::check(dir.path(), 2, &[0, 3], (4, false));
        let whole = [(0, 0), (0, 1), (3, 0), (3, 1), (4, 0)];
        write(&whole);
        check().unwrap();
        for (places, said) in [
            (&whole[..3], "ends before sample 1 of step 3: "),
            (&[], "ends before sample 0 of step 0: "),
            (
                &[(0, 0), (3, 0), (3, 1)],
                "line 2: is sample 0 of step 3, expected sample 1 of step 0: ",
            ),
            (
                &[(0, 0), (0, 1), (3, 0), (3, 1), (3, 1)],
                "line 5: is sample 1 of step 3, which the run did not write: ",
            ),
        ] {
            write(places);
            let error = check().unwrap_err().to_string();
            assert!(error.contains(&format!("samples.jsonl: {said}")), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        let error = check().unwrap_err().to_string();
        assert!(error.contains("samples.jsonl: is missing: "), "{error}");
        SampleLog::check(dir.path(), 0, &[0, 3], (4, false)).unwrap();
    }

    #[test]
    fn pixels_become_png() {
        let image = ImageSource::Gray {
            name: "grey".into(),
            width: 2,
            height: 1,
            pixels: [0, 255].into(),
        };
        let (bytes, ending) = encoded(&image).unwrap().unwrap();
        assert_eq!(ending, "png");
        let read = image::load_from_memory(&bytes).unwrap().to_luma8();
        assert_eq!(read.into_raw(), [0, 255]);
    }
}
