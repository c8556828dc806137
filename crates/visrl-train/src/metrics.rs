use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Seconds that the parts of a step took. They alone differ between two runs of one seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Encoding prompts and sampling completions.
    pub rollout: f64,
    /// Scoring completions.
    pub reward: f64,
    /// Updating the policy.
    pub learn: f64,
}

/// What a training step did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// The step, counted from 0.
    pub step: usize,
    /// Mean reward over completions, all rules added up; 0 in supervised training.
    pub reward: f64,
    /// Mean score of each rule, by name.
    pub rewards: Vec<(String, f64)>,
    /// Share of groups in which every completion has the highest possible reward.
    pub all_right: f64,
    /// Share of groups in which every completion has the lowest possible reward.
    pub all_wrong: f64,
    /// Share of groups whose rewards are all equal: they teach nothing.
    pub no_variance: f64,
    /// Mean number of tokens of a completion, end token included.
    pub completion_length: f64,
    /// Share of completions cut at the length limit.
    pub truncated: f64,
    /// The loss before the update.
    pub loss: f64,
    /// Mean KL estimate against the reference policy, per token.
    pub kl: f64,
    /// Mean entropy of the policy's distributions in nats.
    pub entropy: f64,
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// Where the time went.
    pub seconds: Seconds,
}

/// Receives the metrics of a run.
pub trait MetricSink {
    /// Takes the metrics of a finished step.
    ///
    /// # Errors
    /// What stands in the way of recording them.
    fn step(&mut self, metrics: &StepMetrics) -> Result<(), Error>;

    /// Called once after the last step.
    ///
    /// # Errors
    /// What stands in the way of finishing the record.
    fn finish(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// Writes one JSON object per step and line.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: BufWriter<File>,
}

impl JsonLines {
    /// Creates the file, with its folder.
    ///
    /// # Errors
    /// [`Error::Io`] with the path.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        let create = || {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            File::create(&path)
        };
        let file = create().map_err(|source| Error::Io {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            path,
            file: BufWriter::new(file),
        })
    }
}

impl MetricSink for JsonLines {
    fn step(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
        let mut write = || -> std::io::Result<()> {
            serde_json::to_writer(&mut self.file, metrics)?;
            self.file.write_all(b"\n")?;
            self.file.flush()
        };
        write().map_err(|source| Error::Io {
            path: self.path.clone(),
            source,
        })
    }
}

/// A progress bar on the terminal with the numbers that matter; silent where standard error is
/// not a terminal.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar for this many steps.
    pub fn new(steps: usize) -> Self {
        let bar = ProgressBar::new(steps as u64);
        let style = ProgressStyle::with_template("{pos}/{len} {bar:24} {eta} left  {msg}");
        Self {
            bar: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())),
        }
    }

    /// A bar that is not drawn.
    pub fn hidden() -> Self {
        Self {
            bar: ProgressBar::hidden(),
        }
    }
}

impl MetricSink for Progress {
    fn step(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
        self.bar.set_position(metrics.step as u64 + 1);
        self.bar.set_message(format!(
            "reward {:.2}  all right {:.0}%  all wrong {:.0}%  length {:.1}  kl {:.3}",
            metrics.reward,
            metrics.all_right * 100.0,
            metrics.all_wrong * 100.0,
            metrics.completion_length,
            metrics.kl
        ));
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.bar.finish();
        Ok(())
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
