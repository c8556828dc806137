//! A place for metrics of one's own.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use visrl::train::{Error, MetricSink, StepMetrics};

/// Writes a table of steps, rewards and losses.
pub struct Csv(File);

impl Csv {
    pub fn create(path: &Path) -> std::io::Result<Self> {
        let mut file = File::create(path)?;
        writeln!(file, "step,reward,loss")?;
        Ok(Self(file))
    }
}

impl MetricSink for Csv {
    fn step(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
        let StepMetrics {
            step, reward, loss, ..
        } = metrics;
        writeln!(self.0, "{step},{reward},{loss}").map_err(Error::own)
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.0.sync_all().map_err(Error::own)
    }
}
