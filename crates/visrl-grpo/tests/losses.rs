//! Losses, gradients and metrics against the numbers of the paper's code and of TRL.

#![allow(clippy::print_stdout)] // the number of cases is part of a fixture test's answer

mod common;

use std::collections::BTreeMap;

use common::{agree, grpo_fixtures, json, number, tensor};
use safetensors::tensor::SafeTensors;
use serde_json::Value;
use visrl_grpo::{
    Cispo, Clipped, DrGrpo, EmptyRows, GrpoLoss, ImportanceLevel, K3, KlEstimator, Loss,
    LossMetrics, LossOutput, Normalization, OnPolicy, PolicyLoss, Real, Sapo, Terms, TokenBatch,
    Vespo,
};

/// The inputs of a data set.
struct Data<F> {
    len: usize,
    logps: Vec<F>,
    old_logps: Vec<F>,
    ref_logps: Vec<F>,
    entropies: Vec<F>,
    advantages: Vec<F>,
    mask: Vec<bool>,
    /// Whether values lie so far apart that rounding shows.
    heavy: bool,
}

impl<F: Real> Data<F> {
    fn load(file: &SafeTensors<'_>, name: &str) -> Self {
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

    fn batch(&self) -> TokenBatch<'_, F> {
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

/// A case's loss, and the accumulation counts it was normalized with.
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

/// Evaluates a case in one precision.
fn evaluate<F: Real>(case: &Value, data: &Data<F>) -> (GrpoLoss, LossOutput<F>, f64) {
    let values = case["cfg"].as_object().unwrap();
    let config = Config {
        values,
        used: Default::default(),
    };
    let kind = config.get("loss_type").and_then(Value::as_str).unwrap();
    let loss = loss(&config, kind);
    let accumulation = config.count("grad_accum").unwrap_or(1);
    let per_generation = config.count("steps_per_generation").unwrap_or(1);
    assert!(
        config.unused().is_empty(),
        "unknown configuration keys {:?}",
        config.unused()
    );

    let mut batch = data.batch();
    if case["use_old"].as_bool().unwrap() {
        batch = batch.with_old_logps(&data.old_logps);
    }
    let mut counts = loss
        .normalization(&batch)
        .unwrap()
        .accumulated(accumulation);
    let window = matches!(kind, "dapo" | "cispo" | "vespo");
    if let (true, Some(items)) = (window, case["num_items_in_batch"].as_u64()) {
        counts = counts.window(items as usize, accumulation, per_generation);
    }
    let out = loss.evaluate(&batch.with_normalization(counts)).unwrap();
    // TRL reports the policy loss before it divides by the accumulation steps.
    let undivided = if window { 1.0 } else { accumulation as f64 };
    (loss, out, undivided)
}

/// A metric under the name that TRL logs it by, and whether TRL computes it in single precision.
fn metric(metrics: &LossMetrics, loss: &GrpoLoss, undivided: f64, name: &str) -> (f64, bool) {
    match name {
        "kl" => (metrics.kl().unwrap(), false),
        "entropy" => (metrics.entropy().unwrap(), false),
        "policy_loss" => (metrics.policy_loss * undivided, false),
        "entropy_coef" => (loss.terms.entropy_coef, false),
        "vespo/phi_seq_mean" => (metrics.sequence_weight().unwrap(), false),
        "cispo_clip_ratio" => (metrics.clip_high(), true),
        "clip_ratio/low_mean" => (metrics.clip_low(), true),
        "clip_ratio/high_mean" => (metrics.clip_high(), true),
        "clip_ratio/region_mean" => (metrics.clip_region(), true),
        "clip_ratio/low_min" => (metrics.clip_low_min(), true),
        "clip_ratio/high_max" => (metrics.clip_high_max(), true),
        other => panic!("unknown metric {other}"),
    }
}

/// Compares a gradient; small elements are held to the tolerance of the tensor's largest one.
fn compare_grad<F: Real>(what: &str, found: &[F], expected: &[f64], relative: f64) {
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

fn run_case<F: Real>(file: &SafeTensors<'_>, case: &Value, precision: &str) -> usize {
    let id = case["id"].as_u64().unwrap();
    let what = format!("case {id} {precision} {} on {}", case["cfg"], case["data"]);
    let data = Data::<F>::load(file, case["data"].as_str().unwrap());
    let (loss, out, undivided) = evaluate(case, &data);
    let double = precision == "f64";
    let relative = match (double, data.heavy || loss.loss.name() == "vespo") {
        (true, _) => 1e-12,
        (false, false) => 1e-6,
        (false, true) => 1e-5,
    };
    let expected = number(&case[format!("loss_{precision}")]);
    // Terms of order one may cancel, so a loss near zero is held to an absolute tolerance.
    let floor = if double { 1e-3 } else { 1.0 };
    assert!(
        agree(out.loss, expected, relative, floor),
        "{what} loss: {} instead of {expected}",
        out.loss
    );
    let key = format!("{id}.grad.{precision}");
    let (_, grad) = tensor(file, &key).unwrap_or_else(|| panic!("{key} is missing"));
    compare_grad(&what, &out.grad, &grad, relative);

    let mut metrics = 0;
    for (name, expected) in case["metrics"].as_object().into_iter().flatten() {
        metrics += 1;
        let expected = number(expected);
        let (found, single) = metric(&out.metrics, &loss, undivided, name);
        // Metrics were recorded from the double precision run.
        let relative = if double && !single {
            1e-12
        } else {
            1e-6f64.max(relative)
        };
        let floor = if double { 0.0 } else { 1.0 };
        assert!(
            agree(found, expected, relative, floor),
            "{what} {name}: {found} instead of {expected}"
        );
    }
    metrics
}

#[test]
fn losses_gradients_and_metrics_equal_the_references() {
    let cases = json("losses.json");
    let bytes = std::fs::read(grpo_fixtures().join("losses.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (mut count, mut metrics) = (0, 0);
    let mut kinds = BTreeMap::<String, usize>::new();
    for case in cases["cases"].as_array().unwrap() {
        metrics += run_case::<f64>(&file, case, "f64");
        metrics += run_case::<f32>(&file, case, "f32");
        count += 1;
        *kinds
            .entry(case["cfg"]["loss_type"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    println!("losses: {count} cases in f64 and f32, {metrics} metrics; by family {kinds:?}");
    assert!(count > 0, "no cases found");
    assert!(metrics > 0, "no metrics found");
}

#[test]
fn k3_equals_the_references() {
    let bytes = std::fs::read(grpo_fixtures().join("losses.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = 0;
    let sets = file
        .names()
        .into_iter()
        .filter_map(|n| n.strip_suffix(".k3kl.f64"));
    for set in sets.collect::<Vec<_>>() {
        tensors += compare_k3::<f64>(&file, set, "f64", 1e-12);
        tensors += compare_k3::<f32>(&file, set, "f32", 1e-6);
    }
    println!("k3: {tensors} tensors");
    assert!(tensors > 0, "no tensors found");
}

fn compare_k3<F: Real>(file: &SafeTensors<'_>, set: &str, precision: &str, relative: f64) -> usize {
    let data = Data::<F>::load(file, set);
    let Some((_, expected)) = tensor(file, &format!("{set}.k3kl.{precision}")) else {
        return 0;
    };
    let mut found = vec![F::ZERO; expected.len()];
    K3.estimate_into(&data.logps, &data.ref_logps, &mut found)
        .unwrap();
    for (found, expected) in found.iter().zip(&expected) {
        // exp(d) - d - 1 cancels, so small values carry the rounding of 1.
        assert!(
            agree(found.to_f64(), *expected, relative, 1.0),
            "{set} {precision}"
        );
    }
    1
}

#[test]
fn counts_do_not_depend_on_who_takes_them() {
    // A batch normalized explicitly by its own counts is the batch without a normalization.
    let logps = [-1.0f64, -2.0, -0.5, -0.1];
    let batch = TokenBatch::new(2, &logps, &[true, true, true, false], &[1.0, -1.0]);
    let off = Terms {
        beta: 0.0,
        ..Terms::default()
    };
    for family in [Loss::default(), Loss::Dapo(Clipped::default())] {
        let loss = GrpoLoss {
            loss: family,
            terms: off,
        };
        let counts: Normalization = loss.normalization(&batch).unwrap();
        let explicit = loss.evaluate(&batch.with_normalization(counts)).unwrap();
        assert_eq!(explicit, loss.evaluate(&batch).unwrap());
    }
}
