use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, EvaluationPoint, LineFile};

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

impl Seconds {
    /// All of them.
    pub fn total(&self) -> f64 {
        self.rollout + self.reward + self.learn
    }
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
    /// Tokens of all completions, end tokens included.
    #[serde(default)]
    pub tokens: usize,
    /// Further prompts that were asked because groups had no variance.
    #[serde(default)]
    pub resampled: usize,
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

impl StepMetrics {
    /// Tokens of completions per second of the step; nothing for a step that took no time.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let seconds = self.seconds.total();
        (seconds > 0.0).then(|| self.tokens as f64 / seconds)
    }
}

/// Receives the metrics of a run.
pub trait MetricSink {
    /// Takes the metrics of a finished step.
    ///
    /// # Errors
    /// What stands in the way of recording them.
    fn step(&mut self, metrics: &StepMetrics) -> Result<(), Error>;

    /// Takes an evaluation on the way.
    ///
    /// # Errors
    /// What stands in the way of recording it.
    fn evaluation(&mut self, point: &EvaluationPoint) -> Result<(), Error> {
        let _ = point;
        Ok(())
    }

    /// Makes what was recorded durable: a checkpoint is about to be written.
    ///
    /// # Errors
    /// What stands in the way.
    fn sync(&mut self) -> Result<(), Error> {
        Ok(())
    }

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
        let mut next = 0;
        let lines = LineFile::resume(path, |metrics: StepMetrics| {
            next = metrics.step + 1;
            metrics.step < step
        })?;
        if next < step {
            let message = format!("holds {next} steps, fewer than the {step} of the checkpoint");
            return Err(Error::file(path, message));
        }
        Ok(Self { lines })
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
