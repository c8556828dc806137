//! What a run is warned of before its first step.

use visrl_core::Example;
use visrl_data::PromptTemplate;
use visrl_rollout::SamplingParams;
use visrl_train::Warnings;

use crate::evaluation_setting::EvaluationPrompts;
use crate::fine_tune::FineTune;
use crate::idle_settings::warn_of_idle;
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
        warn_of_idle(self.settings, self.steps, warnings);
        self.templates(warnings);
        if !self.recipe.objective.is_supervised() {
            self.nothing_to_compare(warnings);
        }
        self.few_labels(warnings);
    }

    fn nothing_to_compare(&self, warnings: &Warnings) {
        let settings = self.settings;
        if settings.num_generations == 1 {
            let message = "`fine_tune.num_generations` is 1: a group of one completion has nothing \
                           to be compared with, so that rewards teach nothing: set 2 or more, 4 to \
                           16 are usual";
            warnings.warn("group of one", message);
        }
        if let Some(name) = greedy(&settings.sampling) {
            let message = format!(
                "`fine_tune.sampling.{name}: the completions of a group are all the same, so that \
                 rewards teach nothing: the usual is `temperature = 1.0`, `top_k = 50`"
            );
            warnings.warn("greedy sampling", message);
        }
    }

    /// Templates that leave out what is asked, or the list of names.
    fn templates(&self, warnings: &Warnings) {
        self.template("recipe.template", &self.recipe.template, warnings);
        if let EvaluationPrompts::Template(own) = &self.settings.evaluation.prompts {
            self.template("fine_tune.evaluation.prompts.template", own, warnings);
        }
    }

    fn template(&self, name: &str, template: &PromptTemplate, warnings: &Warnings) {
        let Some(first) = self.train.first() else {
            return;
        };
        let form = match first.choices.is_empty() {
            true => "open",
            false => "closed",
        };
        // No template says this of itself.
        let asked = Example {
            question: "\u{1}".into(),
            ..first.clone()
        };
        if !first.question.is_empty() && !template.text(&asked).contains('\u{1}') {
            let message = format!(
                "`{name}.{form}` has no `{{question}}`: what the data ask, such as `{}`, is not \
                 shown to the model",
                first.question
            );
            warnings.warn(&format!("question of {name}"), message);
        }
        let is_spelled = |example: &Example| {
            let mut choices = example.choices.iter();
            choices.any(|choice| example.question.contains(choice.as_str()))
        };
        let listed = template.lists_choices() || first.choices.is_empty();
        if !listed && !self.train.iter().any(is_spelled) {
            let message = format!(
                "`{name}.closed` has no `{{choices}}`: the names to choose from are not shown to the \
                 model; `choices = {{ kind = \"open\" }}` says that this is meant"
            );
            warnings.warn(&format!("choices of {name}"), message);
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

/// Shares of probability below this leave the most likely token alone, whatever the model says.
const NO_SHARE: f64 = 1e-6;
/// Temperatures below this leave it alone in effect.
const COLD: f64 = 1e-3;

/// What makes all completions of a group the same, and its value.
fn greedy(sampling: &SamplingParams) -> Option<String> {
    let SamplingParams {
        temperature,
        top_k,
        top_p,
        min_p,
        typical_p,
        ..
    } = *sampling;
    let faults = [
        (temperature < COLD, format!("temperature` is {temperature}")),
        (top_k == 1, "top_k` is 1".to_owned()),
        (top_p < NO_SHARE, format!("top_p` is {top_p}")),
        (min_p == 1.0, "min_p` is 1".to_owned()),
        (typical_p < NO_SHARE, format!("typical_p` is {typical_p}")),
    ];
    let mut faults = faults.into_iter();
    faults.find_map(|(is_greedy, name)| is_greedy.then_some(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use visrl_core::ImageSource;

    #[test]
    fn sampling_that_draws_nothing_is_told_by_its_name() {
        let read = |text: &str| greedy(&toml::from_str(text).unwrap());
        for (text, name) in [
            ("temperature = 0.0", "temperature` is 0"),
            ("temperature = 1e-9", "temperature` is 0.000000001"),
            ("top_k = 1", "top_k` is 1"),
            ("top_p = 1e-9", "top_p` is 0.000000001"),
            ("min_p = 1.0", "min_p` is 1"),
            ("typical_p = 1e-9", "typical_p` is 0.000000001"),
        ] {
            assert_eq!(read(text).as_deref(), Some(name));
        }
        for text in [
            "",
            "temperature = 0.1",
            "top_k = 0",
            "top_p = 0.1",
            "min_p = 0.9",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn good_settings_are_told_nothing_of() {
        let train = ["kite", "drum"].map(|label| Example {
            id: label.into(),
            image: ImageSource::path(""),
            question: "What is it?".into(),
            choices: vec!["kite".into(), "drum".into()],
            label: label.into(),
            row: Default::default(),
        });
        let quiet = |name: &str, recipe: &Recipe, settings: &FineTune| {
            let preflight = Preflight {
                settings,
                recipe,
                train: &train,
                steps: 100,
            };
            let warnings = Warnings::new();
            preflight.warn(&warnings);
            let list = warnings.list();
            // The questions of SAT list their options themselves.
            let told = list
                .iter()
                .filter(|told| !told.cause.starts_with("choices of"));
            assert_eq!(told.count(), 0, "{name}: {list:?}");
            assert!(list.is_empty() || name.contains("sat"), "{name}: {list:?}");
        };
        for recipe in Recipe::all().into_iter().chain([Recipe::sft_reference()]) {
            quiet(&recipe.name, &recipe, &FineTune::default());
        }
        let configs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs");
        for entry in std::fs::read_dir(configs).unwrap() {
            let path = entry.unwrap().path();
            let run = crate::run_config::RunConfig::from_file(&path).unwrap();
            run.validate().unwrap();
            quiet(&path.display().to_string(), &run.recipe, &run.fine_tune);
        }
    }

    #[test]
    fn a_template_that_leaves_out_what_it_is_for_is_told() {
        let told = |question: &str, choices: &[&str], closed: &str, open: &str| {
            let train = [Example {
                id: "1".into(),
                image: ImageSource::path(""),
                question: question.into(),
                choices: choices.iter().map(|&choice| choice.into()).collect(),
                label: "kite".into(),
                row: Default::default(),
            }];
            let mut recipe = Recipe::sft();
            recipe.template = PromptTemplate::new(closed, open).unwrap();
            let preflight = Preflight {
                settings: &FineTune::default(),
                recipe: &recipe,
                train: &train,
                steps: 1,
            };
            let warnings = Warnings::new();
            preflight.templates(&warnings);
            let list = warnings.list().into_iter();
            list.map(|warning| warning.message).collect::<Vec<_>>()
        };
        let names = ["kite", "drum"];
        let good = "{question} {choices}";
        assert!(told("What?", &names, good, "{question}").is_empty());
        assert!(told("What?", &[], "x", "{question}").is_empty());
        assert!(told("", &names, "One of {choices}?", "x").is_empty());
        // The question spells its options out.
        assert!(told("A kite or a drum?", &names, "{question}", "x").is_empty());
        let no_question = told("What?", &names, "One of {choices}?", "{question}");
        assert!(no_question[0].starts_with("`recipe.template.closed` has no `{question}`"));
        let open = told("What?", &[], good, "Say it.");
        assert!(open[0].starts_with("`recipe.template.open` has no `{question}`"));
        let no_list = told("What?", &names, "{question}", "{question}");
        assert!(no_list[0].starts_with("`recipe.template.closed` has no `{choices}`"));
        assert_eq!([no_question.len(), open.len(), no_list.len()], [1; 3]);
    }
}
