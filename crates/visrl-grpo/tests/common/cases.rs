//! The cases of `losses.json`: inputs, configuration, and how their numbers are compared.

use safetensors::tensor::SafeTensors;
use serde_json::Value;
use visrl_grpo::{
    Cispo, Clipped, DrGrpo, EmptyRows, GrpoLoss, ImportanceLevel, Loss, Normalization, OnPolicy,
    Real, Sapo, Terms, TokenBatch, Vespo,
};

use super::{agree, number, tensor};

/// The inputs of a data set.
pub(crate) struct Data<F> {
    pub(crate) len: usize,
    pub(crate) logps: Vec<F>,
    pub(crate) old_logps: Vec<F>,
    pub(crate) ref_logps: Vec<F>,
    pub(crate) entropies: Vec<F>,
    pub(crate) advantages: Vec<F>,
    pub(crate) mask: Vec<bool>,
    /// Whether values lie so far apart that rounding shows.
    pub(crate) heavy: bool,
}

impl<F: Real> Data<F> {
    pub(crate) fn load(file: &SafeTensors<'_>, name: &str) -> Self {
        let get = |field: &str| {
            let key = format!("{name}.in.{field}");
            tensor(file, &key).unwrap_or_else(|| panic!("{key} is missing"))
        };
        let cast = |field: &str| {
            get(field)
                .1
                .into_iter()
                .map(F::from_f64)
                .collect::<Vec<F>>()
        };
        let (shape, mask) = get("mask");
        let data = Self {
            len: shape[1],
            logps: cast("logps"),
            old_logps: cast("old_logps"),
            ref_logps: cast("ref_logps"),
            entropies: cast("entropies"),
            advantages: cast("advantages"),
            mask: mask.into_iter().map(|m| m != 0.0).collect(),
            heavy: name.contains("wild"),
        };
        let ratio = |(a, b): (&F, &F)| (a.to_f64() - b.to_f64()).abs();
        let far = data
            .logps
            .iter()
            .zip(&data.old_logps)
            .map(ratio)
            .fold(0.0, f64::max);
        Self {
            heavy: data.heavy || far > 2.0,
            ..data
        }
    }

    pub(crate) fn batch(&self) -> TokenBatch<'_, F> {
        TokenBatch::new(self.len, &self.logps, &self.mask, &self.advantages)
            .with_ref_logps(&self.ref_logps)
            .with_entropies(&self.entropies)
    }
}

/// Reads a case's configuration, so that a key that nothing uses is noticed.
struct Config<'a> {
    values: &'a serde_json::Map<String, Value>,
    used: std::cell::RefCell<Vec<&'a str>>,
}

impl<'a> Config<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        let (key, value) = self.values.get_key_value(key)?;
        self.used.borrow_mut().push(key);
        (!value.is_null()).then_some(value)
    }

    fn float(&self, key: &str) -> Option<f64> {
        self.get(key).map(number)
    }

    fn count(&self, key: &str) -> Option<usize> {
        self.get(key).and_then(Value::as_u64).map(|v| v as usize)
    }

    fn unused(&self) -> Vec<&str> {
        let used = self.used.borrow();
        self.values
            .keys()
            .map(String::as_str)
            .filter(|k| !used.contains(k))
            .collect()
    }
}

/// A case's loss.
fn loss(config: &Config<'_>, kind: &str) -> GrpoLoss {
    let clip = Clipped {
        epsilon: config.float("epsilon").unwrap_or(0.2),
        epsilon_high: config.float("epsilon_high"),
        delta: config.float("delta"),
    };
    let length = config.count("max_completion_length").unwrap_or(16);
    let sapo = Sapo::default();
    let vespo = Vespo::default();
    let family = match kind {
        "paper_cls_rl" => Loss::PaperClsRl(OnPolicy {}),
        "grpo" => Loss::Grpo(clip),
        "bnpo" => Loss::Bnpo(clip),
        "dr_grpo" => Loss::DrGrpo(DrGrpo {
            clip,
            max_completion_length: length,
        }),
        "dapo" => Loss::Dapo(clip),
        "luspo" => Loss::Luspo(clip),
        "cispo" => Loss::Cispo(Cispo {
            epsilon_high: clip.epsilon_high.unwrap_or(clip.epsilon),
        }),
        "sapo" => Loss::Sapo(Sapo {
            temperature_pos: config
                .float("sapo_temperature_pos")
                .unwrap_or(sapo.temperature_pos),
            temperature_neg: config
                .float("sapo_temperature_neg")
                .unwrap_or(sapo.temperature_neg),
        }),
        "vespo" => Loss::Vespo(Vespo {
            k_pos: config.float("vespo_k_pos").unwrap_or(vespo.k_pos),
            lambda_pos: config.float("vespo_lambda_pos").unwrap_or(vespo.lambda_pos),
            k_neg: config.float("vespo_k_neg").unwrap_or(vespo.k_neg),
            lambda_neg: config.float("vespo_lambda_neg").unwrap_or(vespo.lambda_neg),
        }),
        other => panic!("unknown loss type {other}"),
    };
    let level = match config
        .get("importance_sampling_level")
        .and_then(Value::as_str)
    {
        None | Some("token") => ImportanceLevel::Token,
        Some("sequence") => ImportanceLevel::Sequence,
        Some(other) => panic!("unknown level {other}"),
    };
    let paper = kind == "paper_cls_rl";
    GrpoLoss {
        loss: family,
        terms: Terms {
            beta: config.float("beta").unwrap_or(0.0),
            use_bias_correction_kl: config
                .get("use_bias_correction_kl")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            importance_sampling_level: level,
            top_entropy_quantile: config.float("top_entropy_quantile").unwrap_or(1.0),
            entropy_coef: config.float("entropy_coef").unwrap_or(0.0),
            off_policy_mask_threshold: config.float("off_policy_mask_threshold"),
            empty_rows: if paper {
                EmptyRows::Nan
            } else {
                EmptyRows::Zero
            },
            ..Terms::default()
        },
    }
}

/// What a case is evaluated with.
pub(crate) struct Setup {
    pub(crate) loss: GrpoLoss,
    /// Whether ratios are to old log-probabilities.
    pub(crate) use_old: bool,
    accumulation: usize,
    per_generation: usize,
    generation_tokens: Option<usize>,
}

impl Setup {
    pub(crate) fn of(case: &Value) -> Self {
        let values = case["cfg"].as_object().unwrap();
        let config = Config {
            values,
            used: Default::default(),
        };
        let kind = config.get("loss_type").and_then(Value::as_str).unwrap();
        let setup = Self {
            loss: loss(&config, kind),
            use_old: case["use_old"].as_bool().unwrap(),
            accumulation: config.count("grad_accum").unwrap_or(1),
            per_generation: config.count("steps_per_generation").unwrap_or(1),
            generation_tokens: case["num_items_in_batch"].as_u64().map(|n| n as usize),
        };
        assert!(
            config.unused().is_empty(),
            "unknown configuration keys {:?}",
            config.unused()
        );
        setup
    }

    /// Whether the family divides by the tokens of a generation batch.
    fn window(&self) -> bool {
        matches!(self.loss.loss.name(), "dapo" | "cispo" | "vespo")
    }

    /// The counts to divide by, from those of the batch.
    pub(crate) fn counts(&self, own: Normalization) -> Normalization {
        let counts = own.accumulated(self.accumulation);
        match self.generation_tokens.filter(|_| self.window()) {
            Some(tokens) => counts.window(tokens, self.accumulation, self.per_generation),
            None => counts,
        }
    }

    /// TRL reports the policy loss before it divides by the accumulation steps.
    pub(crate) fn undivided(&self) -> f64 {
        if self.window() {
            1.0
        } else {
            self.accumulation as f64
        }
    }
}

/// The relative tolerance of a case.
pub(crate) fn tolerance<F>(double: bool, loss: &GrpoLoss, data: &Data<F>) -> f64 {
    match (double, data.heavy || loss.loss.name() == "vespo") {
        (true, _) => 1e-12,
        (false, false) => 1e-6,
        (false, true) => 1e-5,
    }
}

/// Compares a gradient; small elements are held to the tolerance of the tensor's largest one.
pub(crate) fn compare_grad<F: Real>(what: &str, found: &[F], expected: &[f64], relative: f64) {
    let scale = expected
        .iter()
        .filter(|e| e.is_finite())
        .fold(0.0, |m: f64, e| m.max(e.abs()));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let found = found.to_f64();
        assert!(
            agree(found, *expected, relative, scale),
            "{what} gradient [{i}]: {found} instead of {expected}"
        );
    }
}
