//! Every number of a run's settings, checked by its name before anything is written.

use visrl_vlm::LoraConfig;

use crate::bounds::{MOST_ROWS, check_numbers};
use crate::error::Error;
use crate::fine_tune::FineTune;
use crate::loss_setting::LossSetting;

impl FineTune {
    /// Checks every number: its own bound, and those that have one together. A
    /// [`Trainer`](crate::Trainer) does so before it writes anything.
    ///
    /// # Errors
    /// [`Error::Setting`] with the name of the first that is out of its bound, as it stands in a
    /// run file.
    pub fn validate(&self) -> Result<(), Error> {
        check_numbers("fine_tune", self)?;
        let rows = self.prompts_per_step * self.num_generations;
        if rows > MOST_ROWS {
            let message = format!(
                "is {}, expected at most {MOST_ROWS} completions of all prompts of a step",
                self.num_generations
            );
            return Err(Error::setting("fine_tune.num_generations", message));
        }
        self.check_sampling()?;
        self.check_remote()?;
        self.check_ahead()?;
        self.check_learning()?;
        self.check_rates()
    }

    /// The rate of a group is the product of its own with the run's, and what decays in a step is
    /// the product of rate and weight decay, which must leave something of a weight.
    fn check_rates(&self) -> Result<(), Error> {
        let adamw = f64::from(self.learner.adamw.weight_decay);
        self.check_decay("learner.adamw", self.learning_rate, adamw)?;
        for (place, group) in self.learner.parameter_groups.iter().enumerate() {
            let table = format!("learner.parameter_groups.{place}");
            let rate = self.learning_rate * group.learning_rate;
            let stays = self.learning_rate == 0.0 || group.learning_rate == 0.0;
            if !(rate <= 1.0 && (stays || (rate as f32).is_normal())) {
                let message = format!(
                    "is {}, which makes a learning rate of {rate:e}, expected 0 to 1: it multiplies \
                     `fine_tune.learning_rate`",
                    group.learning_rate
                );
                let name = format!("fine_tune.{table}.learning_rate");
                return Err(Error::setting(name, message));
            }
            self.check_decay(&table, rate, group.weight_decay.map_or(adamw, f64::from))?;
        }
        Ok(())
    }

    fn check_decay(&self, table: &str, rate: f64, decay: f64) -> Result<(), Error> {
        let share = rate * decay;
        if share < 1.0 {
            return Ok(());
        }
        let message = format!(
            "is {}, of which a step takes {share:.3} times each weight by its learning rate of \
             {rate}, expected less than 1",
            decay as f32
        );
        let name = format!("fine_tune.{table}.weight_decay");
        Err(Error::setting(name, message))
    }

    fn check_sampling(&self) -> Result<(), Error> {
        self.sampling
            .validate()
            .map_err(|error| of_params("sampling", error))
    }

    fn check_ahead(&self) -> Result<(), Error> {
        if self.max_staleness == 0 || self.resample_rounds == 0 {
            return Ok(());
        }
        let message = "must be 0 beside `max_staleness`: what a step samples must be known before it is \
                       scored";
        Err(Error::setting("fine_tune.resample_rounds", message))
    }

    fn check_remote(&self) -> Result<(), Error> {
        let Some(remote) = self.remote_config() else {
            return Ok(());
        };
        if !cfg!(feature = "remote") {
            let message = "needs a build with the feature `remote`: add `--features visrl/remote`";
            return Err(Error::setting("fine_tune.remote", message));
        }
        remote
            .validate()
            .map_err(|error| of_params("remote", error))
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
fn of_params(part: &str, error: visrl_rollout::Error) -> Error {
    match error {
        visrl_rollout::Error::Params { field, message } => {
            Error::setting(format!("fine_tune.{part}.{field}"), message)
        }
        other => other.into(),
    }
}

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
        Some((field, fault)) if LoraConfig::FIELDS.contains(&field) => {
            Error::setting(format!("fine_tune.lora.{field}"), fault.trim_start())
        }
        _ => Error::setting("fine_tune.lora", message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number of a run file, and values that it must not have.
    const BAD: [(&str, &[&str]); 32] = [
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
        (
            "learner.adamw.weight_decay",
            &["-0.1", "nan", "inf", "1e30"],
        ),
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
        ("lora.lora_alpha", &["0.0", "-1.0", "nan", "inf", "1e38"]),
        ("loss.terms.beta", &["-1.0", "nan", "inf"]),
        (
            "loss.terms.beta_schedule",
            &["{ type = \"constant\", value = -1.0 }"],
        ),
        ("loss.terms.entropy_coef", &["-1.0", "nan", "inf", "1e30"]),
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
                // Of a list or a table the number is named.
                assert!(
                    error.starts_with(&format!("`fine_tune.{name}")),
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
                "learning_rate = 1e-30\nlearner.parameter_groups = [{ learning_rate = 1.0 }]",
                "learning_rate",
            ),
        ] {
            let error = settings(text).validate().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`fine_tune.{name}` is ")),
                "{text}: {error}"
            );
        }
        let all = settings("learning_rate = 0.1\nlearner.adamw.weight_decay = 10.0");
        let error = all.validate().unwrap_err().to_string();
        let expected = "`fine_tune.learner.adamw.weight_decay` is 10, of which a step takes 1.000";
        assert!(error.starts_with(expected), "{error}");
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
    }
}
