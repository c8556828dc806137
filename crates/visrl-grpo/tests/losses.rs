//! Losses, gradients and metrics against the numbers of the paper's code and of TRL.

#![allow(clippy::print_stdout)] // the number of cases is part of a fixture test's answer

mod common;

use std::collections::BTreeMap;

use common::cases::{Data, Setup, compare_grad, pack, tolerance};
use common::{agree, grpo_fixtures, json, number, tensor};
use safetensors::tensor::SafeTensors;
use serde_json::Value;
use visrl_grpo::{GrpoLoss, KlEstimator, LossMetrics, LossOutput, PolicyLoss, Real};

/// Evaluates a case in one precision.
fn evaluate<F: Real>(case: &Value, data: &Data<F>) -> (GrpoLoss, LossOutput<F>, f64) {
    let setup = Setup::of(case);
    let mut batch = data.batch();
    if setup.use_old {
        batch = batch.with_old_logps(&data.old_logps);
    }
    let counts = setup.counts(setup.loss.normalization(&batch).unwrap());
    let out = setup
        .loss
        .evaluate(&batch.with_normalization(counts))
        .unwrap();
    (setup.loss, out, setup.undivided())
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

fn run_case<F: Real>(file: &SafeTensors<'_>, case: &Value, precision: &str) -> usize {
    let id = case["id"].as_u64().unwrap();
    let what = format!("case {id} {precision} {} on {}", case["cfg"], case["data"]);
    let data = Data::<F>::load(file, case["data"].as_str().unwrap());
    let (loss, out, undivided) = evaluate(case, &data);
    let double = precision == "f64";
    let relative = tolerance(double, &loss, &data);
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
    compare_grad(&what, &out.grad, &pack(&data.mask, &grad), relative);

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
    let pairs = data.logps.iter().zip(&data.ref_logps);
    for ((logp, ref_logp), expected) in pairs.zip(pack(&data.mask, &expected)) {
        let (found, _) = KlEstimator::K3.value_and_grad(*logp, *ref_logp);
        // exp(d) - d - 1 cancels, so small values carry the rounding of 1.
        assert!(
            agree(found.to_f64(), expected, relative, 1.0),
            "{set} {precision}"
        );
    }
    1
}
