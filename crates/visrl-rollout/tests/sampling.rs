//! The sampler against transformers' logits processors, for every case of the fixtures folder.

use std::collections::BTreeMap;
use std::fs;

use safetensors::SafeTensors;
use serde_json::{Value, json};
use visrl_rollout::{Sampler, SamplingContext, SamplingParams};
use visrl_testing::{fixtures, rows};

/// Probabilities, absolute.
const TOLERANCE: f64 = 1e-6;
/// Log-probabilities, absolute, beside the same relative to their size.
const LOG_TOLERANCE: f64 = 2e-6;

/// Settings of a case; what it does not name is off.
fn params(settings: &Value) -> SamplingParams {
    let mut all = json!({"top_k": 0});
    for (name, value) in settings.as_object().unwrap() {
        if !value.is_null() {
            all[name] = value.clone();
        }
    }
    let params: SamplingParams = serde_json::from_value(all).unwrap();
    params.validate().unwrap();
    params
}

/// The first of the largest.
fn arg_max(values: &[f64]) -> usize {
    (0..values.len())
        .rev()
        .max_by(|&a, &b| values[a].total_cmp(&values[b]))
        .unwrap()
}

fn close(found: f64, expected: f64, tolerance: f64) -> bool {
    found == expected || (found - expected).abs() <= tolerance
}

#[test]
fn every_case_equals_transformers() {
    let root = fixtures().join("sampling");
    let bytes = fs::read(root.join("filters.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let index: Value =
        serde_json::from_slice(&fs::read(root.join("filters.json")).unwrap()).unwrap();
    let get = |name: &str| rows(&file, name);
    let logits = get("logits").unwrap();
    let seen = get("input_ids");
    let us = get("icdf_u").map(|rows| rows.concat()).unwrap_or_default();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut count = |what: &'static str, n: usize| *counts.entry(what).or_default() += n;
    let mut sampler = Sampler::default();
    for case in index["cases"].as_array().unwrap() {
        count("cases", 1);
        let id = case["id"]
            .as_str()
            .map_or_else(|| case["id"].to_string(), str::to_owned);
        let params = params(&case["settings"]);
        let scores = get(&format!("{id}.scores"));
        let probs = get(&format!("{id}.probs")).unwrap();
        let tokens = get(&format!("{id}.icdf_tokens"));
        let cuts_ties = params.top_p < 1.0 || params.typical_p < 1.0;
        for (row, logits) in logits.iter().enumerate() {
            let place = format!("case {id} {}, row {row}", case["settings"]);
            count("rows", 1);
            let logits: Vec<f32> = logits.iter().map(|&x| x as f32).collect();
            let prompt: Vec<u32> = seen
                .iter()
                .flat_map(|seen| &seen[row])
                .filter(|id| **id >= 0.0)
                .map(|id| *id as u32)
                .collect();
            let context = SamplingContext {
                prompt: &prompt,
                ..SamplingContext::default()
            };
            let kept = sampler.distribution(&logits, &params, context).unwrap();
            let mut found = vec![0.0; logits.len()];
            let mut found_scores = vec![f64::NEG_INFINITY; logits.len()];
            for (at, &id) in kept.ids().iter().enumerate() {
                found[id as usize] = f64::from(kept.probabilities()[at]);
                found_scores[id as usize] = f64::from(kept.scores()[at]);
            }

            // Which of equal scores a cut leaves is a matter of the sorting algorithm: as many of
            // them, but perhaps others.
            let mut tied = vec![false; logits.len()];
            if let Some(scores) = &scores {
                let scores = &scores[row];
                let kept_there = |id: usize| scores[id] > f64::NEG_INFINITY;
                let kept_here = |id: usize| found_scores[id] > f64::NEG_INFINITY;
                let ids = 0..logits.len();
                let differ: Vec<usize> = ids
                    .clone()
                    .filter(|&id| kept_there(id) != kept_here(id))
                    .collect();
                for &id in &differ {
                    let score = scores[id].max(found_scores[id]);
                    let same: Vec<usize> = ids
                        .clone()
                        .filter(|&id| scores[id] == score || found_scores[id] == score)
                        .collect();
                    let number =
                        |kept: &dyn Fn(usize) -> bool| same.iter().filter(|id| kept(**id)).count();
                    assert!(
                        cuts_ties && number(&kept_there) == number(&kept_here),
                        "{place}: token {id} kept here: {}, there: {}",
                        kept_here(id),
                        kept_there(id)
                    );
                    same.into_iter().for_each(|id| tied[id] = true);
                }
                count("kept sets", 1);
                count("ids tied at a cut", differ.len());
                for id in ids.filter(|&id| !tied[id]) {
                    let tolerance = TOLERANCE * (1.0 + scores[id].abs());
                    let (found, expected) = (found_scores[id], scores[id]);
                    assert!(
                        close(found, expected, tolerance),
                        "{place}: score of {id} is {found}, expected {expected}"
                    );
                }
            }
            if let Some(expected) = case["kept"][row].as_u64() {
                assert_eq!(
                    kept.ids().len() as u64,
                    expected,
                    "{place}: number of tokens kept"
                );
                count("kept numbers", 1);
            }
            for id in (0..logits.len()).filter(|&id| !tied[id]) {
                let (found, expected) = (found[id], probs[row][id]);
                assert!(
                    close(found, expected, TOLERANCE),
                    "{place}: probability of {id} is {found}, expected {expected}"
                );
                count("probabilities", 1);
            }
            if let Some(expected) = case["argmax"][row].as_u64()
                && !tied[expected as usize]
            {
                assert_eq!(arg_max(&found_scores) as u64, expected, "{place}: argmax");
                count("argmax", 1);
            }
            if let Some(tokens) = &tokens
                && !tied.contains(&true)
            {
                for (&u, &expected) in us.iter().zip(&tokens[row]) {
                    let drawn = sampler.sample(&logits, &params, context, u).unwrap();
                    assert_eq!(
                        f64::from(drawn.token),
                        expected,
                        "{place}: token for u = {u}"
                    );
                    count("draws", 1);
                }
            }
        }
    }
    println!("sampling fixtures: {counts:?}");
    for what in ["cases", "kept sets", "probabilities", "argmax", "draws"] {
        assert!(
            counts.get(what).is_some_and(|&count| count > 0),
            "no case checked {what}"
        );
    }
}

/// Draws every token by a number `u` in the middle of its share, and returns what was drawn.
fn draw_all(logits: &[f32], params: &SamplingParams) -> Vec<visrl_rollout::SampledToken> {
    let mut sampler = Sampler::default();
    let kept = sampler.distribution(logits, params, &[]).unwrap();
    let (ids, shares) = (kept.ids().to_vec(), kept.probabilities().to_vec());
    let total: f64 = shares.iter().map(|&share| f64::from(share)).sum();
    let mut before = 0.0;
    let mut drawn = Vec::new();
    for (id, share) in ids.into_iter().zip(shares) {
        let share = f64::from(share);
        let u = (before + share / 2.0) / total;
        before += share;
        if share > 1e-12 {
            let sampled = sampler.sample(logits, params, &[], u).unwrap();
            assert_eq!(sampled.token, id, "for u = {u}");
            drawn.push(sampled);
        }
    }
    drawn
}

#[test]
fn log_softmax_and_entropy_equal_the_reference() {
    let root = fixtures().join("sampling");
    let bytes = fs::read(root.join("filters.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let logits = rows(&file, "logits").unwrap();
    let all = SamplingParams {
        top_k: 0,
        ..SamplingParams::default()
    };
    let (mut tensors, mut values, mut entropies) = (0, 0, 0);
    for name in file.names() {
        let Some(rest) = name.strip_prefix("log_softmax") else {
            continue;
        };
        let temperature = rest.strip_prefix("_temp").map(|rest| {
            rest.trim_end_matches("_f64")
                .trim_end_matches("_f32")
                .parse::<f64>()
                .unwrap()
        });
        let params = SamplingParams {
            temperature: temperature.unwrap_or(1.0),
            ..all.clone()
        };
        let expected = rows(&file, name).unwrap();
        tensors += 1;
        for (row, logits) in logits.iter().enumerate() {
            let logits: Vec<f32> = logits.iter().map(|&x| x as f32).collect();
            for drawn in draw_all(&logits, &params) {
                let expected = expected[row][drawn.token as usize];
                let tolerance = LOG_TOLERANCE * (1.0 + expected.abs());
                let mut found = vec![("truncated", drawn.truncated_logp)];
                if temperature.is_none() {
                    found.push(("full", drawn.logp));
                }
                for (which, found) in found {
                    assert!(
                        close(f64::from(found), expected, tolerance),
                        "{name} row {row} token {} ({which}): {found}, expected {expected}",
                        drawn.token
                    );
                    values += 1;
                }
            }
        }
    }
    let mut sampler = Sampler::default();
    for name in ["entropy_f64", "entropy_f32", "entropy"] {
        let Some(expected) = rows(&file, name) else {
            continue;
        };
        for (logits, expected) in logits.iter().zip(expected.concat()) {
            let logits: Vec<f32> = logits.iter().map(|&x| x as f32).collect();
            let found = sampler.distribution(&logits, &all, &[]).unwrap().entropy();
            assert!(
                close(found, expected, 1e-5),
                "{name}: {found}, expected {expected}"
            );
            entropies += 1;
        }
    }
    println!("log-softmax fixtures: {tensors} tensors, {values} values, {entropies} entropies");
    assert!(
        tensors > 0 && values > 0 && entropies > 0,
        "nothing checked"
    );
}
