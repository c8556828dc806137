//! What a run is warned of before its first step.

use visrl_core::Example;
use visrl_train::Warnings;

use crate::fine_tune::FineTune;
use crate::loss_setting::LossSetting;
use crate::recipe::Recipe;

/// A run of which all is known but what it will do.
#[derive(Clone, Copy)]
pub(crate) struct Preflight<'a> {
    pub(crate) settings: &'a FineTune,
    pub(crate) recipe: &'a Recipe,
    /// The first training examples that are dealt: all of the first epoch, where they are not many.
    pub(crate) train: &'a [Example],
    /// Steps of the whole run.
    pub(crate) steps: usize,
}

impl Preflight<'_> {
    /// Warns of what can be told before the first step.
    pub(crate) fn warn(&self, warnings: &Warnings) {
        self.settings_without_effect(warnings);
        if !self.recipe.objective.is_supervised() {
            self.nothing_to_compare(warnings);
        }
        self.few_labels(warnings);
    }

    fn settings_without_effect(&self, warnings: &Warnings) {
        let settings = self.settings;
        if self.steps == 0 {
            let message = "`fine_tune.steps` is 0: nothing is trained, the model is measured only";
            warnings.warn("steps", message);
        }
        if settings.learning_rate == 0.0 {
            let message = "`fine_tune.learning_rate` is 0: the model stays as it is";
            warnings.warn("learning_rate", message);
        }
        if settings.budget_seconds == Some(0.0) {
            let message = "`fine_tune.budget_seconds` is 0: no step is made";
            warnings.warn("budget_seconds", message);
        }
        if settings.patience > 0 && settings.evaluate_every == 0 {
            let message = "`fine_tune.patience` has no effect, as it counts evaluations on the way \
                           and there are none: set `evaluate_every`, too";
            warnings.warn("patience", message);
        }
        let refreshed = settings.learner.reference_refresh.every.is_some();
        if let LossSetting::Grpo(loss) = &settings.loss
            && refreshed
            && !loss.terms.needs_reference()
        {
            let message = "`fine_tune.learner.reference_refresh` has no effect, as the loss has no \
                           KL term: set `loss.terms.beta` above 0, or leave it out";
            warnings.warn("reference_refresh", message);
        }
    }

    fn nothing_to_compare(&self, warnings: &Warnings) {
        let settings = self.settings;
        if settings.num_generations == 1 {
            let message = "`fine_tune.num_generations` is 1: a group of one completion has nothing \
                           to be compared with, so that rewards teach nothing: set 2 or more, 4 to \
                           16 are usual";
            warnings.warn("group of one", message);
        }
        let sampling = &settings.sampling;
        if sampling.temperature == 0.0 || sampling.top_k == 1 {
            let name = match sampling.temperature == 0.0 {
                true => "temperature` is 0",
                false => "top_k` is 1",
            };
            let message = format!(
                "`fine_tune.sampling.{name}: the completions of a group are all the same, so that \
                 rewards teach nothing: the usual is `temperature = 1.0`, `top_k = 50`"
            );
            warnings.warn("greedy sampling", message);
        }
    }

    fn few_labels(&self, warnings: &Warnings) {
        let Some(first) = self.train.first() else {
            return;
        };
        if self.train.len() > 1
            && self
                .train
                .iter()
                .all(|example| example.label == first.label)
        {
            let message = format!(
                "all {} training examples are `{}`: always answering so is right, and is learnt",
                self.train.len(),
                first.label
            );
            warnings.warn("one class", message);
        }
    }
}
