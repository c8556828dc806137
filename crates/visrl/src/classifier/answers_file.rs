//! Answers of many pictures as JSON lines, which a killed process goes on with.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use visrl_core::ImageSource;
use visrl_core::files::FileError;
use visrl_train::LineFile;
use visrl_vlm::VisionLanguageModel;

use super::checksums::{Checksums, checksums_of, digits, of_pictures, verify};
use super::classify::Classifier;
use super::picture_answer::PictureAnswer;
use crate::error::Error;

/// The largest file of settings that is read, in bytes.
const MAX_SETTINGS: u64 = 64 << 20;
/// What to do with a file that cannot be gone on with.
const ADVICE: &str = "name another file, or remove this one";

/// A file with an answer a line, [`PictureAnswer`], in the order of a list of pictures.
///
/// Pictures are asked about in batches, and lines are written a batch at a time. A process that
/// goes on with a file that another one left drops the lines of a batch that is not whole, so that
/// the file is byte for byte the one of a process that was not killed. What decides the answers
/// stands beside the file, in `NAME.settings.json`; a file of other settings is refused. Checksums of
/// the pictures and of the lines stand in `NAME.checksums.jsonl`: a file with lines that were edited,
/// or whose pictures changed, is refused, too.
#[derive(Debug)]
pub struct AnswersFile {
    lines: LineFile,
    checksums: LineFile,
    pictures: Vec<PathBuf>,
    batch: usize,
    done: usize,
    /// Held as long as the file is written to.
    _lock: File,
}

impl AnswersFile {
    /// Creates the file for these pictures, or goes on with it.
    ///
    /// # Errors
    /// [`Error::Setting`] for batches of 0; [`Error::File`] for a file that is of other settings or
    /// pictures, with a line that was edited or whose picture changed, that nothing is known of, or
    /// that another process is writing; [`Error::Files`] for what cannot be read or written.
    pub fn open<M: VisionLanguageModel>(
        path: &Path,
        classifier: &Classifier<M>,
        pictures: Vec<PathBuf>,
        batch: usize,
    ) -> Result<Self, Error> {
        if batch == 0 {
            return Err(Error::setting("batch", "is 0, expected at least 1"));
        }
        let mut settings = classifier.settings()?;
        settings["batch"] = batch.into();
        settings["pictures"] = of_paths(&pictures);
        let lock = keep_settings(path, &settings)?;
        let there = count(path, &pictures)?;
        let known = known(path, there)?;
        verify(path, &pictures, &known, ADVICE)?;
        let done = match known.len() == pictures.len() {
            true => known.len(),
            false => known.len() / batch * batch,
        };
        let lines = resume::<PictureAnswer>(path, done)?;
        let checksums = resume::<Checksums>(&checksums_of(path), done)?;
        Ok(Self {
            lines,
            checksums,
            pictures,
            batch,
            done,
            _lock: lock,
        })
    }

    /// The pictures.
    pub fn pictures(&self) -> &[PathBuf] {
        &self.pictures
    }

    /// The number of pictures whose answers are in the file.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Asks about the next batch of pictures and writes its answers, which it returns; nothing when
    /// all are there.
    ///
    /// # Errors
    /// As [`Classifier::classify`]; [`Error::Training`] with the file that cannot be written.
    pub fn next_batch<M: VisionLanguageModel>(
        &mut self,
        classifier: &mut Classifier<M>,
    ) -> Result<Option<Vec<PictureAnswer>>, Error> {
        let batch = &self.pictures[self.done..];
        let batch = &batch[..batch.len().min(self.batch)];
        if batch.is_empty() {
            self.lines.sync()?;
            self.checksums.sync()?;
            return Ok(None);
        }
        let sums = of_pictures(batch);
        let batch: Vec<_> = batch.iter().map(ImageSource::path).collect();
        let answers = classifier.classify_from(self.done, &batch)?;
        answers
            .iter()
            .try_for_each(|answer| self.lines.write(answer))?;
        for (answer, sum) in answers.iter().zip(sums) {
            let sums = Checksums::new(sum, answer);
            let sums = sums.map_err(|error| Error::file(&answer.image, error.to_string()))?;
            self.checksums.write(&sums)?;
        }
        self.done += answers.len();
        Ok(Some(answers))
    }

    /// Reads the answers of a file.
    ///
    /// # Errors
    /// [`Error::Training`] with the line that is no answer; [`Error::Files`] for a file that cannot
    /// be read.
    pub fn read(path: &Path) -> Result<Vec<PictureAnswer>, Error> {
        let mut answers = Vec::new();
        std::fs::metadata(path).map_err(|source| FileError::io(path, source))?;
        LineFile::check(path, |answer| {
            answers.push(answer);
            true
        })?;
        Ok(answers)
    }
}

/// The file of settings beside a file of answers.
fn settings_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".settings.json");
    path.with_file_name(name)
}

/// The pictures in a few numbers: their count and a checksum of their paths in order.
fn of_paths(pictures: &[PathBuf]) -> Value {
    let mut hash = Sha256::new();
    for picture in pictures {
        hash.update(picture.as_os_str().as_encoded_bytes());
        hash.update([0]);
    }
    json!({ "count": pictures.len(), "sha256": digits(hash) })
}

/// The checksums of the lines that are there; of a file that was killed between the two the last ones
/// may be missing.
fn known(path: &Path, there: usize) -> Result<Vec<Checksums>, Error> {
    let beside = checksums_of(path);
    if there > 0 && !beside.is_file() {
        let message = format!(
            "is there, and nothing tells of which pictures it is ({} is missing): {ADVICE}",
            beside.display()
        );
        return Err(Error::file(path, message));
    }
    let mut known = Vec::new();
    LineFile::check(&beside, |checksums| {
        known.push(checksums);
        true
    })?;
    known.truncate(there);
    Ok(known)
}

/// Goes on with a file behind so many lines.
fn resume<T: DeserializeOwned>(path: &Path, lines: usize) -> Result<LineFile, Error> {
    let mut kept = 0;
    let resumed = LineFile::resume(path, |_: T| {
        kept += 1;
        kept <= lines
    });
    Ok(resumed?)
}

/// Writes the settings beside a file that is begun anew, and checks those of one that is gone on
/// with. What is returned lets no other process do so meanwhile.
fn keep_settings(path: &Path, settings: &Value) -> Result<File, Error> {
    let beside = settings_of(path);
    let failed = |source| FileError::io(&beside, source);
    let begun = std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
    if begun && !beside.is_file() {
        let message = format!(
            "is there, and nothing tells how it was made ({} is missing): {ADVICE}",
            beside.display()
        );
        return Err(Error::file(path, message));
    }
    if let Some(folder) = beside.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(&beside).map_err(failed)?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        let message = "is being written by another process: wait for its end";
        return Err(Error::file(path, message));
    }
    if begun {
        let mut text = Vec::new();
        let read = (&mut file).take(MAX_SETTINGS).read_to_end(&mut text);
        read.map_err(failed)?;
        let old = serde_json::from_slice(&text);
        let old = old.map_err(|source| FileError::json(&beside, source))?;
        compare(path, &old, settings)?;
        return Ok(file);
    }
    let text = serde_json::to_vec_pretty(settings);
    let text = text.map_err(|source| FileError::json(&beside, source))?;
    let mut write = || -> std::io::Result<()> {
        file.set_len(0)?;
        file.write_all(&text)?;
        file.sync_data()
    };
    write().map_err(failed)?;
    Ok(file)
}

/// Whether a file that is there was begun with these settings.
fn compare(path: &Path, old: &Value, settings: &Value) -> Result<(), Error> {
    let mut fields = settings.as_object().into_iter().flatten();
    match fields.find(|(name, value)| old.get(name.as_str()) != Some(value)) {
        None => Ok(()),
        Some((name, _)) => {
            let message = format!(
                "was begun with other settings (`{name}` of {}): {ADVICE}",
                settings_of(path).display()
            );
            Err(Error::file(path, message))
        }
    }
}

/// The whole lines that are there, of which each must be of the picture in its place.
fn count(path: &Path, pictures: &[PathBuf]) -> Result<usize, Error> {
    let (mut count, mut other) = (0, None);
    LineFile::check(path, |answer: PictureAnswer| {
        let name = pictures.get(count).map(|p| p.display().to_string());
        if name.as_ref() != Some(&answer.image) && other.is_none() {
            other = Some((count + 1, answer.image));
        }
        count += 1;
        true
    })?;
    match other {
        None => Ok(count),
        Some((line, image)) => {
            let message = format!(
                "line {line}: is of {image}, which is not the picture in that place: {ADVICE}"
            );
            Err(Error::file(path, message))
        }
    }
}
