use std::path::Path;

use super::line_file::LineFile;
use super::metric_sink::MetricSink;
use super::step_metrics::StepMetrics;
use crate::error::Error;

/// Writes one JSON object per step and line.
#[derive(Debug)]
pub struct JsonLines {
    lines: LineFile,
}

impl JsonLines {
    /// Creates the file, with its folder; one that is there is replaced.
    ///
    /// # Errors
    /// [`Error::Files`] with the path.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, Error> {
        let lines = LineFile::create(path.as_ref())?;
        Ok(Self { lines })
    }

    /// Goes on with the file of an interrupted run: the lines of steps before `step` stay, what
    /// follows them is cut.
    ///
    /// # Errors
    /// [`Error::File`] when one of those lines is not there or is not a step's.
    pub fn resume(path: impl AsRef<Path>, step: usize) -> Result<Self, Error> {
        let path = path.as_ref();
        Self::check(path, step)?;
        let lines = LineFile::resume(path, |metrics: StepMetrics| metrics.step < step)?;
        Ok(Self { lines })
    }

    /// Whether [`resume`](Self::resume) would find what it goes on with; nothing is changed.
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    pub fn check(path: impl AsRef<Path>, step: usize) -> Result<(), Error> {
        let path = path.as_ref();
        let (mut next, mut line, mut other) = (0, 0, None);
        LineFile::check(path, |metrics: StepMetrics| {
            line += 1;
            if metrics.step != next && other.is_none() {
                other = Some((line, metrics.step, next));
            }
            next = metrics.step + 1;
            other.is_none() && metrics.step < step
        })?;
        if let Some((line, found, expected)) = other {
            let message = format!("line {line}: is of step {found}, expected step {expected}");
            return Err(Error::file(path, message));
        }
        if next < step {
            let message = format!("holds {next} steps, fewer than the {step} of the checkpoint");
            return Err(Error::file(path, message));
        }
        Ok(())
    }
}

impl MetricSink for JsonLines {
    fn step(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
        self.lines.write(metrics)
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.lines.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/metrics.jsonl");
        let mut sink = JsonLines::create(&path).unwrap();
        for step in 0..2 {
            sink.step(&StepMetrics {
                step,
                reward: 0.5,
                ..Default::default()
            })
            .unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let steps: Vec<StepMetrics> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(steps.len(), 2);
        assert_eq!((steps[1].step, steps[1].reward), (1, 0.5));
    }

    #[test]
    fn a_resumed_file_ends_where_the_checkpoint_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let step = |step| StepMetrics {
            step,
            ..Default::default()
        };
        let mut sink = JsonLines::create(&path).unwrap();
        (0..3).for_each(|at| sink.step(&step(at)).unwrap());
        let whole = std::fs::read_to_string(&path).unwrap();
        // A line that was being written when the process was killed.
        std::fs::write(&path, format!("{whole}{{\"step\":3,\"rew")).unwrap();
        let mut sink = JsonLines::resume(&path, 2).unwrap();
        sink.step(&step(2)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        let error = JsonLines::resume(&path, 5).unwrap_err().to_string();
        assert!(
            error.contains("metrics.jsonl") && error.contains("3 steps"),
            "{error}"
        );
        // A line that is lost, or broken, or met twice.
        let lines: Vec<&str> = whole.lines().collect();
        for (lines, parts) in [
            (
                [lines[0], lines[2], ""],
                "line 2: is of step 2, expected step 1",
            ),
            ([lines[0], "{\"step\":1,", lines[2]], "line 2: "),
            (
                [lines[0], lines[0], lines[1]],
                "line 2: is of step 0, expected step 1",
            ),
        ] {
            std::fs::write(&path, lines.join("\n")).unwrap();
            let error = JsonLines::resume(&path, 3).unwrap_err().to_string();
            assert!(
                error.contains("metrics.jsonl") && error.contains(parts),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = JsonLines::create(file.join("metrics.jsonl"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("metrics.jsonl"), "{error}");
    }
}
