//! What the engine promises beside its numbers: conformance, batch-invariant results, stops,
//! cancellation, budgets, closed lists, and errors that stay with their request. On every model of
//! the fixtures folder.

#![allow(clippy::print_stdout)]

mod common;

use std::sync::Arc;

use burn::tensor::Device;
use common::{load, models, requests};
use proptest::prelude::*;
use visrl_core::{Completion, Group, Prompt, StopReason};
use visrl_rollout::conformance::{Expected, check};
use visrl_rollout::{
    Cancel, EngineConfig, EngineKind, Error, GroupRequest, LocalEngine, RolloutEngine,
    SamplingParams, ScriptedEngine, TokenChoices, fit_temperature, score_choices,
    score_choices_of_all,
};
use visrl_vlm::{
    FeatureStore, ParamDtype, Pretrained, QwenVl, QwenVlConfig, SafetensorsDir,
    VisionLanguageModel, WeightSource,
};

fn engine(base: &Pretrained<QwenVl>, config: EngineConfig) -> LocalEngine<QwenVl> {
    let tokenizer = Arc::clone(base.encoder.tokenizer());
    LocalEngine::new(
        &base.model,
        tokenizer,
        Arc::new(FeatureStore::new(16)),
        config,
    )
}

fn tokens(groups: &[Group]) -> Vec<Vec<&[u32]>> {
    groups
        .iter()
        .map(|group| group.completions.iter().map(ids).collect())
        .collect()
}

fn ids(completion: &Completion) -> &[u32] {
    &completion.tokens
}

#[test]
fn the_engine_conforms() {
    for dir in models() {
        let base = load(&dir);
        let mut requests = requests(&base, &[3, 1, 4, 2, 2], 9);
        let words = ["cat", "cat fish", "dog"];
        let choices = TokenChoices::new(base.encoder.tokenizer(), &words).unwrap();
        requests[1].sampling.max_new_tokens = choices.longest();
        requests[1].choices = Some(Arc::new(choices));
        let mut expected = Expected::of(base.model.info());
        for (config, exact) in [
            (EngineConfig::default(), false),
            (
                EngineConfig {
                    batch_invariant: true,
                    ..EngineConfig::default()
                },
                true,
            ),
            (
                EngineConfig {
                    max_sequences: 3,
                    max_prefill_tokens: 40,
                    batch_invariant: true,
                    ..EngineConfig::default()
                },
                true,
            ),
            (
                EngineConfig {
                    kept_prompt_tokens: 500,
                    max_cached_tokens: 900,
                    ..EngineConfig::default()
                },
                false,
            ),
            (
                EngineConfig {
                    engine: EngineKind::Device,
                    ..EngineConfig::default()
                },
                false,
            ),
            (
                EngineConfig {
                    engine: EngineKind::Device,
                    max_sequences: 3,
                    max_prefill_tokens: 40,
                    kept_prompt_tokens: 500,
                    ..EngineConfig::default()
                },
                false,
            ),
        ] {
            expected.batch_invariant = exact;
            let faults = check(&mut engine(&base, config.clone()), &requests, &expected);
            assert!(faults.is_empty(), "{config:?}: {faults:#?}");
        }
    }
}

#[test]
fn the_scripted_engine_conforms_and_broken_ones_do_not() {
    let base = load(&models()[0]);
    let requests = requests(&base, &[2, 1, 3], 30);
    let expected = Expected {
        batch_invariant: true,
        ..Expected::of(base.model.info())
    };
    let answer = |request: &GroupRequest, sample: usize| format!("{} {sample}", request.prompt.id);
    let scripted = || ScriptedEngine::new(Arc::clone(base.encoder.tokenizer()), answer);
    let faults = check(&mut scripted(), &requests, &expected);
    assert!(faults.is_empty(), "{faults:#?}");

    struct Broken<E>(E, fn(usize, &mut Vec<Result<Group, Error>>), usize);
    impl<E: RolloutEngine> RolloutEngine for Broken<E> {
        fn generate_each(&mut self, requests: &[GroupRequest]) -> Vec<Result<Group, Error>> {
            let mut groups = self.0.generate_each(requests);
            self.2 += 1;
            (self.1)(self.2, &mut groups);
            groups
        }
    }
    type Way = fn(usize, &mut Vec<Result<Group, Error>>);
    fn first(groups: &mut [Result<Group, Error>], change: impl FnOnce(&mut Group)) {
        if let Some(Ok(group)) = groups.first_mut() {
            change(group);
        }
    }
    fn completion(groups: &mut [Result<Group, Error>], change: impl FnOnce(&mut Completion)) {
        first(groups, |group| {
            if let Some(first) = group.completions.first_mut() {
                change(first);
            }
        });
    }
    let ways: [(&str, Way); 7] = [
        ("completions, 2 asked for", |_, groups| {
            first(groups, |group| drop(group.completions.pop()));
        }),
        ("log-probabilities for", |_, groups| {
            completion(groups, |c| c.logprobs.push(0.0))
        }),
        ("do not agree with", |_, groups| {
            completion(groups, |c| c.tokens.truncate(1))
        }),
        ("above 0 or not a number", |_, groups| {
            completion(groups, |c| c.logprobs[0] = f32::NAN)
        }),
        ("does not own its request's prompt", |_, groups| {
            first(groups, |group| {
                group.prompt = Arc::new(Prompt::clone(&group.prompt))
            });
        }),
        ("has other tokens", |call, groups| {
            completion(groups, |c| c.tokens[0] = call as u32)
        }),
        ("keeps request", |_, groups| {
            if groups.iter().any(Result::is_err) {
                let lost = || Err(Error::Device("lost".into()));
                groups.iter_mut().for_each(|group| *group = lost());
            }
        }),
    ];
    for (message, way) in ways {
        let faults = check(&mut Broken(scripted(), way, 0), &requests, &expected);
        assert!(
            faults.iter().any(|fault| fault.contains(message)),
            "{message}: {faults:#?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn groups_are_batch_invariant(
        sizes in proptest::collection::vec(1usize..7, 2..9), most in 2usize..12,
        max_sequences in 1usize..12, max_prefill_tokens in 1usize..200, threads in 1usize..4,
        split in 0usize..9, shuffle in 0u64..1000, model in 0usize..8,
    ) {
        let models = models();
        let base = load(&models[model % models.len()]);
        let all = requests(&base, &sizes, most);
        let exact = |config: EngineConfig| EngineConfig { batch_invariant: true, ..config };
        let groups = engine(&base, exact(EngineConfig::default())).generate(&all).unwrap();

        let config = exact(EngineConfig { max_sequences, max_prefill_tokens, ..EngineConfig::default() });
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by_key(|&i| (i as u64 * 7919 + shuffle) % 101);
        let shuffled: Vec<_> = order.iter().map(|&i| all[i].clone()).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let others = pool.install(|| {
            let mut engine = engine(&base, config);
            let (a, b) = shuffled.split_at(split.min(shuffled.len()));
            let mut groups = engine.generate(a).unwrap();
            groups.extend(engine.generate(b).unwrap());
            groups
        });
        let expected: Vec<Group> = order.iter().map(|&i| groups[i].clone()).collect();
        prop_assert_eq!(tokens(&others), tokens(&expected));
        for (a, b) in others.iter().zip(&expected) {
            for (a, b) in a.completions.iter().zip(&b.completions) {
                prop_assert_eq!(&a.logprobs, &b.logprobs);
            }
        }
    }
}

#[test]
fn the_engine_for_devices_samples_what_the_native_one_does() {
    for dir in models() {
        let base = load(&dir);
        let mut requests = requests(&base, &[3, 9, 4, 2, 7], 90);
        // Settings and limits of all kinds beside one another.
        requests[0].sampling = SamplingParams::greedy(30);
        requests[1].sampling.top_p = 0.9;
        requests[2].sampling.repetition_penalty = 1.3;
        requests[2].sampling.top_k = 0;
        requests[3].sampling.temperature = 0.6;
        requests[3].sampling.min_p = 0.05;
        requests[4].sampling.max_new_tokens = 11;
        let config = |engine, max_sequences| EngineConfig {
            engine,
            max_sequences,
            ..EngineConfig::default()
        };
        let native = engine(&base, config(EngineKind::Native, 256));
        let expected = { native }.generate(&requests).unwrap();
        for most in [256, 12] {
            let device = engine(&base, config(EngineKind::Device, most));
            assert!(matches!(device, LocalEngine::Device(_)));
            let found = { device }.generate(&requests).unwrap();
            assert_eq!(tokens(&found), tokens(&expected));
            for (a, b) in expected.iter().zip(&found) {
                for (a, b) in a.completions.iter().zip(&b.completions) {
                    assert_eq!((&a.stop, &a.text), (&b.stop, &b.text));
                    for (a, b) in a.logprobs.iter().zip(&b.logprobs) {
                        assert!((a - b).abs() < 1e-4, "{a} {b}");
                    }
                }
            }
        }
    }
}

#[test]
fn prompts_that_are_kept_change_nothing() {
    let base = load(&models()[0]);
    let requests = requests(&base, &[2, 3, 1, 2, 2, 4], 8);
    let expected = engine(&base, EngineConfig::default())
        .generate(&requests)
        .unwrap();
    let config = EngineConfig {
        kept_prompt_tokens: 60,
        ..EngineConfig::default()
    };
    let mut keeping = engine(&base, config);
    for _ in 0..3 {
        let groups = keeping.generate(&requests).unwrap();
        assert_eq!(tokens(&groups), tokens(&expected));
    }
}

#[test]
fn stop_strings_end_a_completion_and_stay_in_it() {
    let base = load(&models()[0]);
    let mut requests = requests(&base, &[4], 2);
    requests[0].sampling.max_new_tokens = 40;
    let free = engine(&base, EngineConfig::default())
        .generate(&requests)
        .unwrap();
    // Something that the first completion says somewhere in its middle.
    let tokenizer = base.encoder.tokenizer();
    let words = &free[0].completions[0].tokens;
    let stop = (1..words.len() - 4)
        .map(|at| tokenizer.decode(&words[at..at + 3], false))
        .find(|text| text.chars().all(|c| c.is_ascii_graphic()) && !text.is_empty())
        .expect("an ASCII run in 40 random tokens");
    requests[0].sampling.stop_strings = vec!["not there at all".into(), stop.clone()];
    let groups = engine(&base, EngineConfig::default())
        .generate(&requests)
        .unwrap();
    let (ended, whole) = (&groups[0].completions[0], &free[0].completions[0]);
    assert_eq!(ended.stop, StopReason::StopString(stop.clone()));
    assert!(!ended.stop.is_truncated());
    assert!(ended.tokens.len() < whole.tokens.len());
    assert_eq!(ended.tokens, whole.tokens[..ended.tokens.len()]);
    assert!(tokenizer.decode(&ended.tokens, false).contains(&stop));
    let before = &ended.tokens[..ended.tokens.len() - 1];
    assert!(!tokenizer.decode(before, false).contains(&stop));
    requests[0].sampling.stop_strings = vec![String::new()];
    let error = engine(&base, EngineConfig::default())
        .generate(&requests)
        .unwrap_err();
    assert!(error.to_string().contains("stop_strings"), "{error}");
}

#[test]
fn a_cancelled_request_ends_and_others_go_on() {
    let base = load(&models()[0]);
    let mut requests = requests(&base, &[2, 2, 2], 12);
    let flag = Cancel::default();
    requests[1].cancel = flag.clone();
    flag.cancel();
    let groups = engine(&base, EngineConfig::default())
        .generate(&requests)
        .unwrap();
    assert!(
        groups[1]
            .completions
            .iter()
            .all(|c| c.stop == StopReason::Cancelled)
    );
    assert!(groups[1].completions.iter().all(|c| c.stop.is_truncated()));
    for group in [&groups[0], &groups[2]] {
        assert!(group.completions.iter().all(|c| !c.tokens.is_empty()));
    }
    // From another thread, while it runs: it ends long before its last token.
    let flag = Cancel::default();
    let mut long = requests[0].clone();
    long.cancel = flag.clone();
    long.sampling.max_new_tokens = 1 << 20;
    long.sampling.stop_strings = Vec::new();
    let handle = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(150));
        flag.cancel();
    });
    let groups = engine(&base, EngineConfig::default())
        .generate(&[long])
        .unwrap();
    handle.join().unwrap();
    for completion in &groups[0].completions {
        assert!(completion.tokens.len() < 1 << 20);
        assert_eq!(completion.tokens.len(), completion.logprobs.len());
    }
}

#[test]
fn an_impossible_budget_is_told_and_the_others_finish() {
    let base = load(&models()[0]);
    let mut requests = requests(&base, &[2, 9, 2], 6);
    requests[1].sampling.max_new_tokens = 500;
    let config = EngineConfig {
        max_cached_tokens: 400,
        ..EngineConfig::default()
    };
    let groups = engine(&base, config).generate_each(&requests);
    assert!(groups[0].is_ok() && groups[2].is_ok());
    let error = groups[1].as_ref().unwrap_err().to_string();
    assert!(
        error.contains("prompt b") && error.contains("max_cached_tokens"),
        "{error}"
    );
}

/// A checkpoint with one number that is not one.
struct Poisoned {
    source: SafetensorsDir,
    name: &'static str,
}

impl WeightSource for Poisoned {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, visrl_vlm::Error> {
        let mut values = self.source.read(name, shape)?;
        if name == self.name {
            values[0] = f32::NAN;
        }
        Ok(values)
    }
}

#[test]
fn damaged_weights_are_named() {
    let dir = models().remove(0);
    let config = QwenVlConfig::from_dir(&dir).unwrap();
    let name = "model.layers.1.self_attn.k_proj.bias";
    let mut source = Poisoned {
        source: SafetensorsDir::open(&dir).unwrap(),
        name,
    };
    let model = QwenVl::with_dtype(config, &mut source, &Device::flex(), ParamDtype::F32).unwrap();
    let base = load(&dir);
    let requests = requests(&base, &[2], 4);
    let tokenizer = Arc::clone(base.encoder.tokenizer());
    let features = Arc::new(FeatureStore::new(4));
    let mut engine = LocalEngine::new(&model, tokenizer, features, EngineConfig::default());
    match engine.generate(&requests) {
        Err(error @ Error::NotFinite { .. }) => {
            let text = error.to_string();
            assert!(text.contains("layer 1") && text.contains(name), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn closed_lists_are_kept_to_and_scored() {
    for dir in models() {
        let base = load(&dir);
        let tokenizer = base.encoder.tokenizer();
        let words = ["cat", "caterpillar", "dog", "a dog", "airplane"];
        let choices = Arc::new(TokenChoices::new(tokenizer, &words).unwrap());
        let mut requests = requests(&base, &[64, 1], 4);
        for request in &mut requests {
            request.choices = Some(Arc::clone(&choices));
            request.sampling.max_new_tokens = choices.longest();
            request.sampling.top_k = 0;
        }
        requests[1].sampling.temperature = 0.0;
        let groups = engine(&base, EngineConfig::default())
            .generate(&requests)
            .unwrap();
        for completion in groups.iter().flat_map(|group| &group.completions) {
            assert_eq!(completion.stop, StopReason::Eos);
            assert!(
                words.contains(&completion.text.as_str()),
                "{}",
                completion.text
            );
        }
        let different: std::collections::BTreeSet<_> =
            groups[0].completions.iter().map(|c| &c.text).collect();
        assert!(different.len() > 1, "64 samples are all alike");

        let features = FeatureStore::new(4);
        let scores =
            score_choices(&base.model, Some(&features), &requests[0].input, &choices).unwrap();
        assert!((scores.probabilities(1.0).iter().sum::<f64>() - 1.0).abs() < 1e-9);
        // What was sampled has the log-probability that scoring gives it.
        for completion in &groups[0].completions {
            let index = words
                .iter()
                .position(|word| *word == completion.text)
                .unwrap();
            let sampled: f32 = completion.logprobs.iter().sum();
            // Scores count every end token, a sample ends with one of them.
            let score = scores.logps[index];
            let text: f32 = completion.logprobs[..completion.logprobs.len() - 1]
                .iter()
                .sum();
            assert!(
                sampled <= score + 1e-4 && score <= text + 1e-4,
                "{sampled} {scores:?}"
            );
            assert_eq!(scores.lengths[index], completion.tokens.len());
        }
        let asked: Vec<_> = requests.iter().map(|r| (&*r.input, &*choices)).collect();
        let all = score_choices_of_all(&base.model, Some(&features), &asked).unwrap();
        assert_eq!(all.len(), requests.len());
        for (scores, (input, choices)) in all.iter().zip(asked) {
            let alone = score_choices(&base.model, Some(&features), input, choices).unwrap();
            assert_eq!(scores.lengths, alone.lengths);
            for (a, b) in scores.logps.iter().zip(&alone.logps) {
                assert!((a - b).abs() < 1e-4, "{scores:?} {alone:?}");
            }
        }
        let best = scores.best().unwrap();
        assert!(fit_temperature(std::slice::from_ref(&scores), &[best]) < 0.02);
    }
    let tokenizer = load(&models()[0]).encoder.tokenizer().clone();
    assert!(TokenChoices::new(&tokenizer, &[] as &[&str]).is_err());
    assert!(TokenChoices::new(&tokenizer, &["cat", ""]).is_err());
}
