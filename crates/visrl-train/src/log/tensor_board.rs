//! Event files for TensorBoard.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use super::append::{create, cut};
use super::metric_sink::MetricSink;
use super::step_metrics::StepMetrics;
use super::tf_record::{Found, first_record, push_record};
use crate::error::Error;
use crate::evaluation::EvaluationPoint;

/// What the first record of an event file says.
const VERSION: &str = "brain.Event:2";

/// Begins the tags of evaluations.
const EVALUATION: &str = "evaluation/";

/// Writes metrics as scalars into an event file, which `tensorboard --logdir` shows beside those
/// of other runs. TensorBoard finds files by `tfevents` in their names.
///
/// A scalar stands at the number of steps made: the metrics of the first step at 1, as an
/// evaluation after that step does.
#[derive(Debug)]
pub struct TensorBoard {
    path: PathBuf,
    file: File,
}

/// A number in an event file.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// Training steps made.
    pub step: usize,
    /// What it is, such as `train/reward`.
    pub tag: String,
    /// The number, in the precision of the file.
    pub value: f32,
}

/// The part of `tensorflow.Event` that is used.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

impl TensorBoard {
    /// Creates the file, with its folder; one that is there is replaced.
    ///
    /// # Errors
    /// [`Error::Files`] with the path.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = create(path)?;
        let path = path.to_owned();
        let mut sink = Self { path, file };
        sink.write(0, Some(VERSION.to_owned()), None)?;
        Ok(sink)
    }

    /// Goes on with the file of an interrupted run: what belongs to steps after `step` is cut, and
    /// so is all from the first record on that was not written to its end or is damaged. No run
    /// fails for that, as nothing is computed from the file. One that is not there is created. An
    /// evaluation after the step itself stays if it is one that the run has still `evaluated`.
    ///
    /// # Errors
    /// [`Error::Files`] with the path.
    pub fn resume(path: impl AsRef<Path>, step: usize, evaluated: bool) -> Result<Self, Error> {
        let path = path.as_ref();
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Self::create(path);
            }
            bytes => bytes.map_err(|source| Error::io(path, source))?,
        };
        let mut length = 0;
        let most = i64::try_from(step).unwrap_or(i64::MAX);
        let sound = events(path, &bytes, |event, end| {
            let closes = !evaluated && event.step == most && is_evaluation(&event);
            let stays = event.step <= most && !closes;
            if stays {
                length = end;
            }
            stays
        });
        if let Err(error) = sound {
            tracing::warn!("{error}; what follows is cut");
        }
        if length == 0 {
            return Self::create(path);
        }
        let file = cut(path, length)?;
        let path = path.to_owned();
        Ok(Self { path, file })
    }

    /// Reads the scalars of an event file. A record at its end that was not written whole is left
    /// out.
    ///
    /// # Errors
    /// [`Error::Files`] with the path; [`Error::File`] for a damaged record.
    pub fn read(path: impl AsRef<Path>) -> Result<Vec<Scalar>, Error> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
        let mut scalars = Vec::new();
        events(path, &bytes, |event, _| {
            let step = usize::try_from(event.step).unwrap_or(0);
            let values = event.summary.into_iter().flat_map(|summary| summary.value);
            scalars.extend(values.filter_map(|value| {
                Some(Scalar {
                    step,
                    tag: value.tag,
                    value: value.simple_value?,
                })
            }));
            true
        })?;
        Ok(scalars)
    }

    fn scalars(&mut self, step: usize, scalars: Vec<(String, f64)>) -> Result<(), Error> {
        let value = |(tag, value): (String, f64)| Value {
            tag,
            simple_value: Some(value as f32),
        };
        let value = scalars.into_iter().map(value).collect();
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        self.write(step, None, Some(Summary { value }))
    }

    /// One write for a record, so that a killed process rarely leaves half of one.
    fn write(
        &mut self,
        step: i64,
        file_version: Option<String>,
        summary: Option<Summary>,
    ) -> Result<(), Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let event = Event {
            wall_time: now.map_or(0.0, |now| now.as_secs_f64()),
            step,
            file_version,
            summary,
        };
        let mut record = Vec::new();
        push_record(&mut record, &event.encode_to_vec());
        let written = self.file.write_all(&record);
        written.map_err(|source| Error::io(&self.path, source))
    }
}

/// Shows the events of a file in order, each with the place where it ends, until one is not wanted.
fn events(
    path: &Path,
    bytes: &[u8],
    mut wanted: impl FnMut(Event, usize) -> bool,
) -> Result<(), Error> {
    let mut rest = bytes;
    loop {
        let begin = bytes.len() - rest.len();
        let damaged = |what: &str| {
            let message = format!("damaged: the record at byte {begin} {what}");
            Error::file(path, message)
        };
        let content = match first_record(rest) {
            Found::End => return Ok(()),
            Found::Damaged => return Err(damaged("has another checksum")),
            Found::Record(content, after) => {
                rest = after;
                content
            }
        };
        let event = Event::decode(content).map_err(|error| damaged(&error.to_string()))?;
        if !wanted(event, bytes.len() - rest.len()) {
            return Ok(());
        }
    }
}

fn is_evaluation(event: &Event) -> bool {
    let mut values = event.summary.iter().flat_map(|summary| &summary.value);
    values.any(|value| value.tag.starts_with(EVALUATION))
}

impl MetricSink for TensorBoard {
    fn step(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
        let mut all: Vec<(String, f64)> = Vec::new();
        let mut add = |tag: &str, value: f64| all.push((tag.to_owned(), value));
        if !metrics.rewards.is_empty() {
            add("train/reward", metrics.reward);
            for (rule, score) in &metrics.rewards {
                add(&format!("reward/{rule}"), *score);
            }
            add("groups/all_right", metrics.all_right);
            add("groups/all_wrong", metrics.all_wrong);
            add("groups/no_variance", metrics.no_variance);
            add("groups/effective", metrics.effective_groups as f64);
            add("groups/resampled", metrics.resampled as f64);
            add("train/kl", metrics.kl);
            add("train/entropy", metrics.entropy);
        }
        add("train/loss", metrics.loss);
        add("train/grad_norm", metrics.grad_norm);
        add("train/learning_rate", metrics.learning_rate);
        add("completion/length", metrics.completion_length);
        add("completion/truncated", metrics.truncated);
        // Those without a group of their own are written above.
        for (name, value) in metrics
            .loss_metrics
            .iter()
            .filter(|(name, _)| name.contains('/'))
        {
            add(name, *value);
        }
        if let Some(phi) = metrics.loss_metrics.get("phi") {
            add("train/phi", *phi);
        }
        add("seconds/rollout", metrics.seconds.rollout);
        add("seconds/reward", metrics.seconds.reward);
        add("seconds/learn", metrics.seconds.learn);
        for (name, seconds) in [
            ("seconds/engine", metrics.seconds.engine),
            ("seconds/engine_idle", metrics.seconds.engine_idle),
        ] {
            seconds.into_iter().for_each(|seconds| add(name, seconds));
        }
        let phases = &metrics.seconds.learn_phases;
        add("seconds/learn/reference", phases.reference);
        add("seconds/learn/forward", phases.forward);
        add("seconds/learn/backward", phases.backward);
        add("seconds/learn/optimizer", phases.optimizer);
        if let Some(speed) = metrics.tokens_per_second() {
            add("seconds/tokens_per_second", speed);
        }
        self.scalars(metrics.step + 1, all)
    }

    fn evaluation(&mut self, point: &EvaluationPoint) -> Result<(), Error> {
        let scalars = [
            ("accuracy", point.accuracy),
            ("completion_length", point.completion_length),
        ];
        let scalars = scalars.map(|(tag, value)| (format!("{EVALUATION}{tag}"), value));
        self.scalars(point.step, scalars.to_vec())
    }

    fn sync(&mut self) -> Result<(), Error> {
        let synced = self.file.sync_data();
        synced.map_err(|source| Error::io(&self.path, source))
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: usize) -> StepMetrics {
        StepMetrics {
            step,
            reward: 0.5,
            rewards: vec![("exact_completion".into(), 0.0)],
            loss: step as f64,
            loss_metrics: [("ratio/max".to_owned(), 1.5), ("kl".to_owned(), 0.5)].into(),
            ..StepMetrics::default()
        }
    }

    fn point(step: usize) -> EvaluationPoint {
        EvaluationPoint {
            step,
            accuracy: 0.25,
            completion_length: 2.0,
        }
    }

    fn value(scalars: &[Scalar], step: usize, tag: &str) -> Option<f32> {
        let mut found = scalars.iter().filter(|s| s.step == step && s.tag == tag);
        found.next().map(|scalar| scalar.value)
    }

    #[test]
    fn scalars_are_read_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/events.out.tfevents");
        let mut sink = TensorBoard::create(&path).unwrap();
        sink.step(&step(0)).unwrap();
        sink.step(&step(1)).unwrap();
        sink.evaluation(&point(2)).unwrap();
        sink.finish().unwrap();
        let scalars = TensorBoard::read(&path).unwrap();
        assert_eq!(value(&scalars, 1, "train/reward"), Some(0.5));
        // A zero is a number, too.
        assert_eq!(value(&scalars, 1, "reward/exact_completion"), Some(0.0));
        assert_eq!(value(&scalars, 2, "train/loss"), Some(1.0));
        assert_eq!(value(&scalars, 2, "evaluation/accuracy"), Some(0.25));
        assert_eq!(value(&scalars, 0, "train/loss"), None);
        assert_eq!(value(&scalars, 1, "ratio/max"), Some(1.5));
    }

    /// The bytes by the protocol's rules: field 3 of the first event, text of 13 bytes.
    #[test]
    fn the_file_begins_with_its_version() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.out.tfevents");
        TensorBoard::create(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[..8], [24, 0, 0, 0, 0, 0, 0, 0]);
        let event = &bytes[12..36];
        assert_eq!(event[0], 1 << 3 | 1, "field 1, eight bytes");
        assert_eq!(event[9..11], [3 << 3 | 2, 13]);
        assert_eq!(event[11..], *b"brain.Event:2");
    }

    #[test]
    fn a_resumed_file_ends_where_the_checkpoint_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.out.tfevents");
        let mut sink = TensorBoard::create(&path).unwrap();
        sink.step(&step(0)).unwrap();
        sink.evaluation(&point(1)).unwrap();
        let kept = std::fs::read(&path).unwrap();
        sink.step(&step(1)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        // A record that was being written when the process was killed.
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        TensorBoard::resume(&path, 1, true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), kept);
        let mut sink = TensorBoard::resume(&path, 1, true).unwrap();
        sink.step(&step(1)).unwrap();
        let scalars = TensorBoard::read(&path).unwrap();
        assert_eq!(value(&scalars, 2, "train/loss"), Some(1.0));
        // An evaluation that the run has not any more.
        TensorBoard::resume(&path, 1, false).unwrap();
        let scalars = TensorBoard::read(&path).unwrap();
        assert_eq!(value(&scalars, 1, "evaluation/accuracy"), None);
        assert_eq!(value(&scalars, 1, "train/loss"), Some(0.0));
        std::fs::remove_file(&path).unwrap();
        TensorBoard::resume(&path, 1, true).unwrap();
        assert!(TensorBoard::read(&path).unwrap().is_empty());
    }

    #[test]
    fn a_damaged_record_is_named_and_cut_by_a_resume() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.out.tfevents");
        let mut sink = TensorBoard::create(&path).unwrap();
        sink.step(&step(0)).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).unwrap();
            let place = if at < 40 { "byte 0 " } else { "byte 40 " };
            let error = TensorBoard::read(&path).unwrap_err().to_string();
            let named = error.contains("tfevents") && error.contains(place);
            assert!(named && error.contains("damaged"), "{at}: {error}");
            TensorBoard::resume(&path, 1, true).unwrap();
            assert_eq!(std::fs::read(&path).unwrap().len(), 40);
            assert!(TensorBoard::read(&path).unwrap().is_empty());
        }
    }
}
