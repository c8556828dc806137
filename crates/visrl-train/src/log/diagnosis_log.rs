use std::collections::BTreeSet;

use super::metric_sink::MetricSink;
use super::step_metrics::StepMetrics;
use crate::error::Error;

/// Warns of steps that could teach nothing, by `tracing`: once of each cause, as a run in which
/// such a step comes often says the same each time.
#[derive(Debug, Default)]
pub struct DiagnosisLog {
    told: BTreeSet<String>,
}

impl DiagnosisLog {
    /// Whether this cause is told for the first time. The numbers in a text are no part of its
    /// cause.
    fn is_new(&mut self, diagnosis: &str) -> bool {
        let cause = diagnosis.chars().filter(|c| !c.is_ascii_digit());
        self.told.insert(cause.collect())
    }
}

impl MetricSink for DiagnosisLog {
    fn step(&mut self, metrics: &StepMetrics) -> Result<(), Error> {
        if let Some(diagnosis) = &metrics.diagnosis
            && self.is_new(diagnosis)
        {
            tracing::warn!(step = metrics.step, "{diagnosis}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let mut log = DiagnosisLog::default();
        assert!(log.is_new("all 16 groups are entirely right"));
        assert!(!log.is_new("all 8 groups are entirely right"));
        assert!(log.is_new("all 8 groups are entirely wrong"));
    }
}
