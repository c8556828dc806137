//! The sampler for devices against the one for host memory, from the same logits: for all cases of
//! the fixtures folder, and for logits with many ties.

use std::fs;

use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use visrl_rollout::{
    DeviceSampler, DrawInput, RowSettings, SampledToken, Sampler, SamplingContext, SamplingParams,
};
use visrl_testing::{fixtures, rows};

/// The device that `VISRL_DEVICE` names: `flex` (the default), or in a build with that feature `tch`
/// or `tch:N`.
fn device() -> Device {
    match std::env::var("VISRL_DEVICE").as_deref() {
        Err(_) | Ok("flex") => Device::flex(),
        #[cfg(feature = "tch")]
        #[allow(deprecated)]
        Ok("tch") => Device::libtorch(),
        #[cfg(feature = "tch")]
        #[allow(deprecated)]
        Ok(device) if device.starts_with("tch:") => {
            Device::libtorch_cuda(device[4..].parse::<usize>().unwrap())
        }
        Ok(other) => panic!("VISRL_DEVICE: this build has no device `{other}`"),
    }
}

/// A row to be drawn.
#[derive(Clone, Debug)]
struct Row {
    logits: Vec<f32>,
    params: SamplingParams,
    seen: Vec<u32>,
    allowed: Option<Vec<u32>>,
    u: f64,
}

/// What both samplers draw of rows, with the same ids banned in all.
fn both(rows: &[Row], banned_ids: &[u32]) -> [Vec<Option<SampledToken>>; 2] {
    let mut sampler = Sampler::default();
    let expected = rows.iter().map(|row| {
        let context = SamplingContext {
            banned_ids,
            prompt: &row.seen,
            completion: &[],
            allowed_ids: row.allowed.as_deref(),
        };
        sampler.sample(&row.logits, &row.params, context, row.u)
    });
    let expected = expected.collect();

    let (device, vocab) = (device(), rows[0].logits.len());
    let params: Vec<_> = rows.iter().map(|row| &row.params).collect();
    let settings = RowSettings::new(&params, vocab, &device);
    let sampler = DeviceSampler::new(vocab, banned_ids, &device);
    let seen: Vec<_> = rows.iter().map(|row| row.seen.clone()).collect();
    let seen = settings.penalizes().then(|| sampler.count(&seen));
    let uniform: Vec<f64> = rows.iter().map(|row| row.u).collect();
    let allowed: Vec<_> = rows.iter().map(|row| row.allowed.clone()).collect();
    let input = DrawInput {
        uniform: &uniform,
        seen: seen.as_ref(),
        allowed: &allowed,
    };
    let logits: Vec<f32> = rows.iter().flat_map(|row| row.logits.clone()).collect();
    let logits = Tensor::<2>::from_data(TensorData::new(logits, [rows.len(), vocab]), &device);
    let found = sampler.sample(logits, &settings, &input).unwrap();
    [expected, found]
}

fn agree(rows: &[Row], banned_ids: &[u32]) {
    let [expected, found] = both(rows, banned_ids);
    for ((row, expected), found) in rows.iter().zip(expected).zip(found) {
        let place = || format!("{:?}, u {}: {expected:?} {found:?}", row.params, row.u);
        assert_eq!(
            expected.map(|x| x.token),
            found.map(|x| x.token),
            "{}",
            place()
        );
        for (a, b) in expected.iter().zip(&found) {
            for (a, b) in [(a.logp, b.logp), (a.truncated_logp, b.truncated_logp)] {
                assert!((a - b).abs() <= 2e-6 * (1.0 + a.abs()), "{}", place());
            }
        }
    }
}

#[test]
fn every_case_of_the_fixtures_is_drawn_alike() {
    let root = fixtures().join("sampling");
    let bytes = fs::read(root.join("filters.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let index: Value =
        serde_json::from_slice(&fs::read(root.join("filters.json")).unwrap()).unwrap();
    let logits = rows(&file, "logits").unwrap();
    let seen = rows(&file, "input_ids");
    let mut us = rows(&file, "icdf_u")
        .map(|rows| rows.concat())
        .unwrap_or_default();
    us.extend((0..16).map(|i| (f64::from(i) + 0.37) / 16.0));
    let mut drawn = 0;
    for case in index["cases"].as_array().unwrap() {
        let mut settings = json!({"top_k": 0});
        for (name, value) in case["settings"].as_object().unwrap() {
            if !value.is_null() {
                settings[name] = value.clone();
            }
        }
        let params: SamplingParams = serde_json::from_value(settings).unwrap();
        let mut batch = Vec::new();
        for (row, logits) in logits.iter().enumerate() {
            let seen = seen.iter().flat_map(|seen| &seen[row]);
            let seen: Vec<u32> = seen.filter(|id| **id >= 0.0).map(|id| *id as u32).collect();
            batch.extend(us.iter().map(|&u| Row {
                logits: logits.iter().map(|&x| x as f32).collect(),
                params: params.clone(),
                seen: seen.clone(),
                allowed: None,
                u,
            }));
        }
        drawn += batch.len();
        agree(&batch, &[]);
    }
    println!("drawn alike: {drawn}");
    assert!(drawn > 0);
}

/// Logits that look random, on a grid so coarse that many are equal.
fn coarse(seed: u64, vocab: usize, levels: u64) -> Vec<f32> {
    let hash = |i: u64| {
        (i + seed * 7919 + 1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
    };
    let level = |i| (hash(i) % levels) as f32 - levels as f32 / 2.0;
    (0..vocab as u64)
        .map(|i| level(i) * 8.0 / levels as f32)
        .collect()
}

fn any_params() -> impl Strategy<Value = SamplingParams> {
    (
        prop_oneof![Just(0.0), Just(1.0), Just(0.7), Just(1.6)],
        prop_oneof![Just(0usize), 1usize..9, Just(50), Just(5000)],
        prop_oneof![Just(1.0), Just(1e-9), 0.05f64..0.99],
        prop_oneof![Just(0.0), Just(1.0), 0.01f64..0.5],
        prop_oneof![Just(1.0), Just(1.0), 0.1f64..0.99],
        prop_oneof![Just(1.0), Just(1.3), Just(0.8)],
    )
        .prop_map(
            |(temperature, top_k, top_p, min_p, typical_p, repetition_penalty)| SamplingParams {
                temperature,
                top_k,
                top_p,
                min_p,
                typical_p,
                repetition_penalty,
                ..SamplingParams::default()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn rows_of_any_settings_are_drawn_alike(
        params in prop::collection::vec(any_params(), 1..7), seed in 0u64..1000,
        vocab in prop_oneof![1usize..40, 300usize..700], levels in 1u64..60,
        us in prop::collection::vec(0.0f64..1.0, 7), plain in any::<bool>(),
    ) {
        let rows: Vec<Row> = params.into_iter().zip(us).enumerate().map(|(row, (params, u))| Row {
            logits: coarse(seed + row as u64, vocab, levels),
            params: match plain {
                // As in training: top-k alone, which looks at the likeliest tokens.
                true => SamplingParams { top_k: 1 + row * 9, ..SamplingParams::default() },
                false => params,
            },
            seen: (0..vocab as u32 + 9).filter(|id| (id * 7 + row as u32).is_multiple_of(3)).collect(),
            allowed: (row % 3 == 2).then(|| vec![0, 3, vocab as u32, 3]),
            u,
        }).collect();
        let banned = [2, vocab as u32 + 1];
        // A row without a token left is none for both.
        let [expected, found] = both(&rows, &banned);
        let tokens = |drawn: &[Option<SampledToken>]| -> Vec<Option<u32>> {
            drawn.iter().map(|drawn| drawn.map(|drawn| drawn.token)).collect()
        };
        prop_assert_eq!(tokens(&expected), tokens(&found), "{:?}", rows);
    }
}

#[test]
fn what_is_not_a_number_is_not_drawn() {
    let row = |logits: &[f32]| Row {
        logits: logits.to_vec(),
        params: SamplingParams::default(),
        seen: Vec::new(),
        allowed: None,
        u: 0.5,
    };
    let rows = [
        row(&[0.0, f32::NAN, 1.0]),
        row(&[f32::INFINITY, 0.0, 1.0]),
        row(&[f32::NEG_INFINITY; 3]),
        row(&[f32::NEG_INFINITY, 2.0, 1.0]),
    ];
    agree(&rows, &[]);
    let [expected, _] = both(&rows, &[1, 2]);
    assert_eq!(expected, vec![None; 4]);
    agree(&rows, &[1, 2]);
}
