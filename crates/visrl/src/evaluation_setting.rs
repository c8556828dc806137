//! How a run is evaluated: the words, the rows and the images.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize};
use visrl_core::{Example, ImageSource};
use visrl_data::{ChoiceList, Classes, Dataset, PromptTemplate, Split, Wording};
use visrl_image::ImagePipeline;
use visrl_reward::RewardRule;
use visrl_reward::rules::{CvBenchScore, LenientEvaluation};
use visrl_vlm::PromptEncoder;

use crate::error::Error;
use crate::load_check::of_option;
use crate::recipe::Recipe;

/// How a run is evaluated: what is asked, on which rows, and how images are prepared.
///
/// By default as in training, on the test rows. The paper's test programs ask otherwise than its
/// training programs, prepare images otherwise, and each is a name:
///
/// ```
/// use visrl::{EvaluatedRows, EvaluationPrompts, EvaluationSetting, RunConfig};
///
/// let text = r#"
///     recipe = "cls_rl"
///
///     [model]
///     path = "assets/base"
///
///     [data]
///     source = { kind = "drawn_shapes" }
///
///     [fine_tune]
///     evaluation = "paper_few_shot"
/// "#;
/// let run = RunConfig::from_toml(text)?;
/// let paper = EvaluationSetting::paper(EvaluationPrompts::FewShot);
/// assert_eq!(run.fine_tune.evaluation, paper);
/// assert_eq!(paper.rows, EvaluatedRows::TestAndValidation);
///
/// let own = r#"{ prompts = { template = { closed = "{question} {choices}?", open = "{question}" } } }"#;
/// let own = RunConfig::from_toml(&text.replace("\"paper_few_shot\"", own))?;
/// assert!(matches!(own.fine_tune.evaluation.prompts, EvaluationPrompts::Template(_)));
/// # Ok::<(), visrl::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EvaluationSetting {
    /// What is asked.
    pub prompts: EvaluationPrompts,
    /// The rows that are asked about.
    pub rows: EvaluatedRows,
    /// What happens to images before the processor's resize; as in training when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<ImagePipeline>,
}

/// The words of an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluationPrompts {
    /// Those of the recipe's training.
    #[default]
    Training,
    /// The paper's after few-shot training: [`Wording::EvalNew`].
    FewShot,
    /// The paper's on the base or the new classes, whichever are tested; on all classes those of
    /// [`FewShot`](Self::FewShot).
    BaseToNew,
    /// The paper's on base classes: [`Wording::EvalBase`].
    BaseClasses,
    /// The paper's on new classes: [`Wording::EvalNew`].
    NewClasses,
    /// The paper's of open questions: [`Wording::EvalBase`].
    OpenSet,
    /// The paper's on CV-Bench: [`Wording::CvBench`], without a list; lenient is then the paper's
    /// count for CV-Bench, [`CvBenchScore`].
    CvBench,
    /// The paper's on CV-Bench when it asks the question alone; lenient as for
    /// [`CvBench`](Self::CvBench).
    CvBenchNoInstruction,
    /// The question, and the list where the recipe shows one, with nothing after them.
    NoInstruction,
    /// A template of one's own.
    Template(PromptTemplate),
}

/// The rows of an evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluatedRows {
    /// The test split.
    #[default]
    Test,
    /// The test split, then the rows of the validation split that are not in it, where there are
    /// some: the paper's test programs take the rows marked `test` or `valid`.
    TestAndValidation,
}

/// Names of the paper's evaluations, for run files and flags.
const PRESETS: [(&str, EvaluationPrompts); 5] = [
    ("paper_few_shot", EvaluationPrompts::FewShot),
    ("paper_base_to_new", EvaluationPrompts::BaseToNew),
    ("paper_open_set", EvaluationPrompts::OpenSet),
    ("paper_cv_bench", EvaluationPrompts::CvBench),
    (
        "paper_cv_bench_no_instruction",
        EvaluationPrompts::CvBenchNoInstruction,
    ),
];

impl EvaluationSetting {
    /// The paper's program for these prompts: rows of test and validation, images through
    /// [`ImagePipeline::PaperEvaluation`] at 384 pixels; on CV-Bench test rows, and
    /// images as they are. Together with the lenient match, which every evaluation counts, that is
    /// what the paper's numbers are measured by.
    pub fn paper(prompts: EvaluationPrompts) -> Self {
        let (rows, pipeline) = match prompts {
            EvaluationPrompts::CvBench | EvaluationPrompts::CvBenchNoInstruction => {
                (EvaluatedRows::Test, ImagePipeline::Plain)
            }
            _ => (
                EvaluatedRows::TestAndValidation,
                ImagePipeline::PaperEvaluation { size: 384 },
            ),
        };
        Self {
            prompts,
            rows,
            pipeline: Some(pipeline),
        }
    }

    /// The setting of a name: `training`, `paper_few_shot`, `paper_base_to_new`, `paper_open_set`,
    /// `paper_cv_bench`, or `paper_cv_bench_no_instruction`.
    pub fn named(name: &str) -> Option<Self> {
        if name == "training" {
            return Some(Self::default());
        }
        let (_, prompts) = PRESETS.into_iter().find(|(known, _)| *known == name)?;
        Some(Self::paper(prompts))
    }

    /// The names that [`named`](Self::named) knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let paper = PRESETS.iter().map(|(name, _)| *name);
        ["training"].into_iter().chain(paper)
    }

    /// The setting for a half of the classes: [`EvaluationPrompts::BaseToNew`] becomes that half's.
    #[must_use]
    pub fn of_classes(&self, classes: Classes) -> Self {
        let prompts = match (&self.prompts, classes) {
            (EvaluationPrompts::BaseToNew, Classes::Base) => EvaluationPrompts::BaseClasses,
            (EvaluationPrompts::BaseToNew, Classes::New) => EvaluationPrompts::NewClasses,
            (prompts, _) => prompts.clone(),
        };
        Self {
            prompts,
            ..self.clone()
        }
    }

    /// How a recipe's examples are asked.
    ///
    /// # Errors
    /// [`Error::Setting`] when the paper's words are wanted for a recipe that asks by none of its
    /// methods.
    pub fn template(&self, recipe: &Recipe) -> Result<PromptTemplate, Error> {
        let wording = match &self.prompts {
            EvaluationPrompts::Training => return Ok(recipe.template.clone()),
            EvaluationPrompts::Template(own) => return Ok(own.clone()),
            EvaluationPrompts::NoInstruction | EvaluationPrompts::CvBenchNoInstruction => None,
            EvaluationPrompts::FewShot
            | EvaluationPrompts::BaseToNew
            | EvaluationPrompts::NewClasses => Some(Wording::EvalNew),
            EvaluationPrompts::BaseClasses | EvaluationPrompts::OpenSet => Some(Wording::EvalBase),
            EvaluationPrompts::CvBench => Some(Wording::CvBench),
        };
        let template = match wording {
            None => PromptTemplate::no_instruction(),
            Some(wording) => {
                let method = recipe.method().ok_or_else(|| no_method(recipe))?;
                PromptTemplate::paper(method, wording)
            }
        };
        Ok(match recipe.template.lists_choices() && !self.is_open() {
            true => template,
            false => template.without_list(),
        })
    }

    /// The examples of the evaluated rows, each with its own list of choices.
    pub(crate) fn examples(
        &self,
        data: &dyn Dataset,
        choices: &ChoiceList,
    ) -> Result<Vec<Example>, Error> {
        let mut examples = data.examples(Split::Test, choices, 0)?;
        let validation = data.records_if_any(Split::Val)?.unwrap_or_default();
        if self.rows == EvaluatedRows::Test || validation.is_empty() {
            return Ok(examples);
        }
        let test = data.records(Split::Test)?;
        // Ids of different images may be the same in two splits.
        let mut known: HashMap<&str, Vec<&ImageSource>> = HashMap::new();
        for record in test {
            known.entry(&record.id).or_default().push(&record.image);
        }
        let is_new = |example: &Example| {
            let images = known.get(example.id.as_str());
            images.is_none_or(|images| !images.contains(&&example.image))
        };
        let more = data.examples(Split::Val, choices, 0)?;
        examples.extend(more.into_iter().filter(is_new));
        Ok(examples)
    }

    /// What prepares the prompts' images: the run's own encoder, or one behind another pipeline.
    ///
    /// # Errors
    /// [`Error::Model`] when the model's processor cannot use the pipeline.
    pub fn encoder(&self, encoder: &Arc<PromptEncoder>) -> Result<Arc<PromptEncoder>, Error> {
        Ok(match self.pipeline {
            None => Arc::clone(encoder),
            Some(pipeline) => {
                let behind = encoder.behind(pipeline);
                Arc::new(behind.map_err(|error| of_option("fine_tune.evaluation", error))?)
            }
        })
    }

    /// The paper's count of right answers.
    pub(crate) fn lenient(&self) -> Arc<dyn RewardRule> {
        match self.is_cv_bench() {
            true => Arc::new(CvBenchScore::default()),
            false => Arc::new(LenientEvaluation::default()),
        }
    }

    /// Whether the paper shows no list there.
    fn is_open(&self) -> bool {
        self.is_cv_bench() || self.prompts == EvaluationPrompts::OpenSet
    }

    fn is_cv_bench(&self) -> bool {
        use EvaluationPrompts::{CvBench, CvBenchNoInstruction};
        matches!(self.prompts, CvBench | CvBenchNoInstruction)
    }
}

fn no_method(recipe: &Recipe) -> Error {
    let message = format!(
        "takes the paper's words, but the recipe `{}` asks by none of the paper's methods: take \
         `training` or give a `template`",
        recipe.name
    );
    Error::setting("fine_tune.evaluation.prompts", message)
}

/// In a sentence, as for a table: `asked as in training, test rows`.
impl fmt::Display for EvaluationSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.prompts {
            EvaluationPrompts::Training => "asked as in training",
            EvaluationPrompts::FewShot => "asked as the paper after few-shot training",
            EvaluationPrompts::BaseToNew => "asked as the paper on base and new classes",
            EvaluationPrompts::BaseClasses => "asked as the paper on base classes",
            EvaluationPrompts::NewClasses => "asked as the paper on new classes",
            EvaluationPrompts::OpenSet => "asked as the paper asks open questions",
            EvaluationPrompts::CvBench => "asked as the paper on CV-Bench",
            EvaluationPrompts::CvBenchNoInstruction => {
                "asked as the paper on CV-Bench without an instruction"
            }
            EvaluationPrompts::NoInstruction => "asked without an instruction",
            EvaluationPrompts::Template(_) => "asked by a template of its own",
        })?;
        f.write_str(match self.rows {
            EvaluatedRows::Test => ", test rows",
            EvaluatedRows::TestAndValidation => ", test and validation rows",
        })?;
        match self.pipeline {
            None => Ok(()),
            Some(ImagePipeline::Plain) => f.write_str(", images as they are"),
            Some(ImagePipeline::Paper { size }) => {
                write!(f, ", images as the paper trains, {size}")
            }
            Some(ImagePipeline::PaperEvaluation { size }) => {
                write!(f, ", images as the paper evaluates, {size}")
            }
        }
    }
}

/// A name, or a table whose missing fields are the defaults.
impl<'de> Deserialize<'de> for EvaluationSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, Default)]
        #[serde(default, deny_unknown_fields)]
        struct Fields {
            prompts: EvaluationPrompts,
            rows: EvaluatedRows,
            pipeline: Option<ImagePipeline>,
        }

        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = EvaluationSetting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of an evaluation or a table")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
                EvaluationSetting::named(name).ok_or_else(|| {
                    let known: Vec<_> = EvaluationSetting::names().collect();
                    let known = known.join("`, `");
                    E::custom(format!(
                        "unknown evaluation `{name}`, expected one of `{known}`"
                    ))
                })
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<Self::Value, A::Error> {
                let Fields {
                    prompts,
                    rows,
                    pipeline,
                } = Fields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(EvaluationSetting {
                    prompts,
                    rows,
                    pipeline,
                })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use visrl_data::{ChoiceRule, MemoryDataset, Record};

    use super::*;

    #[test]
    fn a_setting_is_a_name_or_a_table() {
        for name in EvaluationSetting::names() {
            let named: EvaluationSetting = serde_json::from_str(&format!("\"{name}\"")).unwrap();
            assert_eq!(Some(&named), EvaluationSetting::named(name).as_ref());
            let table = serde_json::to_string(&named).unwrap();
            assert_eq!(
                serde_json::from_str::<EvaluationSetting>(&table).unwrap(),
                named
            );
        }
        let error = serde_json::from_str::<EvaluationSetting>("\"few_shot\"").unwrap_err();
        assert!(error.to_string().contains("`paper_few_shot`"), "{error}");
        let error = serde_json::from_str::<EvaluationSetting>(r#"{"row": 1}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `row`"), "{error}");
        let no_instruction = EvaluationSetting::named("paper_cv_bench_no_instruction").unwrap();
        assert_eq!(no_instruction.pipeline, Some(ImagePipeline::Plain));
    }

    #[test]
    fn base_to_new_is_what_is_tested() {
        let setting = EvaluationSetting::paper(EvaluationPrompts::BaseToNew);
        let of = |classes| setting.of_classes(classes).prompts;
        assert_eq!(of(Classes::Base), EvaluationPrompts::BaseClasses);
        assert_eq!(of(Classes::New), EvaluationPrompts::NewClasses);
        assert_eq!(of(Classes::All), EvaluationPrompts::BaseToNew);
        let training = EvaluationSetting::default();
        assert_eq!(training.of_classes(Classes::New), training);
    }

    #[test]
    fn validation_rows_that_are_test_rows_are_asked_once() {
        let record = |id: &str, file: &str| Record::new(id, ImageSource::path(file), 0);
        let data = MemoryDataset::new("d", ["x"], "?")
            .with_split(Split::Test, vec![record("1", "a"), record("2", "b")])
            .and_then(|d| d.with_split(Split::Val, vec![record("1", "c"), record("2", "b")]))
            .unwrap();
        let choices = ChoiceList::new(ChoiceRule::All, 1);
        let count = |rows| {
            let setting = EvaluationSetting {
                rows,
                ..EvaluationSetting::default()
            };
            setting.examples(&data, &choices).unwrap().len()
        };
        assert_eq!(count(EvaluatedRows::Test), 2);
        assert_eq!(count(EvaluatedRows::TestAndValidation), 3);
    }

    #[test]
    fn a_recipe_of_another_method_has_no_words_of_the_papers() {
        let paper = EvaluationSetting::paper(EvaluationPrompts::FewShot);
        let error = paper.template(&Recipe::sft_reference()).unwrap_err();
        assert!(error.to_string().contains("`sft_reference`"), "{error}");
        let training = EvaluationSetting::default();
        let recipe = Recipe::sft_reference();
        assert_eq!(training.template(&recipe).unwrap(), recipe.template);
    }
}
