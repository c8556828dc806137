//! Advantages against the numbers of the paper's code and of TRL.

#![allow(clippy::print_stdout)] // the number of cases is part of a fixture test's answer

mod common;

use common::rewards::{conditioning, estimator};
use common::{agree, json, number};
use serde_json::Value;
use visrl_grpo::{Advantage, AdvantageEstimator, Real, RewardTable};

fn advantages<F: Real>(case: &Value, estimator: Advantage) -> Vec<f64> {
    let rows = case["rewards_per_func"].as_array().unwrap();
    let rules = rows[0].as_array().unwrap().len();
    let rewards: Vec<F> = rows
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .map(|r| {
            if r.is_null() {
                F::NAN
            } else {
                F::from_f64(number(r))
            }
        })
        .collect();
    let weights: Option<Vec<F>> = case["weights"]
        .as_array()
        .map(|w| w.iter().map(|w| F::from_f64(number(w))).collect());
    let size = case["G"].as_u64().unwrap() as usize;
    let mut table = RewardTable::new(&rewards, rules, size).unwrap();
    if let Some(weights) = &weights {
        table = table.with_weights(weights).unwrap();
    }
    estimator
        .advantages(&table)
        .unwrap()
        .into_iter()
        .map(Real::to_f64)
        .collect()
}

#[test]
fn advantages_equal_the_references() {
    let cases = json("advantages.json");
    let (mut sets, mut vectors) = (0, 0);
    for case in cases.as_array().unwrap() {
        sets += 1;
        let set = case["name"].as_str().unwrap();
        let group_size = case["G"].as_u64().unwrap() as usize;
        for (key, expected) in case["out"].as_object().unwrap() {
            vectors += 1;
            let (name, precision) = key.rsplit_once('.').unwrap();
            let (found, relative, epsilon): (Vec<f64>, f64, f64) = match precision {
                "f64" => (
                    advantages::<f64>(case, estimator(name)),
                    1e-12,
                    f64::EPSILON,
                ),
                "f32" => (
                    advantages::<f32>(case, estimator(name)),
                    1e-6,
                    f64::from(f32::EPSILON),
                ),
                other => panic!("unknown precision {other}"),
            };
            let expected = expected.as_array().unwrap();
            let completions = found.len();
            assert_eq!(completions, expected.len(), "{set} {key}");
            for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
                let expected = number(expected);
                let groups = if name == "trl.normalize_then_sum" {
                    // Normalized over the batch, so that every group's rounding shows in all.
                    0..completions / group_size
                } else {
                    i / group_size..i / group_size + 1
                };
                let growth = groups.map(|g| conditioning(case, g)).fold(0.0, f64::max);
                let rounding = 2.0 * epsilon * growth;
                let absolute = relative.max(rounding);
                // The paper divides 0 by NaN in a group of one; here that is 0.
                let close = agree(*found, expected, relative, absolute / relative)
                    || (expected.is_nan() && group_size == 1 && *found == 0.0);
                assert!(close, "{set} {key} [{i}]: {found} instead of {expected}");
            }
        }
    }
    println!("advantages: {sets} reward sets, {vectors} vectors");
    assert!(vectors > 0, "no cases found");
}
