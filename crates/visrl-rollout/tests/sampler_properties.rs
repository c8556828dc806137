//! What holds of the sampler for any logits and any parameters.

use proptest::collection::vec;
use proptest::prelude::*;
use visrl_rollout::{SampledToken, Sampler, SamplingContext, SamplingParams};

/// Logits with ties and excluded tokens; some rows are longer than the sampler's blocks.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![
        6 => -15.0f32..15.0,
        2 => (-6i8..6).prop_map(f32::from),
        1 => Just(f32::NEG_INFINITY),
    ];
    prop_oneof![4 => vec(value.clone(), 1..60), 1 => vec(value, 500..3000)]
}

fn params() -> impl Strategy<Value = SamplingParams> {
    let one = |range: std::ops::RangeInclusive<f64>| prop_oneof![Just(1.0), range];
    (
        one(0.5..=2.0),
        prop_oneof![1 => Just(0.0), 2 => Just(1.0), 4 => 0.05f64..4.0],
        prop_oneof![Just(0usize), 1usize..80, Just(usize::MAX)],
        one(0.001..=0.999),
        prop_oneof![Just(0.0), 0.0..=1.0],
        one(0.001..=0.999),
    )
        .prop_map(
            |(repetition_penalty, temperature, top_k, top_p, min_p, typical_p)| {
                let max_new_tokens = 1;
                SamplingParams {
                    repetition_penalty,
                    temperature,
                    top_k,
                    top_p,
                    min_p,
                    typical_p,
                    max_new_tokens,
                    stop_strings: Vec::new(),
                }
            },
        )
}

/// Logits of three decimals, in rows shorter and longer than those that are cut without sums over
/// the whole.
fn thousandths() -> impl Strategy<Value = Vec<f32>> {
    let value = (-20_000i32..20_000).prop_map(|x| x as f32 / 1000.0);
    prop_oneof![4 => vec(value.clone(), 1..400), 1 => vec(value, 1100..3000)]
}

/// The logits after penalty, bans and temperature, computed one by one.
fn processed(logits: &[f32], params: &SamplingParams, context: SamplingContext<'_>) -> Vec<f64> {
    let one = |(id, &logit): (usize, &f32)| {
        let is_in = |ids: &[u32]| ids.contains(&(id as u32));
        let mut score = f64::from(logit);
        if is_in(context.banned_ids) {
            return f64::NEG_INFINITY;
        }
        if is_in(context.prompt) || is_in(context.completion) {
            let penalty = params.repetition_penalty;
            score = if score < 0.0 {
                score * penalty
            } else {
                score / penalty
            };
        }
        if params.temperature > 0.0 {
            score / params.temperature
        } else {
            score
        }
    };
    logits.iter().enumerate().map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn draws_come_from_the_distribution(
        logits in logits(),
        params in params(),
        banned in vec(0u32..70, 0..8),
        prompt in vec(0u32..3100, 0..40),
        completion in vec(0u32..70, 0..10),
        mut us in vec(0.0f64..1.0, 1..20),
    ) {
        params.validate().unwrap();
        let context = SamplingContext { banned_ids: &banned, prompt: &prompt, completion: &completion, allowed_ids: None };
        let scores = processed(&logits, &params, context);
        let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut sampler = Sampler::default();
        let Some(kept) = sampler.distribution(&logits, &params, context) else {
            prop_assert_eq!(best, f64::NEG_INFINITY, "there was a token to draw");
            prop_assert_eq!(sampler.sample(&logits, &params, context, us[0]), None);
            return Ok(());
        };
        let (ids, shares) = (kept.ids().to_vec(), kept.probabilities().to_vec());
        let logps: Vec<f32> = kept.logps().collect();

        prop_assert!(ids.is_sorted_by(|a, b| a < b));
        prop_assert_eq!(ids.len(), shares.len());
        prop_assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
        let total: f64 = shares.iter().map(|&share| f64::from(share)).sum();
        prop_assert!((total - 1.0).abs() < 1e-5, "probabilities sum to {}", total);
        for ((&id, &share), &logp) in ids.iter().zip(&shares).zip(&logps) {
            prop_assert!(!banned.contains(&id));
            prop_assert!(logits[id as usize] > f32::NEG_INFINITY);
            prop_assert!((f64::from(share) - f64::from(logp).exp()).abs() < 2e-6);
        }
        prop_assert!(kept.entropy() >= -1e-6 && kept.entropy() <= (ids.len() as f64).ln() + 1e-5);

        // A monotone filter keeps a token only with all that are clearly more likely.
        if params.typical_p == 1.0 && params.temperature > 0.0 {
            let least = ids.iter().map(|&id| scores[id as usize]).fold(best, f64::min);
            let more = (0..logits.len()).filter(|&id| scores[id] > least + 1e-4 * (1.0 + least.abs()));
            for id in more {
                prop_assert!(ids.contains(&(id as u32)), "{} is missing", id);
            }
        }

        us.sort_by(f64::total_cmp);
        let draws: Vec<SampledToken> =
            us.iter().map(|&u| sampler.sample(&logits, &params, context, u).unwrap()).collect();
        prop_assert!(draws.is_sorted_by_key(|drawn| drawn.token), "{:?}", draws);
        for drawn in draws {
            let at = ids.binary_search(&drawn.token);
            prop_assert!(at.is_ok(), "{} was filtered out", drawn.token);
            prop_assert!(shares[at.unwrap()] > 0.0);
            prop_assert_eq!(drawn.truncated_logp, logps[at.unwrap()]);
            let logit = |id: u32| f64::from(logits[id as usize]);
            let sum: f64 = (0..logits.len() as u32).map(|id| (logit(id) - logit(drawn.token)).exp()).sum();
            prop_assert!((f64::from(drawn.logp) + sum.ln()).abs() < 1e-5);
        }
    }

    #[test]
    fn each_filter_is_what_sorting_gives(
        logits in thousandths(),
        k in 1usize..50,
        p in 0.01f64..0.99,
    ) {
        let all = SamplingParams { top_k: 0, ..Default::default() };
        let max = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
        let weight = |id: usize| (f64::from(logits[id]) - max).exp();
        let total: f64 = (0..logits.len()).map(weight).sum();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let mut sampler = Sampler::default();
        let mut kept = |params: &SamplingParams| {
            let kept = sampler.distribution(&logits, params, &[]).unwrap();
            kept.ids().iter().map(|&id| id as usize).collect::<Vec<_>>()
        };

        let found = kept(&SamplingParams { top_k: k, ..all.clone() });
        let least = logits[order[k.min(logits.len()) - 1]];
        let expected: Vec<usize> = (0..logits.len()).filter(|&id| logits[id] >= least).collect();
        prop_assert_eq!(found, expected);

        // A nucleus reaches p, and does not without its least likely token.
        let found = kept(&SamplingParams { top_p: p, ..all.clone() });
        let mass: f64 = found.iter().map(|&id| weight(id) / total).sum();
        let least = found.iter().map(|&id| weight(id) / total).fold(1.0, f64::min);
        prop_assert!(mass >= p - 1e-6, "{} of {}", mass, p);
        prop_assert!(mass - least < p + 1e-6, "{} without {} of {}", mass, least, p);

        let found = kept(&SamplingParams { min_p: p, ..all.clone() });
        for id in 0..logits.len() {
            if (weight(id) / p - 1.0).abs() > 1e-5 {
                prop_assert_eq!(found.binary_search(&id).is_ok(), weight(id) > p);
            }
        }

        // The typical set reaches p, and does not without its least typical token.
        let surprise = |id: usize| max + total.ln() - f64::from(logits[id]);
        let entropy: f64 = (0..logits.len()).map(|id| weight(id) / total * surprise(id)).sum();
        let distance = |id: usize| (surprise(id) - entropy).abs();
        let found = kept(&SamplingParams { typical_p: p, ..all });
        let mass: f64 = found.iter().map(|&id| weight(id) / total).sum();
        let furthest = found.iter().map(|&id| distance(id)).fold(0.0, f64::max);
        let inner: f64 = (0..logits.len())
            .filter(|&id| distance(id) < furthest - 1e-4)
            .map(|id| weight(id) / total)
            .sum();
        prop_assert!(mass >= p - 1e-5, "{} of {}", mass, p);
        prop_assert!(inner < p + 1e-5, "{} of {}", inner, p);
        prop_assert!((0..logits.len()).all(|id| distance(id) > furthest - 1e-4 || found.binary_search(&id).is_ok()));
    }

    #[test]
    fn nothing_panics_and_damaged_rows_give_nothing(
        values in vec(
            prop_oneof![
                8 => any::<f32>(),
                4 => -9.0f32..9.0,
                1 => Just(f32::NAN),
                2 => Just(f32::NEG_INFINITY),
                1 => Just(f32::INFINITY),
                1 => Just(f32::MAX),
                1 => Just(f32::MIN),
                1 => Just(f32::MIN_POSITIVE),
            ],
            0..200,
        ),
        numbers in vec(prop_oneof![any::<f64>(), Just(0.0), Just(1.0), Just(f64::NAN)], 6),
        top_k in any::<usize>(),
        ids in vec(any::<u32>(), 0..5),
    ) {
        // Parameters that `validate` would refuse do not make a token out of nothing either.
        let params = SamplingParams {
            repetition_penalty: numbers[0],
            temperature: numbers[1],
            top_k,
            top_p: numbers[2],
            min_p: numbers[3],
            typical_p: numbers[4],
            max_new_tokens: 0, stop_strings: Vec::new()
        };
        let context = SamplingContext { banned_ids: &ids, prompt: &ids, completion: &ids, allowed_ids: None };
        let sound = SamplingParams { top_k: top_k % 300, ..Default::default() };
        let broken = values.iter().any(|x| x.is_nan() || *x == f32::INFINITY);
        for params in [params, sound, SamplingParams::greedy(1)] {
            let drawn = Sampler::default().sample(&values, &params, context, numbers[5]);
            prop_assert!(!broken || drawn.is_none());
            if let Some(drawn) = drawn {
                prop_assert!((drawn.token as usize) < values.len());
                prop_assert!(!drawn.logp.is_nan() && !drawn.truncated_logp.is_nan());
            }
        }
    }
}
