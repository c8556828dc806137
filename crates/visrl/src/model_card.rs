//! The card of a saved model: `README.md`, as the hub's model cards are.

use std::fmt::Write;
use std::path::Path;

use visrl_core::files::{FileError, write_file};
use visrl_train::EvaluationPoint;
use visrl_vlm::LoraConfig;

use crate::fine_tune::FineTune;
use crate::recipe::{Objective, Recipe};
use crate::summary::Summary;

/// The card's name in a model's folder.
const CARD: &str = "README.md";

/// Stands in every card that a run wrote.
pub(crate) const MARK: &str = "<!-- A run of visrl wrote this card, and a later run in the same folder replaces \
                    it. Remove this line to keep what you change. -->";

/// What a card is of.
pub(crate) struct ModelCard<'a> {
    /// The base, as the run named it.
    pub(crate) base: &'a str,
    pub(crate) recipe: &'a Recipe,
    pub(crate) settings: &'a FineTune,
    /// The adapter that was trained.
    pub(crate) lora: Option<&'a LoraConfig>,
    pub(crate) summary: &'a Summary,
    /// The classes, in their order.
    pub(crate) classes: &'a [String],
}

/// The folders of a run that get a card.
#[derive(Clone, Copy, PartialEq)]
enum Saved<'a> {
    /// `model/`.
    Model,
    /// `adapter/`.
    Adapter,
    /// `best/`, with its evaluation.
    Best(&'a EvaluationPoint),
}

impl ModelCard<'_> {
    /// Writes the cards of the models and adapters that the run has saved in its folder. One that is
    /// there and is not a run's stays.
    pub(crate) fn write(&self, out: &Path) -> Result<(), FileError> {
        let mut saved = vec![("model", Saved::Model)];
        if self.lora.is_some() {
            saved.push(("adapter", Saved::Adapter));
        }
        let best = self.summary.best.as_ref();
        saved.extend(best.map(|point| ("best", Saved::Best(point))));
        for (folder, saved) in saved {
            let path = out.join(folder).join(CARD);
            if !path.exists() || is_own_card(&path) {
                write_file(&path, self.text(saved).as_bytes())?;
            }
        }
        Ok(())
    }

    /// A card: YAML, and text in Markdown.
    fn text(&self, saved: Saved<'_>) -> String {
        [self.front_matter(saved), self.body(saved)].concat()
    }

    fn front_matter(&self, saved: Saved<'_>) -> String {
        let summary = self.summary;
        let mut tags = vec!["visrl", "image-classification", "vision-language"];
        tags.push(match self.recipe.objective {
            Objective::Reinforce => "grpo",
            Objective::Supervise | Objective::SuperviseConversation => "sft",
        });
        if self.lora.is_some() {
            tags.push("lora");
        }
        let library = match saved {
            Saved::Adapter => "peft",
            Saved::Model | Saved::Best(_) => "transformers",
        };
        let (split, value) = match saved {
            Saved::Best(point) => (summary.validated_on.as_str(), point.accuracy),
            Saved::Model | Saved::Adapter => ("test", summary.after.greedy),
        };
        let mut yaml = format!(
            "---\n# license: name one that suits those of the base and of the data\nbase_model: {}\nlibrary_name: {library}\npipeline_tag: image-text-to-text\ntags:\n",
            quoted(base_name(self.base))
        );
        for tag in tags {
            let _ = writeln!(yaml, "- {tag}");
        }
        let _ = write!(
            yaml,
            "metrics:\n- accuracy\nmodel-index:\n- name: {name}\n  results:\n  - task:\n      type: \
             image-classification\n    dataset:\n      type: {data}\n      name: {data}\n      split: \
             {split}\n    metrics:\n    - type: accuracy\n      name: accuracy, greedy, {matcher}\n      \
             value: {value:.4}\n",
            name = quoted(&self.name()),
            data = quoted(&summary.data.test),
            matcher = summary.matcher,
        );
        yaml + "---\n"
    }

    fn name(&self) -> String {
        let base = Path::new(base_name(self.base));
        let base = base.file_name().unwrap_or_default().to_string_lossy();
        format!("{base}-{}", self.summary.recipe)
    }

    fn body(&self, saved: Saved<'_>) -> String {
        let summary = self.summary;
        let what = match saved {
            Saved::Adapter => "an adapter for",
            Saved::Model | Saved::Best(_) => "a fine-tuning of",
        };
        let mut text = format!(
            "{MARK}\n\n# {}\n\nThis is {what} `{}` for visual classification, made with visrl {} by \
             the recipe `{}`. It has no licence yet: name one that suits the base's and the data's \
             (`license:` above).\n\n",
            self.name(),
            self.base,
            env!("CARGO_PKG_VERSION"),
            summary.recipe
        );
        text += "## Accuracy\n\n";
        let count = summary.test_examples;
        let _ = writeln!(
            text,
            "On {count} test images of `{}`, judged by `{}` ({}); the spread is the 95 % interval \
             that the number of images leaves (Wilson's).\n",
            summary.data.test, summary.matcher, summary.evaluation
        );
        text += "| | greedy | sampled at temperature 1 | tokens |\n|---|---|---|---|\n";
        let last = format!("after {} steps", summary.steps);
        for (name, accuracy) in [("base", summary.before), (last.as_str(), summary.after)] {
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {:.1} |",
                with_spread(accuracy.greedy, count),
                with_spread(accuracy.t1, count),
                accuracy.completion_length
            );
        }
        if let Saved::Best(point) = saved {
            let _ = writeln!(
                text,
                "\nThese weights are the best of the evaluations on the way: after {} steps, {:.1} % \
                 greedily on the `{}` examples. Chosen by that number, it is likely too high.",
                point.step,
                100.0 * point.accuracy,
                summary.validated_on
            );
        }
        text += "\n## Training\n\n| | |\n|---|---|\n";
        for (name, value) in self.rows() {
            let _ = writeln!(text, "| {name} | {} |", value.replace('|', "\\|"));
        }
        let _ = writeln!(
            text,
            "\n`generation_config.json` says how the recipe samples in training{}; the accuracies \
             named greedy take the likeliest token instead (`do_sample=False`).",
            if saved == Saved::Adapter {
                " (of `model/`, the merged one)"
            } else {
                ""
            }
        );
        let _ = write!(text, "\n## Classes\n\n{}\n", list(self.classes));
        let prompt = self.prompt();
        let _ = write!(
            text,
            "\n## What is asked\n\n```text\n{prompt}\n```\n\nOf `{{question}}` and `{{choices}}` the \
             one is the question of the data, the other the list of names, in an order of its own for \
             each picture. `classify --run` of visrl asks so.\n"
        );
        if let Some(lora) = self.lora {
            let _ = write!(
                text,
                "\n## Adapter\n\n{}\n",
                adapter(lora, saved == Saved::Adapter)
            );
        }
        text
    }

    fn prompt(&self) -> String {
        let template = serde_json::to_value(&self.recipe.template).unwrap_or_default();
        let closed = template["closed"].as_str().unwrap_or_default();
        // A fence within a template would end the block.
        closed.replace("```", "'''")
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let (summary, settings) = (self.summary, self.settings);
        let mut rows = vec![
            ("data", summary.data.train.clone()),
            ("recipe", summary.recipe.clone()),
            ("rewards", summary.rules.join(", ")),
            ("steps", summary.steps.to_string()),
            ("prompts a step", settings.prompts_per_step.to_string()),
        ];
        if self.recipe.objective.is_supervised() {
            rows.retain(|(name, _)| *name != "rewards");
        } else {
            rows.push(("completions a prompt", settings.num_generations.to_string()));
        }
        let sampling = &settings.sampling;
        rows.extend([
            ("learning rate", settings.learning_rate.to_string()),
            (
                "sampling",
                format!(
                    "temperature {}, top-k {}, top-p {}, at most {} tokens",
                    sampling.temperature, sampling.top_k, sampling.top_p, sampling.max_new_tokens
                ),
            ),
            ("seed", summary.seed.to_string()),
            ("seconds of training", format!("{:.0}", summary.seconds)),
        ]);
        rows
    }
}

fn adapter(lora: &LoraConfig, is_adapter: bool) -> String {
    let merged = match is_adapter {
        true => "PEFT loads it: `PeftModel.from_pretrained(base, folder)`.",
        false => "It is merged into these weights.",
    };
    format!(
        "LoRA of rank {}, alpha {}. {merged}",
        lora.r, lora.lora_alpha
    )
}

/// The name on the hub without the revision, as cards and PEFT name a base, or the folder as it was
/// named.
pub(crate) fn base_name(base: &str) -> &str {
    match Path::new(base).exists() {
        true => base,
        false => base.split_once('@').map_or(base, |(name, _)| name),
    }
}

/// A share with half the width of its 95 % interval: Wilson's for a binomial proportion.
fn with_spread(share: f64, count: usize) -> String {
    let (z, n) = (1.96f64, count.max(1) as f64);
    let root = (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    let half = z * root / (1.0 + z * z / n);
    format!("{:.1} % ± {:.1}", 100.0 * share, 100.0 * half)
}

/// Names in a paragraph, of many the first.
fn list(names: &[String]) -> String {
    const MOST: usize = 200;
    let shown = names.iter().take(MOST);
    let mut text = shown
        .map(|name| format!("`{}`", name.replace('`', "'")))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > MOST {
        let _ = write!(text, " and {} more", names.len() - MOST);
    }
    text
}

/// A text as YAML, in double quotes, which are JSON's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Whether a card was written by a run, and not changed by somebody who wants to keep it.
pub(crate) fn is_own_card(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == CARD)
        && std::fs::read_to_string(path).is_ok_and(|text| text.contains(MARK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_wilson_s() {
        // 50 of 100: 0.404 to 0.596.
        assert_eq!(with_spread(0.5, 100), "50.0 % ± 9.6");
        // Nothing right is no proof that nothing ever is.
        assert_eq!(with_spread(0.0, 100), "0.0 % ± 1.8");
    }

    #[test]
    fn a_name_on_the_hub_has_no_revision_in_a_card() {
        assert_eq!(
            base_name("Qwen/Qwen2-VL-2B-Instruct@main"),
            "Qwen/Qwen2-VL-2B-Instruct"
        );
        assert_eq!(base_name("no/folder"), "no/folder");
        assert_eq!(quoted("a: \"b\""), r#""a: \"b\"""#);
    }

    #[test]
    fn many_classes_are_not_all_named() {
        let names: Vec<String> = (0..201).map(|n| format!("c{n}")).collect();
        assert!(list(&names).ends_with("`c199` and 1 more"));
    }
}
