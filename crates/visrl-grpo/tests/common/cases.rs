//! The cases of `losses.json`: inputs, configuration, and how their numbers are compared.

use safetensors::tensor::SafeTensors;
use serde_json::Value;
use visrl_grpo::{
    Cispo, Clipped, DrGrpo, EmptyRows, GrpoLoss, ImportanceLevel, LossBatch, LossFamily,
    Normalization, OnPolicy, Real, Sapo, SharedOptions, Vespo,
};

use super::{agree, number, tensor};

/// The inputs of a data set: `[rows, len]` with a mask in the file, packed into rows here.
pub(crate) struct Data<F> {
    /// Which tokens of the file count, `[rows, len]`.
    pub(crate) mask: Vec<bool>,
    ends: Vec<usize>,
    pub(crate) logps: Vec<F>,
    pub(crate) old_logps: Vec<F>,
    pub(crate) ref_logps: Vec<F>,
    entropies: Vec<F>,
    advantages: Vec<F>,
    /// Whether values lie so far apart that rounding shows.
    heavy: bool,
}

impl<F: Real> Data<F> {
    pub(crate) fn load(file: &SafeTensors<'_>, name: &str) -> Self {
        let get = |field: &str| {
            let key = format!("{name}.in.{field}");
            tensor(file, &key).unwrap_or_else(|| panic!("{key} is missing"))
        };
        let (shape, mask) = get("mask");
        let mask: Vec<bool> = mask.into_iter().map(|m| m != 0.0).collect();
        let mut ends = Vec::new();
        for row in mask.chunks(shape[1]) {
            let before = ends.last().copied().unwrap_or(0);
            ends.push(before + row.iter().filter(|counted| **counted).count());
        }
        let cast = |values: Vec<f64>| values.into_iter().map(F::from_f64).collect::<Vec<F>>();
        let tokens = |field: &str| cast(pack(&mask, &get(field).1));
        let mut data = Self {
            ends,
            logps: tokens("logps"),
            old_logps: tokens("old_logps"),
            ref_logps: tokens("ref_logps"),
            entropies: tokens("entropies"),
            advantages: cast(get("advantages").1),
            mask,
            heavy: name.contains("wild"),
        };
        let mut pairs = data.logps.iter().zip(&data.old_logps);
        data.heavy |= pairs.any(|(logp, old)| (logp.to_f64() - old.to_f64()).abs() > 2.0);
        data
    }

    pub(crate) fn batch(&self) -> LossBatch<'_, F> {
        LossBatch::new(&self.ends, &self.logps, &self.advantages)
            .with_ref_logps(&self.ref_logps)
            .with_entropies(&self.entropies)
    }
}

/// The values of the tokens that count.
pub(crate) fn pack(mask: &[bool], values: &[f64]) -> Vec<f64> {
    assert_eq!(mask.len(), values.len());
    let pairs = values.iter().zip(mask);
    pairs
        .filter(|(_, counted)| **counted)
        .map(|(value, _)| *value)
        .collect()
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
    let or = |key, default| config.float(key).unwrap_or(default);
    let clip = Clipped {
        epsilon: or("epsilon", 0.2),
        epsilon_high: config.float("epsilon_high"),
        delta: config.float("delta"),
    };
    let length = config.count("max_completion_length").unwrap_or(16);
    let sapo = Sapo::default();
    let vespo = Vespo::default();
    let family = match kind {
        "paper_cls_rl" => LossFamily::PaperClsRl(OnPolicy {}),
        "grpo" => LossFamily::Grpo(clip),
        "bnpo" => LossFamily::Bnpo(clip),
        "dr_grpo" => LossFamily::DrGrpo(DrGrpo {
            clip,
            max_completion_length: length,
        }),
        "dapo" => LossFamily::Dapo(clip),
        "luspo" => LossFamily::Luspo(clip),
        "cispo" => LossFamily::Cispo(Cispo {
            epsilon_high: clip.epsilon_high.unwrap_or(clip.epsilon),
        }),
        "sapo" => LossFamily::Sapo(Sapo {
            temperature_pos: or("sapo_temperature_pos", sapo.temperature_pos),
            temperature_neg: or("sapo_temperature_neg", sapo.temperature_neg),
        }),
        "vespo" => LossFamily::Vespo(Vespo {
            k_pos: or("vespo_k_pos", vespo.k_pos),
            lambda_pos: or("vespo_lambda_pos", vespo.lambda_pos),
            k_neg: or("vespo_k_neg", vespo.k_neg),
            lambda_neg: or("vespo_lambda_neg", vespo.lambda_neg),
        }),
        other => panic!("unknown loss type {other}"),
    };
    let level = config.get("importance_sampling_level");
    let level = match level.and_then(Value::as_str) {
        None | Some("token") => ImportanceLevel::Token,
        Some("sequence") => ImportanceLevel::Sequence,
        Some(other) => panic!("unknown level {other}"),
    };
    let paper = kind == "paper_cls_rl";
    GrpoLoss {
        family,
        terms: SharedOptions {
            beta: or("beta", 0.0),
            use_bias_correction_kl: config
                .get("use_bias_correction_kl")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            importance_sampling_level: level,
            top_entropy_quantile: or("top_entropy_quantile", 1.0),
            entropy_coef: or("entropy_coef", 0.0),
            off_policy_mask_threshold: config.float("off_policy_mask_threshold"),
            empty_rows: if paper {
                EmptyRows::Nan
            } else {
                EmptyRows::Zero
            },
            ..SharedOptions::default()
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
        matches!(self.loss.family.name(), "dapo" | "cispo" | "vespo")
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
    match (double, data.heavy || loss.family.name() == "vespo") {
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
