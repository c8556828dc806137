//! Whether a run teaches anything, watched from step to step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use visrl_grpo::Diagnosis;

use super::step_metrics::StepMetrics;
use super::warnings::{GROUP_OF_ONE, Warnings};

/// Steps after which it is told that none could teach anything, or that a format was never kept.
const FIRST: usize = 5;
/// The mean difference of log-probabilities between engine and learner that is told.
const DRIFT: f64 = 0.1;
/// The share of tokens that differ by more than a factor of 2 that is told.
const BEYOND: f64 = 0.01;
/// How many times the first step's drift, and what at least, is told as a growth of it.
const GROWTH: f64 = 20.0;
const GROWN: f64 = 1e-3;
/// Steps on end that could teach nothing, later in a run.
const LATER: usize = 20;
/// Completions without the reward of a rule that is none of a format, after which that is told.
const UNREWARDED: usize = 256;

/// What was seen so far. It is a part of a checkpoint, so that a resumed run warns of what the
/// uninterrupted run warns of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Steps seen.
    steps: usize,
    /// The steps on end, up to the last, whose groups had nothing to compare.
    even: usize,
    /// By the names of rules that have given nothing yet: the completions that they judged.
    unrewarded: BTreeMap<String, usize>,
    /// The mean drift of the first step that tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drift: Option<f64>,
}

impl Watch {
    /// Whether nothing was seen.
    pub(crate) fn is_new(&self) -> bool {
        *self == Self::default()
    }

    /// Looks at a step, and warns of what is wrong with it or with all so far.
    pub(crate) fn step(&mut self, metrics: &StepMetrics, warnings: &Warnings) {
        let even = metrics.effective_groups == 0 && metrics.no_variance > 0.0;
        self.even = if even { self.even + 1 } else { 0 };
        if let Some(diagnosis) = &metrics.diagnosis {
            if *diagnosis == Diagnosis::SingleCompletions.to_string() {
                warnings.warn(GROUP_OF_ONE, diagnosis);
            } else if !even {
                // The numbers in a text are no part of its cause.
                let cause: String = diagnosis.chars().filter(|c| !c.is_ascii_digit()).collect();
                warnings.warn(&cause, diagnosis);
            } else if self.even == FIRST && self.steps + 1 == FIRST {
                let message =
                    format!("none of the first {FIRST} steps could teach anything: {diagnosis}");
                warnings.warn("even rewards", message);
            } else if self.even >= LATER && metrics.all_right < 1.0 {
                let message = format!("the last {LATER} steps could teach nothing: {diagnosis}");
                warnings.warn("even rewards", message);
            }
        }
        self.drift(metrics, warnings);
        self.rules(metrics, warnings);
        self.steps += 1;
    }

    /// Looks whether engine and learner disagree.
    fn drift(&mut self, metrics: &StepMetrics, warnings: &Warnings) {
        let number = |name: &str| metrics.loss_metrics.get(name).copied();
        // An older policy's log-probabilities are others by right.
        let (Some(mean), 0) = (number("drift/mean"), metrics.staleness) else {
            return;
        };
        let beyond = number("drift/beyond").unwrap_or(0.0);
        let first = *self.drift.get_or_insert(mean);
        if mean > DRIFT || beyond > BEYOND {
            let message = format!(
                "the engine's log-probabilities differ from the learner's by {mean:.3} in the mean, and \
                 {:.1} % of tokens are more than twice as likely to one of them: both must have the \
                 same weights and see the same picture. Where it is rounding (bf16, another engine), \
                 set `fine_tune.loss.terms.importance_correction`",
                beyond * 100.0
            );
            warnings.warn("drift", message);
        } else if mean > GROWN && mean > GROWTH * first {
            let message = format!(
                "the mean difference between the engine's log-probabilities and the learner's grew from \
                 {first:.1e} to {mean:.1e}: the engine may not have taken over all of the new weights"
            );
            warnings.warn("drift", message);
        }
    }

    /// Looks for rules that never give anything.
    fn rules(&mut self, metrics: &StepMetrics, warnings: &Warnings) {
        if metrics.rewards.len() < 2 || metrics.completion_length <= 0.0 {
            return;
        }
        let completions = (metrics.tokens as f64 / metrics.completion_length).round() as usize;
        for (name, mean) in &metrics.rewards {
            if self.steps == 0 {
                self.unrewarded.insert(name.clone(), 0);
            }
            // A penalty is 0 where all is well, and below where it is not.
            let Some(asked) = self.unrewarded.get_mut(name).filter(|_| *mean == 0.0) else {
                self.unrewarded.remove(name);
                continue;
            };
            *asked += completions;
            let enough = name.contains("format") || *asked >= UNREWARDED;
            if enough && self.steps + 1 >= FIRST {
                let message = format!(
                    "`{name}` has rewarded none of the first {asked} completions: what is never \
                     right cannot be learnt by rewards. Look at some completions: the template has to \
                     ask for it, the model to know it, and `max_new_tokens` to leave room for it; \
                     else begin with SFT"
                );
                warnings.warn(&format!("unrewarded {name}"), message);
                self.unrewarded.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(effective: usize, rewards: &[(&str, f64)]) -> StepMetrics {
        StepMetrics {
            rewards: rewards
                .iter()
                .map(|(name, mean)| ((*name).to_owned(), *mean))
                .collect(),
            no_variance: if effective == 0 { 1.0 } else { 0.5 },
            effective_groups: effective,
            diagnosis: (effective == 0).then(|| "all 2 groups are entirely wrong".into()),
            completion_length: 4.0,
            tokens: 32,
            ..StepMetrics::default()
        }
    }

    fn told(steps: &[StepMetrics]) -> Vec<String> {
        let (mut watch, warnings) = (Watch::default(), Warnings::new());
        for metrics in steps {
            watch.step(metrics, &warnings);
        }
        warnings
            .list()
            .into_iter()
            .map(|warning| warning.message)
            .collect()
    }

    #[test]
    fn equal_rewards_from_the_start_are_told_once_and_a_single_step_is_not() {
        let (dead, alive) = (step(0, &[("exact", 0.0)]), step(1, &[("exact", 0.2)]));
        let all = told(&vec![dead.clone(); 40]);
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].starts_with("none of the first 5 steps could teach anything: all 2 groups"));
        assert!(told(&vec![dead.clone(); 4]).is_empty());
        let mut mixed = vec![alive];
        mixed.extend(vec![dead.clone(); 19]);
        assert!(told(&mixed).is_empty());
        mixed.push(dead.clone());
        assert!(told(&mixed)[0].starts_with("the last 20 steps"));
        // What has learnt all there is to learn is no fault.
        for metrics in &mut mixed {
            metrics.all_right = 1.0;
        }
        assert!(told(&mixed).is_empty());
    }

    #[test]
    fn a_format_that_is_never_kept_is_told_with_the_rule_s_name() {
        let unkept = step(1, &[("accuracy", 0.1), ("think_answer_format", 0.0)]);
        let all = told(&vec![unkept.clone(); 9]);
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].contains("`think_answer_format` has rewarded none of the first 40"));
        let mut kept_once = vec![unkept; 9];
        kept_once[2].rewards[1].1 = 0.1;
        assert!(told(&kept_once).is_empty());
    }

    /// What is warned of in steps with these mean drifts and shares beyond a factor of 2.
    fn drifting(steps: &[(f64, f64)]) -> Vec<String> {
        let (warnings, mut watch) = (Warnings::new(), Watch::default());
        let mut drifting = step(2, &[]);
        for (mean, beyond) in steps {
            let named = [("drift/mean", *mean), ("drift/beyond", *beyond)];
            drifting.loss_metrics = named.map(|(name, value)| (name.to_owned(), value)).into();
            watch.step(&drifting, &warnings);
        }
        warnings.list().into_iter().map(|w| w.message).collect()
    }

    #[test]
    fn engines_that_disagree_or_come_to_are_told_once() {
        let found = drifting(&[(0.02, 0.005), (0.02, 0.02), (0.2, 0.0)]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("2.0 % of tokens"), "{found:?}");
        let found = drifting(&[(1e-7, 0.0), (9e-4, 0.0), (2e-3, 0.0), (3e-3, 0.0)]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("grew from 1.0e-7 to 2.0e-3"), "{found:?}");
        assert!(drifting(&[(1e-2, 0.0), (5e-2, 0.0)]).is_empty());
    }

    #[test]
    fn another_diagnosis_is_told_at_once() {
        let mut masked = step(1, &[]);
        masked.diagnosis = Some("none of the 8 completions has a counted token".into());
        assert_eq!(told(&[masked.clone(), masked]).len(), 1);
    }
}
