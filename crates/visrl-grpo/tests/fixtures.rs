//! Losses, gradients, metrics and advantages against the numbers of the paper's code and of TRL.

#![allow(clippy::print_stdout)] // the number of cases is part of a fixture test's answer

use safetensors::SafeTensors;
use serde_json::{Map, Value, json};
use visrl_grpo::{
    Advantage, AdvantageEstimator, GrpoLoss, KlEstimator, LossBatch, LossOutput, Normalization,
    PolicyLoss, Real, RewardTable,
};
use visrl_testing::numbers;

/// A file of the fixture folder.
fn read(name: &str) -> Vec<u8> {
    let path = visrl_testing::fixtures().join("grpo").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"))
}

/// A number; null and the string "nan" are NaN.
fn number(value: &Value) -> f64 {
    if value.is_null() || value == "nan" { f64::NAN } else { value.as_f64().unwrap() }
}

/// Checks that two numbers are both NaN, or within `relative` of the larger of `expected` and
/// `scale`.
fn check(what: &str, found: f64, expected: f64, relative: f64, scale: f64) {
    let close = (found - expected).abs() <= relative * expected.abs().max(scale);
    let close = close || found.is_nan() && expected.is_nan();
    assert!(close, "{what}: {found}, not {expected}");
}

/// The values of the tokens that count.
fn pack(mask: &[bool], values: &[f64]) -> Vec<f64> {
    assert_eq!(mask.len(), values.len());
    let pairs = values.iter().zip(mask);
    pairs.filter_map(|(value, counted)| counted.then_some(*value)).collect()
}

/// The inputs of a data set: `[rows, len]` with a mask in the file, packed into rows here.
struct Data<F> {
    mask: Vec<bool>,
    ends: Vec<usize>,
    logps: Vec<F>,
    old_logps: Vec<F>,
    ref_logps: Vec<F>,
    entropies: Vec<F>,
    advantages: Vec<F>,
    /// Whether values lie so far apart that rounding shows.
    heavy: bool,
}

impl<F: Real> Data<F> {
    fn load(file: &SafeTensors<'_>, name: &str) -> Self {
        let get = |field: &str| numbers(file, &format!("{name}.in.{field}")).unwrap();
        let (shape, mask) = get("mask");
        let mask: Vec<bool> = mask.into_iter().map(|m| m != 0.0).collect();
        let count = |row: &[bool]| row.iter().filter(|counted| **counted).count();
        let ends = mask.chunks(shape[1]).scan(0, |end, row| {
            *end += count(row);
            Some(*end)
        });
        let cast = |values: Vec<f64>| values.into_iter().map(F::from_f64).collect::<Vec<F>>();
        let tokens = |field: &str| cast(pack(&mask, &get(field).1));
        let (logps, old_logps) = (tokens("logps"), tokens("old_logps"));
        let mut pairs = logps.iter().zip(&old_logps);
        let far = pairs.any(|(logp, old)| (logp.to_f64() - old.to_f64()).abs() > 2.0);
        Self {
            ends: ends.collect(),
            ref_logps: tokens("ref_logps"),
            entropies: tokens("entropies"),
            advantages: cast(get("advantages").1),
            heavy: far || name.contains("wild"),
            logps,
            old_logps,
            mask,
        }
    }
}

/// The loss of a case, by way of its file form, which refuses keys that it does not know.
fn loss(cfg: &Map<String, Value>) -> GrpoLoss {
    let kind = &cfg["loss_type"];
    let (mut family, mut terms) = (json!({"type": kind}), json!({"beta": 0.0}));
    match kind.as_str().unwrap() {
        "dr_grpo" => family["max_completion_length"] = json!(16),
        "cispo" => family["epsilon_high"] = json!(0.2),
        "paper_cls_rl" => terms["empty_rows"] = json!("nan"),
        _ => {}
    }
    for (key, value) in cfg.iter().filter(|(_, value)| !value.is_null()) {
        match key.as_str() {
            "loss_type" | "grad_accum" | "steps_per_generation" => {}
            "epsilon" | "epsilon_high" | "delta" | "max_completion_length" => {
                family[key] = value.clone();
            }
            _ => terms[key] = value.clone(),
        }
    }
    serde_json::from_value(json!({"family": family, "terms": terms})).unwrap()
}

/// Whether the family divides by the tokens of a generation batch.
fn by_generation(loss: &GrpoLoss) -> bool {
    matches!(loss.family.name(), "dapo" | "cispo" | "vespo")
}

/// The counts to divide by, from those of the batch. Gradients of `grad_accum` micro-batches are
/// added up; a generation batch is spent over `steps_per_generation` of them.
fn counts(case: &Value, loss: &GrpoLoss, mut counts: Normalization) -> Normalization {
    let steps = |key: &str| case["cfg"][key].as_f64().unwrap_or(1.0);
    counts.sequences *= steps("grad_accum");
    counts.tokens *= steps("grad_accum");
    counts.entropy_tokens *= steps("grad_accum");
    let generation = case["num_items_in_batch"].as_f64();
    if let Some(tokens) = generation.filter(|_| by_generation(loss)) {
        counts.tokens = tokens.max(1.0) * steps("grad_accum") / steps("steps_per_generation");
    }
    counts
}

/// A metric under the name that TRL logs it by.
fn metric<F>(case: &Value, loss: &GrpoLoss, out: &LossOutput<F>, trl: &str) -> f64 {
    // TRL reports the policy loss before it divides by the accumulation steps.
    let steps = case["cfg"]["grad_accum"].as_f64();
    let steps = steps.filter(|_| !by_generation(loss)).unwrap_or(1.0);
    let name = match trl {
        "policy_loss" => return out.metrics.policy_loss * steps,
        "entropy_coef" => return loss.terms.entropy_coef,
        "vespo/phi_seq_mean" => "phi",
        "cispo_clip_ratio" => "clip/high",
        "kl" | "entropy" => trl,
        other => &other.replace("clip_ratio", "clip").replace("_mean", ""),
    };
    out.metrics.get(name).unwrap_or(f64::NAN)
}

/// Compares a case in one precision; returns the number of metrics.
fn run_case<F: Real>(file: &SafeTensors<'_>, case: &Value, precision: &str) -> usize {
    let (id, double) = (&case["id"], precision == "f64");
    let what = format!("case {id} {precision} {} on {}", case["cfg"], case["data"]);
    let data = Data::<F>::load(file, case["data"].as_str().unwrap());
    let loss = loss(case["cfg"].as_object().unwrap());
    let mut batch = LossBatch::new(&data.ends, &data.logps, &data.advantages)
        .with_ref_logps(&data.ref_logps)
        .with_entropies(&data.entropies);
    batch.old_logps = (case["use_old"] == true).then_some(&data.old_logps);
    let counts = counts(case, &loss, loss.normalization(&batch).unwrap());
    let out = loss.evaluate(&batch.with_normalization(counts)).unwrap();

    let relative = match (double, data.heavy || loss.family.name() == "vespo") {
        (true, _) => 1e-12,
        (false, false) => 1e-6,
        (false, true) => 1e-5,
    };
    // Terms of order one may cancel, so a loss near zero is held to an absolute tolerance.
    let (expected, scale) = (&case[format!("loss_{precision}")], if double { 1e-3 } else { 1.0 });
    check(&what, out.loss, number(expected), relative, scale);
    // Small elements are held to the tolerance of the gradient's largest.
    let (_, grad) = numbers(file, &format!("{id}.grad.{precision}")).unwrap();
    let expected = pack(&data.mask, &grad);
    let finite = expected.iter().filter(|e| e.is_finite());
    let scale = finite.fold(0.0, |max: f64, e| max.max(e.abs()));
    assert_eq!(out.grad.len(), expected.len());
    for (found, expected) in out.grad.iter().zip(expected) {
        check(&what, found.to_f64(), expected, relative, scale);
    }
    let metrics = case["metrics"].as_object().into_iter().flatten();
    for (name, expected) in metrics.clone() {
        // They were recorded from the double precision run; TRL counts clips in single precision.
        let exact = double && !name.contains("clip");
        let relative = if exact { 1e-12 } else { relative.max(1e-6) };
        let (found, scale) = (metric(case, &loss, &out, name), if double { 0.0 } else { 1.0 });
        check(&format!("{what} {name}"), found, number(expected), relative, scale);
    }
    metrics.count()
}

#[test]
fn losses_gradients_and_metrics_equal_the_references() {
    let cases: Value = serde_json::from_slice(&read("losses.json")).unwrap();
    let bytes = read("losses.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let cases = cases["cases"].as_array().unwrap();
    let both = |case| run_case::<f64>(&file, case, "f64") + run_case::<f32>(&file, case, "f32");
    let (count, mut tensors, metrics) = (cases.len(), 0, cases.iter().map(both).sum::<usize>());
    for name in file.names() {
        match name.split_once(".k3kl.") {
            Some((set, "f64")) => run_k3::<f64>(&file, set, name, 1e-12),
            Some((set, "f32")) => run_k3::<f32>(&file, set, name, 1e-6),
            _ => continue,
        }
        tensors += 1;
    }
    println!("losses: {count} cases in f64 and f32, {metrics} metrics, {tensors} tensors of k3");
    assert!(count > 0 && metrics > 0 && tensors > 0, "no cases found");
}

fn run_k3<F: Real>(file: &SafeTensors<'_>, set: &str, name: &str, relative: f64) {
    let data = Data::<F>::load(file, set);
    let expected = pack(&data.mask, &numbers(file, name).expect(name).1);
    for ((logp, reference), expected) in data.logps.iter().zip(&data.ref_logps).zip(expected) {
        // exp(d) - d - 1 cancels, so small values carry the rounding of 1.
        let (found, _) = KlEstimator::K3.value_and_grad(*logp, *reference);
        check(name, found.to_f64(), expected, relative, 1.0);
    }
}

/// The estimator behind a name such as `trl.sum_then_normalize.group`.
fn estimator(name: &str) -> Advantage {
    // TRL divides integer counts in single precision, whatever the rewards' precision.
    let value = match name.strip_prefix("trl.sum_then_normalize.") {
        Some(scale) => json!({"type": "sum_then_normalize", "scale": scale, "bessel": "single"}),
        None if name == "paper" => json!({"type": name}),
        None => json!({"type": name.trim_start_matches("trl."), "bessel": "single"}),
    };
    serde_json::from_value(value).unwrap()
}

fn advantages<F: Real>(case: &Value, estimator: Advantage) -> Vec<f64> {
    let array = |value: &Value| value.as_array().cloned();
    let cast = |values: Vec<Value>| -> Vec<F> {
        values.iter().map(|value| F::from_f64(number(value))).collect()
    };
    let rows = array(&case["rewards_per_func"]).unwrap();
    let rewards = cast(rows.iter().filter_map(array).flatten().collect());
    let weights = array(&case["weights"]).map(cast);
    let (rules, size) = (rewards.len() / rows.len(), case["G"].as_u64().unwrap() as usize);
    let mut table = RewardTable::new(&rewards, rules, size).unwrap();
    if let Some(weights) = &weights {
        table = table.with_weights(weights).unwrap();
    }
    let advantages = estimator.advantages(&table).unwrap();
    advantages.into_iter().map(Real::to_f64).collect()
}

/// How much a rounding error of the rewards' mean grows in an advantage of a group: the largest
/// reward over the divisor. Only where rewards differ by less than about 1e-4 does it exceed what
/// the tolerances allow anyway.
fn conditioning(rows: &[Value]) -> f64 {
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |m, v| v.abs().max(m));
    let of_rule = |rule| {
        let values: Vec<f64> = rows.iter().filter_map(|row| row[rule].as_f64()).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let spread = largest(&mut values.iter().map(|v| v - mean));
        let growth = largest(&mut values.into_iter()) / (spread + 1e-4);
        if spread > 0.0 { growth } else { 0.0 }
    };
    largest(&mut (0..rows[0].as_array().unwrap().len()).map(of_rule))
}

#[test]
fn advantages_equal_the_references() {
    let cases: Value = serde_json::from_slice(&read("advantages.json")).unwrap();
    let mut vectors = 0;
    for case in cases.as_array().unwrap() {
        let size = case["G"].as_u64().unwrap() as usize;
        let groups = case["rewards_per_func"].as_array().unwrap().chunks(size);
        let growth: Vec<f64> = groups.map(conditioning).collect();
        for (key, expected) in case["out"].as_object().unwrap() {
            vectors += 1;
            let (name, precision) = key.rsplit_once('.').unwrap();
            let double = precision == "f64";
            let of = if double { advantages::<f64> } else { advantages::<f32> };
            let found = of(case, estimator(name));
            let epsilon = if double { f64::EPSILON } else { f64::from(f32::EPSILON) };
            let relative = if double { 1e-12 } else { 1e-6 };
            let expected = expected.as_array().unwrap();
            assert_eq!(found.len(), expected.len(), "{key}");
            for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
                // Normalized over the batch, every group's rounding shows in all.
                let growth = match name {
                    "trl.normalize_then_sum" => growth.iter().copied().fold(0.0, f64::max),
                    _ => growth[i / size],
                };
                let scale = (2.0 * epsilon * growth).max(relative) / relative;
                let what = format!("{} {key} [{i}]", case["name"]);
                check(&what, *found, number(expected), relative, scale);
            }
        }
    }
    println!("advantages: {vectors} vectors");
    assert!(vectors > 0, "no cases found");
}
