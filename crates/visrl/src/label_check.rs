//! Whether labels can be answered at all, found out before the first step.

use std::collections::{BTreeMap, BTreeSet};

use visrl_core::{Example, ImageSource, warn_once};
use visrl_data::{Dataset, Split};
use visrl_reward::rules::Rule;
use visrl_rollout::CompletionText;
use visrl_train::Warnings;
use visrl_vlm::{Pretrained, VisionLanguageModel};

use crate::error::Error;
use crate::fine_tune::FineTune;
use crate::opened_thought::opened_thought;
use crate::recipe::Recipe;

/// Warns, in a run, of labels that no answer can be right for.
pub(crate) fn check_labels<M: VisionLanguageModel>(
    base: &Pretrained<M>,
    recipe: &Recipe,
    settings: &FineTune,
    data: &[&dyn Dataset],
    warnings: &Warnings,
) -> Result<(), Error> {
    for (cause, message) in faults(base, recipe, settings, data)? {
        warnings.warn(cause, message);
    }
    Ok(())
}

/// As [`check_labels`] where there is no run: each warning once a process.
pub(crate) fn check_once<M: VisionLanguageModel>(
    base: &Pretrained<M>,
    recipe: &Recipe,
    settings: &FineTune,
    data: &dyn Dataset,
) -> Result<(), Error> {
    for (_, message) in faults(base, recipe, settings, &[data])? {
        warn_once(message);
    }
    Ok(())
}

/// Labels that are longer than a completion may be, one that the recipe's rule takes for wrong
/// however it is written, two that it takes for one, and a chat template that begins the answer: a
/// cause and a message for each.
///
/// A label just fits when its tokens, with the recipe's tags, are as many as a completion may have:
/// a completion without its end token is judged like any other.
fn faults<M: VisionLanguageModel>(
    base: &Pretrained<M>,
    recipe: &Recipe,
    settings: &FineTune,
    data: &[&dyn Dataset],
) -> Result<Vec<(&'static str, String)>, Error> {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for data in data {
        names.extend(used_names(*data)?);
    }
    let tokenizer = base.encoder.tokenizer();
    let text = CompletionText::new(tokenizer, &base.model.info().eos_token_ids);
    let most = settings.sampling.max_new_tokens;
    let rule = recipe.strict_rule();
    let is_right = |said: &str, label: &str| {
        let score = rule.score(said, &example(label));
        score.is_some_and(|score| score >= 1.0)
    };

    let (mut long, mut longest) = (0, None);
    let mut never = None;
    for name in &names {
        let right = right_answer(recipe, name);
        let tokens = tokenizer.encode(&right)?;
        if tokens.len() > most {
            long += 1;
            if longest.is_none_or(|(length, _)| tokens.len() > length) {
                longest = Some((tokens.len(), name));
            }
        }
        let seen = text.text(&tokens);
        if never.is_none() && !is_right(&seen, name) {
            never = Some((name, seen));
        }
    }
    if let Some((length, name)) = longest {
        let tags = match right_answer(recipe, "").is_empty() {
            true => String::new(),
            false => format!(" with the tags of `{}`", recipe.name),
        };
        let message = format!(
            "`fine_tune.sampling.max_new_tokens` is {most}, but {long} of {} labels are longer, so \
             that no whole answer can be given for them: the longest, `{name}`, takes {length} \
             tokens{tags}; set `max_new_tokens` to at least {length}",
            names.len()
        );
        faults.push(("label length", message));
    }
    if let Some((name, seen)) = never {
        let message = format!(
            "no answer can be right for the label `{name}` by the rule `{}`: of what the model can \
             write for it, `{seen}` is seen; rename it, or take another rule",
            rule.name()
        );
        faults.push(("label never right", message));
    }
    if let Some(message) = opened_thought(base, recipe)? {
        faults.push(("thought opened by the template", message));
    }
    if let Some((first, second)) = alike(&names, |a, b| is_right(&right_answer(recipe, a), b)) {
        let message = format!(
            "the rule `{}` takes the labels `{first}` and `{second}` for one: each is right for the \
             other; rename one of them",
            rule.name()
        );
        faults.push(("labels alike", message));
    }
    Ok(faults)
}

/// The names of classes that have a record in any split.
fn used_names(data: &dyn Dataset) -> Result<BTreeSet<String>, Error> {
    let mut used = BTreeSet::new();
    for split in Split::ALL {
        let records = data.records_if_any(split)?.unwrap_or_default();
        used.extend(records.iter().map(|record| record.label));
    }
    let names = used
        .into_iter()
        .filter_map(|label| data.classes().get(label).cloned());
    Ok(names.collect())
}

/// The shortest right answer: the name, in the tags that the recipe's measure and its format rewards
/// ask for.
fn right_answer(recipe: &Recipe, name: &str) -> String {
    if !recipe.answer_in_tags {
        return name.to_owned();
    }
    let rewarded = |is: fn(&Rule) -> bool| {
        let mut rules = recipe.rewards.rules().iter();
        !recipe.objective.is_supervised() && rules.any(|weighted| is(&weighted.rule))
    };
    let thought = match rewarded(|rule| matches!(rule, Rule::ThinkAnswerFormat(_))) {
        true => "<think></think>",
        false => "",
    };
    let reason = match rewarded(|rule| matches!(rule, Rule::AnswerReasonFormat(_))) {
        true => "<reason></reason>",
        false => "",
    };
    format!("{thought}<answer>{name}</answer>{reason}")
}

/// Two names of which one is right for the other. Only names that are equal but for their case are
/// compared, for they are many.
fn alike(
    names: &BTreeSet<String>,
    is_right_for: impl Fn(&str, &str) -> bool,
) -> Option<(&str, &str)> {
    let mut by_case: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for name in names {
        by_case.entry(name.to_lowercase()).or_default().push(name);
    }
    by_case.into_values().find_map(|names| match names[..] {
        [first, second, ..] if is_right_for(first, second) => Some((first, second)),
        _ => None,
    })
}

fn example(label: &str) -> Example {
    Example {
        id: String::new(),
        image: ImageSource::path(""),
        question: String::new(),
        choices: Vec::new(),
        label: label.to_owned(),
        row: Default::default(),
    }
}
