//! Every number of a run's settings, checked by its name before anything is written.

use std::fmt::Display;

use visrl_data::ChoiceRule;

use crate::error::Error;
use crate::fine_tune::FineTune;
use crate::loss_setting::LossSetting;
use crate::number_range::check_numbers;

/// The most prompts of a step, completions of a prompt and rounds of resampling: far more than any
/// use, so that no product of them overflows.
const MOST: usize = 1 << 16;
/// The most completions of a step.
const MOST_ROWS: usize = 1 << 20;
/// The most tokens of a completion: more than any model's context.
const MOST_TOKENS: usize = 1 << 24;
/// The fields of [`LoraConfig`](visrl_vlm::LoraConfig), which begin its errors.
const LORA_FIELDS: [&str; 11] = [
    "r",
    "lora_alpha",
    "use_rslora",
    "use_dora",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
];
/// Draws are functions of the step as a number of 32 bits.
pub(crate) const MOST_STEPS: usize = u32::MAX as usize;

impl FineTune {
    /// Checks every number: its own range, and that single precision holds it. A [`Trainer`](crate::Trainer) does so before it writes anything.
    ///
    /// # Errors
    /// [`Error::Setting`] with the name of the first that is out of its range, as it stands in a
    /// run file.
    pub fn validate(&self) -> Result<(), Error> {
        between("steps", self.steps, 0, MOST_STEPS)?;
        between("epochs", self.epochs, 0, MOST_STEPS)?;
        let rate = self.learning_rate;
        check(
            "learning_rate",
            (0.0..=1.0).contains(&rate),
            &rate,
            "0 to 1",
        )?;
        between("prompts_per_step", self.prompts_per_step, 1, MOST)?;
        between("num_generations", self.num_generations, 1, MOST)?;
        let rows = self.prompts_per_step * self.num_generations;
        let expected = format!("at most {MOST_ROWS} completions of all prompts of a step");
        check(
            "num_generations",
            rows <= MOST_ROWS,
            &self.num_generations,
            &expected,
        )?;
        between("resample_rounds", self.resample_rounds, 0, MOST)?;
        between("keep_checkpoints", self.keep_checkpoints, 1, usize::MAX)?;
        if let Some(budget) = self.budget_seconds {
            let good = budget >= 0.0 && budget.is_finite();
            check(
                "budget_seconds",
                good,
                &budget,
                "0 or more seconds, or left out",
            )?;
        }
        self.check_sampling()?;
        self.check_choices()?;
        self.check_learning()?;
        if let Some(lora) = &self.lora {
            between("lora.r", lora.r, 1, 1 << 14)?;
            let alpha = lora.lora_alpha;
            let good = alpha > 0.0 && alpha.is_finite();
            check("lora.lora_alpha", good, &alpha, "a number above 0")?;
        }
        check_numbers("fine_tune", self)?;
        self.check_group_rates()
    }

    /// The rate of a group is the product of its own with the run's.
    fn check_group_rates(&self) -> Result<(), Error> {
        for (place, group) in self.learner.parameter_groups.iter().enumerate() {
            let rate = self.learning_rate * group.learning_rate;
            let stays = self.learning_rate == 0.0 || group.learning_rate == 0.0;
            if !(rate <= 1.0 && (stays || (rate as f32).is_normal())) {
                let name = format!("fine_tune.learner.parameter_groups.{place}.learning_rate");
                let message = format!(
                    "is {}, which makes a learning rate of {rate:e}, expected 0 to 1: it multiplies \
                     `fine_tune.learning_rate`",
                    group.learning_rate
                );
                return Err(Error::setting(name, message));
            }
        }
        Ok(())
    }

    fn check_sampling(&self) -> Result<(), Error> {
        self.sampling.validate().map_err(|error| match error {
            visrl_rollout::Error::Params { field, message } => {
                Error::setting(format!("fine_tune.sampling.{field}"), message)
            }
            other => other.into(),
        })?;
        let tokens = self.sampling.max_new_tokens;
        between("sampling.max_new_tokens", tokens, 1, MOST_TOKENS)
    }

    fn check_choices(&self) -> Result<(), Error> {
        let ChoiceRule::Fraction {
            fraction, at_most, ..
        } = self.choices
        else {
            return Ok(());
        };
        let good = fraction > 0.0 && fraction <= 1.0;
        check("choices.fraction", good, &fraction, "above 0, at most 1")?;
        between("choices.at_most", at_most, 1, usize::MAX)
    }

    fn check_learning(&self) -> Result<(), Error> {
        let of_loss = |name: &str, error| match error {
            visrl_grpo::Error::Config {
                field,
                value,
                allowed,
            } => Error::setting(
                format!("fine_tune.{name}.{field}"),
                format!("is {value}, expected {allowed}"),
            ),
            other => other.into(),
        };
        let advantage = self.advantage.validate();
        advantage.map_err(|error| of_loss("advantage", error))?;
        if let LossSetting::Grpo(loss) = &self.loss {
            let terms = loss.terms.validate();
            terms.map_err(|error| of_loss("loss.terms", error))?;
            let family = loss.family.validate();
            family.map_err(|error| of_loss("loss.family", error))?;
        }
        self.learner.validate().map_err(of_learner)
    }
}

/// The error of a learner's setting, by its name in a run file.
pub(crate) fn of_learner(error: visrl_train::Error) -> Error {
    match error {
        visrl_train::Error::Config { field, message } => {
            Error::setting(format!("fine_tune.learner.{field}"), message)
        }
        other => other.into(),
    }
}

/// The error of an adapter's setting, by its name in a run file.
pub(crate) fn of_lora(error: visrl_vlm::Error) -> Error {
    let visrl_vlm::Error::Adapter(message) = &error else {
        return error.into();
    };
    match message.split_once([' ', ':']) {
        Some((field, fault)) if LORA_FIELDS.contains(&field) => {
            Error::setting(format!("fine_tune.lora.{field}"), fault.trim_start())
        }
        _ => Error::setting("fine_tune.lora", message),
    }
}

fn check(name: &str, good: bool, found: &dyn Display, expected: &str) -> Result<(), Error> {
    let message = || format!("is {found}, expected {expected}");
    match good {
        true => Ok(()),
        false => Err(Error::setting(format!("fine_tune.{name}"), message())),
    }
}

fn between(name: &str, value: usize, least: usize, most: usize) -> Result<(), Error> {
    let expected = match most {
        usize::MAX => format!("at least {least}"),
        _ => format!("{least} to {most}"),
    };
    check(name, (least..=most).contains(&value), &value, &expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number of a run file, and values that it must not have.
    const BAD: [(&str, &[&str]); 33] = [
        ("steps", &["4294967296"]),
        ("epochs", &["4294967296"]),
        ("learning_rate", &["-1e-4", "1.5", "nan", "inf", "-inf"]),
        ("prompts_per_step", &["0", "65537"]),
        ("num_generations", &["0", "65537"]),
        ("resample_rounds", &["65537"]),
        ("keep_checkpoints", &["0"]),
        ("budget_seconds", &["-1.0", "nan", "inf"]),
        ("sampling.temperature", &["-1.0", "nan", "inf"]),
        ("sampling.top_p", &["0.0", "1.1", "nan"]),
        ("sampling.min_p", &["-0.1", "1.1", "nan"]),
        ("sampling.typical_p", &["0.0", "2.0"]),
        ("sampling.repetition_penalty", &["0.0", "-1.0", "inf"]),
        (
            "sampling.max_new_tokens",
            &["0", "16777217", "9223372036854775807"],
        ),
        ("learner.max_grad_norm", &["-1.0", "0.0", "nan", "inf"]),
        ("learner.updates_per_batch", &["0", "65537"]),
        ("learner.head_chunk", &["0"]),
        (
            "learner.adamw.betas",
            &["[1.0, 0.9]", "[0.9, -0.1]", "[nan, 0.9]"],
        ),
        ("learner.adamw.epsilon", &["-1e-8", "0.0", "nan", "inf"]),
        ("learner.adamw.weight_decay", &["-0.1", "nan", "inf"]),
        (
            "learner.parameter_groups",
            &["[{ learning_rate = -1.0 }]", "[{ weight_decay = nan }]"],
        ),
        ("learner.reference_refresh.every", &["0"]),
        (
            "learner.reference_refresh.mix",
            &["{ type = \"constant\", value = 1.5 }"],
        ),
        ("lora.r", &["0", "16385"]),
        ("lora.lora_alpha", &["0.0", "-1.0", "nan", "inf"]),
        ("loss.terms.beta", &["-1.0", "nan", "inf"]),
        (
            "loss.terms.beta_schedule",
            &["{ type = \"constant\", value = -1.0 }"],
        ),
        ("loss.terms.entropy_coef", &["nan", "inf"]),
        ("loss.terms.top_entropy_quantile", &["0.0", "1.5", "nan"]),
        (
            "loss.terms.off_policy_mask_threshold",
            &["-1.0", "nan", "inf"],
        ),
        (
            "loss.terms.importance_correction.clip_max",
            &["0.0", "-1.0", "nan", "inf"],
        ),
        (
            "loss.terms.importance_correction.clip_min",
            &["-1.0", "nan", "inf"],
        ),
        ("choices", &[]),
    ];

    fn settings(text: &str) -> FineTune {
        toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_number_is_refused_by_its_name() {
        assert!(FineTune::default().validate().is_ok());
        for (name, values) in BAD {
            for value in values {
                let text = format!("{name} = {value}");
                let error = settings(&text).validate().unwrap_err().to_string();
                assert!(
                    error.starts_with(&format!("`fine_tune.{name}` ")),
                    "{text}: {error}"
                );
            }
        }
        for (text, name) in [
            (
                "choices = { kind = \"fraction\", fraction = 0.0, all_below = 1, at_most = 1 }",
                "choices.fraction",
            ),
            (
                "choices = { kind = \"fraction\", fraction = 0.5, all_below = 1, at_most = 0 }",
                "choices.at_most",
            ),
            (
                "advantage = { type = \"paper\", epsilon = 0.0 }",
                "advantage.epsilon",
            ),
            (
                "loss.family = { type = \"grpo\", epsilon = nan }",
                "loss.family.epsilon",
            ),
            (
                "loss.family = { type = \"sapo\", temperature_neg = 0.0 }",
                "loss.family.temperature_neg",
            ),
        ] {
            let error = settings(text).validate().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`fine_tune.{name}` ")),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn numbers_that_single_precision_cannot_hold_are_refused_by_their_path() {
        for (text, name) in [
            ("loss.terms.beta = 1e40", "loss.terms.beta"),
            ("loss.terms.entropy_coef = -1e40", "loss.terms.entropy_coef"),
            (
                "loss.terms.beta_schedule = { type = \"linear\", start = 0.1, end = 1e40, steps = 2 }",
                "loss.terms.beta_schedule.end",
            ),
            (
                "loss.family = { type = \"sapo\", temperature_pos = 1e-40 }",
                "loss.family.temperature_pos",
            ),
            ("lora.lora_alpha = 1e40", "lora.lora_alpha"),
            (
                "lora.alpha_pattern = { q_proj = 1e40 }",
                "lora.alpha_pattern.q_proj",
            ),
            ("learning_rate = 1e-50", "learning_rate"),
            ("budget_seconds = 1e300", "budget_seconds"),
            (
                "learner.parameter_groups = [{}, { learning_rate = 1e40 }]",
                "learner.parameter_groups.1.learning_rate",
            ),
            (
                "learning_rate = 0.3\nlearner.parameter_groups = [{ learning_rate = 5.0 }]",
                "learner.parameter_groups.0.learning_rate",
            ),
            (
                "learning_rate = 1e-30\nlearner.parameter_groups = [{ learning_rate = 1e-30 }]",
                "learner.parameter_groups.0.learning_rate",
            ),
        ] {
            let error = settings(text).validate().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`fine_tune.{name}` is ")),
                "{text}: {error}"
            );
        }
        let ratio = settings("learner.parameter_groups = [{ learning_rate = 16.0 }]");
        assert!(ratio.validate().is_ok());
    }

    #[test]
    fn faults_of_adapters_have_their_full_name() {
        let named = |message: &str| of_lora(visrl_vlm::Error::Adapter(message.into())).to_string();
        assert_eq!(
            named("rank_pattern is 0"),
            "`fine_tune.lora.rank_pattern` is 0"
        );
        let target = named("target_modules: `x` matches no layer");
        assert_eq!(
            target,
            "`fine_tune.lora.target_modules` `x` matches no layer"
        );
        assert_eq!(named("it is bad"), "`fine_tune.lora` it is bad");
        let config = visrl_vlm::LoraConfig {
            exclude_modules: Some(visrl_vlm::TargetModules::Names(Vec::new())),
            layers_to_transform: vec![0],
            layers_pattern: vec!["layers".into()],
            rank_pattern: vec![("q".into(), 1)],
            alpha_pattern: vec![("q".into(), 1.0)],
            use_dora: true,
            modules_to_save: vec!["embed_tokens".into()],
            ..Default::default()
        };
        let written = serde_json::to_value(config).unwrap();
        let fields: Vec<_> = written.as_object().unwrap().keys().collect();
        assert_eq!(fields, LORA_FIELDS);
    }

    /// Every number of the settings stands above, or is one of which every value does something.
    #[test]
    fn no_number_is_forgotten() {
        const FREE: [&str; 9] = [
            "seed",
            "test_per_class",
            "evaluate_every",
            "patience",
            "checkpoint_every",
            "samples",
            "sampling.top_k",
            "learner.micro_batch_groups",
            "learner.recompute",
        ];
        fn numbers(path: &str, value: &serde_json::Value, found: &mut Vec<String>) {
            match value {
                serde_json::Value::Object(fields) => {
                    for (name, value) in fields {
                        let below = match path {
                            "" => name.clone(),
                            path => format!("{path}.{name}"),
                        };
                        numbers(&below, value, found);
                    }
                }
                serde_json::Value::Array(values)
                    if !values.is_empty() && values.iter().all(|v| v.is_number()) =>
                {
                    found.push(path.to_owned());
                }
                serde_json::Value::Number(_) => found.push(path.to_owned()),
                _ => {}
            }
        }
        let json = serde_json::to_value(FineTune::default()).unwrap();
        let mut found = Vec::new();
        numbers("", &json, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for name in found {
            let known = BAD
                .iter()
                .any(|(bad, _)| name == *bad || name.starts_with(&format!("{bad}.")));
            let family = name.starts_with("advantage.") || name.starts_with("loss.family.");
            assert!(
                known || family || FREE.contains(&name.as_str()),
                "{name} is not checked"
            );
        }
    }
}
