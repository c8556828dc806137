//! The cases of `advantages.json`: estimators by name, and how well conditioned they are.

use serde_json::Value;
use visrl_grpo::{Advantage, Bessel, NormalizeThenSum, Paper, Scale, SumThenNormalize};

/// The estimator behind a name such as `trl.sum_then_normalize.group`.
pub(crate) fn estimator(name: &str) -> Advantage {
    // TRL divides integer counts in single precision, whatever the rewards' precision.
    let bessel = Bessel::Single;
    let scaled = |scale| {
        Advantage::SumThenNormalize(SumThenNormalize {
            scale,
            bessel,
            epsilon: 1e-4,
        })
    };
    match name {
        "paper" => Advantage::Paper(Paper::default()),
        "trl.sum_then_normalize.group" => scaled(Scale::Group),
        "trl.sum_then_normalize.batch" => scaled(Scale::Batch),
        "trl.sum_then_normalize.none" => scaled(Scale::None),
        "trl.normalize_then_sum" => Advantage::NormalizeThenSum(NormalizeThenSum {
            bessel,
            epsilon: 1e-4,
        }),
        other => panic!("unknown advantage {other}"),
    }
}

/// How much a rounding error of the rewards' mean grows in an advantage of this group: the largest
/// reward over the divisor. Only where rewards differ by less than about 1e-4 does it exceed what
/// the tolerances allow anyway.
pub(crate) fn conditioning(case: &Value, group: usize) -> f64 {
    let size = case["G"].as_u64().unwrap() as usize;
    let rows = &case["rewards_per_func"].as_array().unwrap()[group * size..(group + 1) * size];
    let rules = rows[0].as_array().unwrap().len();
    let mut worst = 0.0f64;
    for rule in 0..rules {
        let values: Vec<f64> = rows.iter().filter_map(|row| row[rule].as_f64()).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let spread = values.iter().map(|v| (v - mean).abs()).fold(0.0, f64::max);
        let largest = values.iter().map(|v| v.abs()).fold(0.0, f64::max);
        if spread > 0.0 {
            worst = worst.max(largest / (spread + 1e-4));
        }
    }
    worst
}
