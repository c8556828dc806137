//! Settings that do nothing in a run, though each is in its range.

use toml::Table;
use visrl_grpo::{ReferenceRefresh, SharedOptions};
use visrl_train::{ParameterGroup, Warnings};

use crate::fine_tune::FineTune;
use crate::loss_setting::LossSetting;

/// Beta's value when a run file names none.
fn default_beta() -> f64 {
    SharedOptions::default().beta
}

/// Warns of settings without effect in a run of so many steps.
///
/// What depends on the number of steps is told, but not recorded: a run that is made longer is to
/// leave what a run that was as long at once leaves.
pub(crate) fn warn_of_idle(settings: &FineTune, steps: usize, warnings: &Warnings) {
    let warn = |cause: &str, message: &str| warnings.warn(cause, message);
    if steps == 0 {
        warn(
            "steps",
            "`fine_tune.steps` is 0: nothing is trained, the model is measured only",
        );
    }
    if settings.learning_rate == 0.0 {
        warn(
            "learning_rate",
            "`fine_tune.learning_rate` is 0: the model stays as it is",
        );
    }
    if settings.budget_seconds == Some(0.0) {
        warn(
            "budget_seconds",
            "`fine_tune.budget_seconds` is 0: no step is made",
        );
    }
    if settings.patience > 0 && settings.evaluate_every == 0 {
        warn(
            "patience",
            "`fine_tune.patience` has no effect, as it counts evaluations on the way and there are \
             none: set `evaluate_every`, too",
        );
    }
    if steps > 0 && settings.evaluate_every > steps {
        visrl_core::warn_once(format!(
            "`fine_tune.evaluate_every` is {}, and the run makes {steps} steps: there is one \
             evaluation on the way, after the last of them",
            settings.evaluate_every
        ));
    }
    if let (1.., LossSetting::Grpo(loss)) = (settings.max_staleness, &settings.loss)
        && loss.terms.importance_correction.is_none()
    {
        warn(
            "max_staleness",
            "`fine_tune.max_staleness` lets an older policy sample, and the loss takes its samples for \
             the learner's own: set `fine_tune.loss.terms.importance_correction`, too",
        );
    }
    if let LossSetting::Grpo(loss) = &settings.loss {
        idle_schedule(&loss.terms, warnings);
        let refresh = &settings.learner.reference_refresh;
        if refresh.every.is_some() && !loss.terms.needs_reference() {
            warn(
                "reference_refresh",
                "`fine_tune.learner.reference_refresh` has no effect, as the loss has no KL term: \
                 set `loss.terms.beta` above 0, or leave it out",
            );
        }
    }
    idle_refresh(settings, steps, warnings);
    idle_groups(&settings.learner.parameter_groups, warnings);
}

/// Warns of `steps` that a run's file says beside `epochs`, which come first. A file that a run left
/// says both.
pub(crate) fn warn_of_both(file: &Table, name: Option<&str>) {
    let number = |field: &str| file.get("fine_tune")?.get(field)?.as_integer();
    let (Some(steps), Some(epochs)) = (number("steps"), number("epochs")) else {
        return;
    };
    if epochs != 0 && !file.contains_key("version") {
        let file = name.map_or(String::new(), |name| format!("{name}: "));
        visrl_core::warn_once(format!(
            "{file}`fine_tune.steps` is {steps}, but has no effect beside `epochs`, which is {epochs}: \
             leave one out"
        ));
    }
}

fn idle_schedule(terms: &SharedOptions, warnings: &Warnings) {
    let Some(schedule) = &terms.beta_schedule else {
        return;
    };
    if terms.beta != default_beta() && terms.beta != schedule.at(0) {
        let message = format!(
            "`fine_tune.loss.terms.beta` is {}, but has no effect beside `beta_schedule`, which says \
             {} at step 0: leave one out",
            terms.beta,
            schedule.at(0)
        );
        warnings.warn("beta", message);
    }
}

fn idle_refresh(settings: &FineTune, steps: usize, warnings: &Warnings) {
    let refresh = &settings.learner.reference_refresh;
    let Some(every) = refresh.every else {
        if refresh.mix != ReferenceRefresh::default().mix {
            let message = "`fine_tune.learner.reference_refresh.mix` has no effect without `every`: \
                           the reference is never refreshed";
            warnings.warn("mix", message);
        }
        return;
    };
    let updates = steps.saturating_mul(settings.learner.updates_per_batch);
    if steps > 0 && every > updates as u64 {
        visrl_core::warn_once(format!(
            "`fine_tune.learner.reference_refresh.every` is {every}, and the run makes {updates} \
             updates: the reference is never refreshed"
        ));
    }
}

/// A group that sets nothing may keep its parameters out of the groups after it.
fn idle_groups(groups: &[ParameterGroup], warnings: &Warnings) {
    let sets = |group: &ParameterGroup| group.learning_rate != 1.0 || group.weight_decay.is_some();
    let last = groups.iter().rposition(sets).map_or(0, |place| place + 1);
    if last < groups.len() {
        let message = format!(
            "`fine_tune.learner.parameter_groups.{last}` has no effect, as it sets neither \
             `learning_rate` nor `weight_decay`: set one, or remove the group"
        );
        warnings.warn("parameter_groups", message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, steps: usize) -> Vec<String> {
        let settings: FineTune = toml::from_str(text).unwrap();
        settings.validate().unwrap();
        let warnings = Warnings::new();
        warn_of_idle(&settings, steps, &warnings);
        let list = warnings.list().into_iter();
        list.map(|warning| warning.message).collect()
    }

    #[test]
    fn what_does_nothing_is_told_by_its_name() {
        for (text, name) in [
            ("learning_rate = 0.0", "fine_tune.learning_rate"),
            ("budget_seconds = 0.0", "fine_tune.budget_seconds"),
            ("patience = 2", "fine_tune.patience"),
            (
                "loss.terms = { beta = 0.0 }\nlearner.reference_refresh.every = 1",
                "fine_tune.learner.reference_refresh",
            ),
            (
                "learner.reference_refresh.mix = { type = \"constant\", value = 0.5 }",
                "fine_tune.learner.reference_refresh.mix",
            ),
            (
                "loss.terms = { beta = 0.1, beta_schedule = { type = \"constant\", value = 0.2 } }",
                "fine_tune.loss.terms.beta",
            ),
            (
                "learner.parameter_groups = [{ weight_decay = 0.0 }, { names = \"x\" }]",
                "fine_tune.learner.parameter_groups.1",
            ),
        ] {
            let told = told(text, 10);
            assert_eq!(told.len(), 1, "{text}: {told:?}");
            assert!(told[0].starts_with(&format!("`{name}` ")), "{told:?}");
        }
        assert!(told("", 0)[0].starts_with("`fine_tune.steps` is 0"));
    }

    #[test]
    fn steps_beside_epochs_are_told_where_a_file_says_both() {
        let told = |text: &str| {
            let file: Table = toml::from_str(text).unwrap();
            visrl_testing::warnings_of(|| warn_of_both(&file, Some("a.toml"))).1
        };
        let both = told("[fine_tune]\nsteps = 1\nepochs = 2");
        assert!(
            both.len() == 1 && both[0].starts_with("a.toml: `fine_tune.steps` is 1, but"),
            "{both:?}"
        );
        for good in [
            "[fine_tune]\nepochs = 2",
            "[fine_tune]\nsteps = 1\nepochs = 0",
            "version = \"0.1.0\"\n[fine_tune]\nsteps = 1\nepochs = 2",
        ] {
            assert!(told(good).is_empty(), "{good}");
        }
    }

    #[test]
    fn what_does_something_is_not_told() {
        for text in [
            "",
            "evaluate_every = 10\npatience = 1",
            "learner.reference_refresh = { every = 2, mix = { type = \"constant\", value = 0.5 } }",
            "loss.terms.beta_schedule = { type = \"constant\", value = 0.2 }",
            "loss.terms = { beta = 0.2, beta_schedule = { type = \"constant\", value = 0.2 } }",
            // The first keeps its parameters out of the second.
            "learner.parameter_groups = [{ names = \"x\" }, { weight_decay = 0.1 }]",
        ] {
            assert_eq!(told(text, 10), Vec::<String>::new(), "{text}");
        }
    }
}
