//! What a run warns of.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// The cause of a warning that groups hold one completion each.
pub(crate) const GROUP_OF_ONE: &str = "group of one";

/// Something that a run could do without, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warning {
    /// Training steps made before it was found.
    pub step: usize,
    /// What it is about, in a word or two: each cause is told once in a run.
    pub cause: String,
    /// What is wrong, by the name of the setting or the file, and the remedy.
    pub message: String,
}

/// The warnings of one run: each is told once, by [`tracing::warn`], and is kept for the metrics,
/// the summary and the report. Clones are the same list. Of several runs in one process the same
/// words are told once, and kept by each.
///
/// ```
/// use visrl_train::Warnings;
///
/// let warnings = Warnings::new();
/// warnings.warn("patience", "`patience` has no effect: set `evaluate_every`, too");
/// warnings.warn("patience", "each cause counts once");
/// assert_eq!(warnings.list().len(), 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    step: usize,
    list: Vec<Warning>,
    /// The first so many of the list are in the metrics.
    recorded: usize,
}

impl Warnings {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Warns, if nothing was said of this cause before.
    pub fn warn(&self, cause: &str, message: impl Into<String>) {
        let mut told = self.lock();
        if told.list.iter().any(|warning| warning.cause == cause) {
            return;
        }
        let message = message.into();
        if is_new(&message) {
            tracing::warn!("{message}");
        }
        let warning = Warning {
            step: told.step,
            cause: cause.to_owned(),
            message,
        };
        told.list.push(warning);
    }

    /// All that was told, in the order in which it was.
    pub fn list(&self) -> Vec<Warning> {
        self.lock().list.clone()
    }

    /// Goes on with the list of a checkpoint after `step` steps: what it holds is in the metrics
    /// already.
    pub(crate) fn resume(&self, step: usize, earlier: &[Warning]) {
        let mut told = self.lock();
        let mut list = earlier.to_vec();
        for mut warning in std::mem::take(&mut told.list) {
            if !earlier.iter().any(|other| other.cause == warning.cause) {
                warning.step = step;
                list.push(warning);
            }
        }
        *told = Told {
            step,
            list,
            recorded: earlier.len(),
        };
    }

    /// What was not taken before, for the metrics of a step.
    pub(crate) fn take(&self) -> Vec<String> {
        let mut told = self.lock();
        let new = told.list[told.recorded..].iter();
        let new = new.map(|warning| warning.message.clone()).collect();
        told.recorded = told.list.len();
        new
    }

    /// So many steps were made.
    pub(crate) fn set_step(&self, step: usize) {
        self.lock().step = step;
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was told in this process.
static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn is_new(message: &str) -> bool {
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    told.insert(message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_and_recorded_once_even_over_a_resume() {
        let first = Warnings::new();
        first.warn("a", "1");
        first.warn("a", "2");
        assert_eq!(first.take(), ["1"]);
        first.set_step(4);
        first.clone().warn("b", "3");
        assert_eq!(first.take(), ["3"]);
        assert!(first.take().is_empty());
        let earlier = first.list();
        assert_eq!((earlier[0].step, earlier[1].step), (0, 4));

        let second = Warnings::new();
        second.warn("a", "1");
        second.warn("c", "5");
        second.resume(6, &earlier);
        assert_eq!(second.take(), ["5"]);
        let causes: Vec<_> = second
            .list()
            .into_iter()
            .map(|w| (w.step, w.cause))
            .collect();
        let expected = [(0, "a"), (4, "b"), (6, "c")];
        assert_eq!(
            causes,
            expected.map(|(step, cause)| (step, cause.to_owned()))
        );
    }
}
