use serde::{Deserialize, Serialize};

use crate::checkpoint::TrainState;
use crate::evaluation::EvaluationPoint;

/// How long a run trains, and what happens on the way. By default nothing does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoopConfig {
    /// Steps of the whole run.
    pub steps: usize,
    /// Steps between two evaluations; 0 for none. The last step is followed by one, too.
    pub evaluate_every: usize,
    /// Evaluations without a new best after which the run stops; 0 never stops it.
    pub patience: usize,
    /// Steps between two checkpoints; 0 for none. The last step is followed by one, too.
    pub checkpoint_every: usize,
    /// Seconds of training after which no further step is begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_seconds: Option<f64>,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// All steps were made.
    Steps,
    /// The evaluations did not get better any more.
    Patience,
    /// The budget of seconds was spent.
    Budget,
    /// The run's own stop condition held after a step.
    Condition,
    /// The run was asked to end, and left a checkpoint to go on from.
    Interrupted,
}

impl LoopConfig {
    /// Why a run in this state goes no further, if it does not.
    pub fn ended(&self, state: &TrainState) -> Option<StopCause> {
        let spent = self
            .budget_seconds
            .is_some_and(|most| state.seconds >= most);
        if state.step >= self.steps {
            Some(StopCause::Steps)
        } else if self.patience > 0 && state.evaluations_since_best() >= self.patience {
            Some(StopCause::Patience)
        } else {
            spent.then_some(StopCause::Budget)
        }
    }

    /// Whether what happens every so many steps happens after this one. At the end it does.
    /// Takes back, in the state of a run that goes on after its earlier end, the evaluation that was
    /// made only because it ended there: neither the best nor the patience of the longer run is to
    /// know it. `stops_on_condition` says whether a condition that was met ends the run again.
    pub fn reopen(&self, state: &mut TrainState, stops_on_condition: bool) {
        let (every, step) = (self.evaluate_every, state.step);
        let closed = |point: &mut EvaluationPoint| point.step == step;
        if every == 0 || step.is_multiple_of(every) {
            return;
        }
        let Some(closing) = state.evaluations.pop_if(closed) else {
            return;
        };
        if self.ended(state).is_some() || (state.condition_met && stops_on_condition) {
            state.evaluations.push(closing);
        }
    }

    pub(super) fn is_due(every: usize, state: &TrainState, at_end: bool) -> bool {
        every > 0 && (at_end || state.step.is_multiple_of(every))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_for_the_first_reason_that_holds() {
        let config = LoopConfig {
            steps: 10,
            evaluate_every: 2,
            patience: 2,
            budget_seconds: Some(5.0),
            ..LoopConfig::default()
        };
        let mut state = TrainState::default();
        assert_eq!(config.ended(&state), None);
        state.seconds = 5.0;
        assert_eq!(config.ended(&state), Some(StopCause::Budget));
        for (step, accuracy) in [(2, 0.5), (4, 0.4), (6, 0.5)] {
            state.evaluations.push(EvaluationPoint {
                step,
                accuracy,
                completion_length: 2.0,
            });
        }
        assert_eq!(config.ended(&state), Some(StopCause::Patience));
        state.step = 10;
        assert_eq!(config.ended(&state), Some(StopCause::Steps));
    }

    #[test]
    fn an_end_that_is_passed_is_no_evaluation() {
        let point = |step, accuracy| EvaluationPoint {
            step,
            accuracy,
            completion_length: 2.0,
        };
        let at = |step| TrainState {
            step,
            evaluations: vec![point(3, 0.5), point(6, 0.4), point(step, 0.9)],
            ..TrainState::default()
        };
        let reopened = |steps, step, conditional| {
            let config = LoopConfig {
                steps,
                evaluate_every: 3,
                ..LoopConfig::default()
            };
            let mut state = at(step);
            state.condition_met = true;
            config.reopen(&mut state, conditional);
            state.evaluations.len()
        };
        assert_eq!(reopened(12, 8, false), 2);
        // The end is still the end, by its number of steps or by a condition.
        assert_eq!((reopened(8, 8, false), reopened(12, 8, true)), (3, 3));
        // One that was due stays.
        assert_eq!(reopened(12, 9, false), 3);
        // A patience that had run out by the closing evaluation alone has not.
        let patient = LoopConfig {
            steps: 12,
            evaluate_every: 3,
            patience: 2,
            ..LoopConfig::default()
        };
        let mut state = at(8);
        state.evaluations[2].accuracy = 0.1;
        assert_eq!(patient.ended(&state), Some(StopCause::Patience));
        patient.reopen(&mut state, true);
        assert_eq!((patient.ended(&state), state.evaluations.len()), (None, 2));
    }

    #[test]
    fn what_is_due_every_so_often_is_due_at_the_end_too() {
        let config = LoopConfig {
            steps: 5,
            ..LoopConfig::default()
        };
        let due = |every| -> Vec<usize> {
            let at = |step| TrainState {
                step,
                ..TrainState::default()
            };
            (1..=5)
                .filter(|&step| {
                    let state = at(step);
                    LoopConfig::is_due(every, &state, config.ended(&state).is_some())
                })
                .collect()
        };
        assert_eq!(due(2), [2, 4, 5]);
        assert!(due(0).is_empty());
    }
}
