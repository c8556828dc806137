//! A progress bar.

use std::io::Write;

use indicatif::{ProgressBar, ProgressStyle};

use super::metric_sink::MetricSink;
use super::step_metrics::StepMetrics;
use crate::error::Error;
use crate::evaluation::EvaluationPoint;

/// A progress bar on standard error with the numbers that matter. Where that is not a terminal the
/// bar is not drawn, and only what is [said](Self::say) appears.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    accuracy: Option<f64>,
    silent: bool,
}

impl Progress {
    /// A bar for a run of `steps`, of which `done` were made before.
    pub fn new(steps: usize, done: usize) -> Self {
        let bar = ProgressBar::new(steps as u64);
        let style = ProgressStyle::with_template("{pos}/{len} {bar:20} {eta} left  {msg}");
        let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_position(done as u64);
        bar.reset_eta();
        Self {
            bar,
            accuracy: None,
            silent: false,
        }
    }

    /// A bar that is not drawn, and says nothing.
    pub fn hidden() -> Self {
        Self {
            bar: ProgressBar::hidden(),
            accuracy: None,
            silent: true,
        }
    }

    /// A line above the bar, on standard error, terminal or not.
    pub fn say(&self, line: &str) {
        if !self.silent {
            // A reader that is gone does not stop a run.
            let say = || drop(writeln!(std::io::stderr(), "{line}"));
            self.bar.suspend(say);
        }
    }
}

impl MetricSink for Progress {
    fn step(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
        self.bar.set_position(metrics.step as u64 + 1);
        self.bar.set_message(message(metrics, self.accuracy));
        Ok(())
    }

    fn evaluation(&mut self, point: &EvaluationPoint) -> Result<(), Error> {
        self.accuracy = Some(point.accuracy);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.bar.finish();
        Ok(())
    }
}

/// The numbers of a step in a line. The first rule of a recipe is its accuracy.
fn message(metrics: &StepMetrics, evaluated: Option<f64>) -> String {
    let percent = |share: f64| format!("{:.0}%", 100.0 * share);
    let mut parts = Vec::new();
    match metrics.rewards.first() {
        None => parts.push(format!("loss {:.3}", metrics.loss)),
        Some((_, accuracy)) => {
            parts.push(format!("reward {:.2}", metrics.reward));
            parts.push(format!("accuracy {}", percent(*accuracy)));
            parts.push(format!("all right {}", percent(metrics.all_right)));
            parts.push(format!("all wrong {}", percent(metrics.all_wrong)));
        }
    }
    parts.push(format!("length {:.1}", metrics.completion_length));
    let speed = metrics.tokens_per_second();
    parts.extend(speed.map(|speed| format!("{speed:.0} tokens/s")));
    parts.extend(evaluated.map(|accuracy| format!("evaluated {}", percent(accuracy))));
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::step_metrics::Seconds;

    #[test]
    fn the_line_shows_what_there_is() {
        let seconds = Seconds {
            learn: 0.5,
            ..Seconds::default()
        };
        let mut metrics = StepMetrics {
            loss: 1.25,
            tokens: 100,
            completion_length: 2.5,
            seconds,
            ..StepMetrics::default()
        };
        assert_eq!(
            message(&metrics, None),
            "loss 1.250  length 2.5  200 tokens/s"
        );
        metrics.rewards = vec![("exact_completion".into(), 0.5)];
        metrics.reward = 0.5;
        metrics.all_wrong = 0.25;
        assert_eq!(
            message(&metrics, Some(0.61)),
            "reward 0.50  accuracy 50%  all right 0%  all wrong 25%  length 2.5  200 tokens/s  \
             evaluated 61%"
        );
    }
}
