//! How beta changes and how the reference follows during a run.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A value that depends on the step, for beta or for the reference's mixing rate; in files
/// `{"type": "constant", "value": 0.04}` or `{"type": "linear", "start": 1, "end": 0, "steps": 9}`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum BetaSchedule {
    /// Always the same.
    Constant {
        /// The value.
        value: f64,
    },
    /// On a straight line from `start` at step 0 to `end` at step `steps`, then `end`.
    Linear {
        /// Value at step 0.
        start: f64,
        /// Value at step `steps` and after.
        end: f64,
        /// Length of the line in optimizer steps; 0 is `end` from the beginning.
        steps: u64,
    },
}

impl BetaSchedule {
    /// The value at an optimizer step, counted from 0.
    pub fn at(&self, step: u64) -> f64 {
        match *self {
            Self::Constant { value } => value,
            Self::Linear { end, steps, .. } if step >= steps => end,
            Self::Linear { start, end, steps } => {
                start + (end - start) * (step as f64 / steps as f64)
            }
        }
    }

    /// Whether the value is 0 at every step.
    pub fn is_zero(&self) -> bool {
        match *self {
            Self::Constant { value } => value == 0.0,
            Self::Linear { start, end, steps } => end == 0.0 && (start == 0.0 || steps == 0),
        }
    }

    fn check(&self, field: &'static str, range: (f64, f64), allowed: &'static str) -> Result<()> {
        let check = |v| Error::check(v >= range.0 && v <= range.1, field, v, allowed);
        check(self.at(0)).and(check(self.at(u64::MAX)))
    }

    /// Checks the schedule as one of beta.
    ///
    /// # Errors
    /// [`Error::Config`] when a value is negative, infinite or not a number.
    pub fn validate_beta(&self) -> Result<()> {
        self.check("beta_schedule", (0.0, f64::MAX), "zero or more")
    }
}

/// When and how the reference policy follows the trained one.
///
/// After every `every` optimizer steps the reference's weights become
/// `mix * policy + (1 - mix) * reference` (TR-DPO, arXiv 2404.09656); `mix` 1 is a plain copy.
/// The default never refreshes: the paper keeps the base model as its reference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReferenceRefresh {
    /// Optimizer steps between refreshes; `None`: never. Default none.
    pub every: Option<u64>,
    /// The share of the trained policy in the new reference, 0 to 1, at the step of the refresh.
    /// Default constant 1.
    pub mix: BetaSchedule,
}

impl Default for ReferenceRefresh {
    fn default() -> Self {
        Self { every: None, mix: BetaSchedule::Constant { value: 1.0 } }
    }
}

impl ReferenceRefresh {
    /// The mixing rate to apply after `steps` optimizer steps have been done; `None`: leave the
    /// reference alone.
    pub fn after(&self, steps: u64) -> Option<f64> {
        let every = self.every.filter(|every| *every > 0)?;
        (steps > 0 && steps.is_multiple_of(every)).then(|| self.mix.at(steps))
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Config`] when the period is 0 or a mixing rate lies outside 0 to 1.
    pub fn validate(&self) -> Result<()> {
        Error::check(self.every != Some(0), "every", 0.0, "one or more, or none")?;
        self.mix.check("mix", (0.0, 1.0), "between 0 and 1")
    }
}

#[cfg(test)]
#[test]
fn lines_end_where_they_should_and_the_reference_follows_on_time() {
    let line = |start, end, steps| BetaSchedule::Linear { start, end, steps };
    let falling = line(1.0, 0.5, 10);
    assert_eq!([0, 5, 10, 99].map(|step| falling.at(step)), [1.0, 0.75, 0.5, 0.5]);
    assert_eq!(line(1.0, 0.5, 0).at(0), 0.5);
    assert!(line(1.0, 0.0, 0).is_zero() && !falling.is_zero());
    assert!(falling.validate_beta().is_ok() && line(0.1, -0.1, 3).validate_beta().is_err());
    let mut refresh = ReferenceRefresh::default();
    assert_eq!(refresh.after(100), None);
    refresh.every = Some(10);
    assert_eq!([0, 9, 20].map(|step| refresh.after(step)), [None, None, Some(1.0)]);
    refresh.mix = line(1.5, 0.5, 9);
    assert!(refresh.validate().is_err());
}
