//! Sampler and learner are one model: with nothing learnt, the learner's log-probabilities are the
//! sampler's; and a group does not depend on the groups beside it.

#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use visrl::core::{Domain, Group, ImageSource, Prompt, SeedStream};
use visrl::grpo::{GrpoLoss, SharedOptions};
use visrl::rollout::{
    EngineConfig, GroupRequest, NativeEngine, PolicySync, RolloutEngine, SamplingParams,
};
use visrl::train::{LearnGroup, Learner, LearnerConfig, TokenGroup};
use visrl::vlm::{FeatureStore, Pretrained, QwenVl, Trainable};

/// The models of the fixtures folder, `VISRL_FIXTURES` or the vendored one.
fn fixtures() -> Vec<PathBuf> {
    let root = visrl_testing::fixtures();
    let entries = std::fs::read_dir(root.join("models")).unwrap();
    let mut models: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    models.retain(|dir| dir.join("config.json").exists() && dir.join("tokenizer.json").exists());
    models.sort();
    assert!(!models.is_empty(), "no models in {root:?}");
    models
}

fn picture(width: u32, height: u32) -> ImageSource {
    let pixels: Vec<u8> = (0..width * height * 3)
        .map(|i| (i * 37 % 251) as u8)
        .collect();
    ImageSource::Rgb {
        name: "picture".into(),
        width,
        height,
        pixels: pixels.into(),
    }
}

fn embedded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/base")
}

struct Setup {
    base: Pretrained<QwenVl>,
    requests: Vec<GroupRequest>,
}

/// Prompts of different lengths and image sizes, groups of different sizes, one without an image.
fn setup(model: &Path, sampling: &SamplingParams) -> Setup {
    let base = Pretrained::<QwenVl>::load(model, &Device::flex()).unwrap();
    let text_only = Prompt {
        id: "text".into(),
        messages: vec![visrl::core::Message {
            role: visrl::core::Role::User,
            content: vec![visrl::core::Content::Text("What is a leopard?".into())],
        }],
    };
    let prompts = [
        (Prompt::user("a", picture(56, 56), "What is this?"), 3),
        (
            Prompt::user("b", picture(84, 28), "What type of animal is in the photo?"),
            4,
        ),
        (Prompt::user("c", picture(56, 56), "What is that?"), 3),
        (text_only, 2),
        (Prompt::user("d", picture(140, 56), "Name it."), 1),
    ];
    let requests = prompts
        .into_iter()
        .zip(0u32..)
        .map(|((prompt, num_generations), index)| {
            let prompt = Arc::new(prompt);
            let inputs = base
                .encoder
                .encode_all(&base.model, std::slice::from_ref(&prompt))
                .unwrap();
            GroupRequest {
                prompt,
                input: Arc::clone(&inputs[0]),
                num_generations,
                sampling: sampling.clone(),
                stream: SeedStream::new(1, Domain::Sampling),
                step: 3,
                index,
                choices: None,
                cancel: Default::default(),
            }
        })
        .collect();
    Setup { base, requests }
}

fn engine(base: &Pretrained<QwenVl>, config: EngineConfig) -> NativeEngine<QwenVl> {
    let tokenizer = Arc::clone(base.encoder.tokenizer());
    NativeEngine::new(
        &base.model,
        tokenizer,
        Arc::new(FeatureStore::new(16)),
        config,
    )
}

fn learn_groups(requests: &[GroupRequest], groups: &[Group]) -> Vec<LearnGroup> {
    requests
        .iter()
        .zip(groups)
        .map(|(request, group)| LearnGroup {
            tokens: TokenGroup {
                input: Arc::clone(&request.input),
                completions: group.completions.iter().map(|c| c.tokens.clone()).collect(),
            },
            advantages: (0..group.len()).map(|i| i as f32 - 0.5).collect(),
            truncated: vec![false; group.len()],
            sampler_logps: Some(
                group
                    .completions
                    .iter()
                    .map(|c| c.logprobs.clone())
                    .collect(),
            ),
        })
        .collect()
}

#[test]
fn the_learner_s_log_probabilities_are_the_sampler_s_at_learning_rate_0() {
    // The tiny model hardly ever ends by itself; the embedded one ends its answers early.
    for model in fixtures().into_iter().chain([embedded()]) {
        agree(&model);
    }
}

fn agree(model: &Path) {
    let sampling = SamplingParams {
        max_new_tokens: 24,
        top_k: 0,
        ..Default::default()
    };
    let Setup { base, mut requests } = setup(model, &sampling);
    for (request, shorter) in requests.iter_mut().zip([0, 15, 7, 21, 3]) {
        request.sampling.max_new_tokens -= shorter;
    }
    let mut engine = engine(&base, EngineConfig::default());
    let groups = engine.generate(&requests).unwrap();
    let lengths: Vec<usize> = groups
        .iter()
        .flat_map(|g| &g.completions)
        .map(|c| c.tokens.len())
        .collect();
    assert!(
        lengths.iter().any(|&len| len != lengths[0]),
        "completions are ragged: {lengths:?}"
    );
    println!("{}: completions of {lengths:?} tokens", model.display());
    for trainable in [Trainable::default(), Trainable::language_model()] {
        let loss = GrpoLoss {
            terms: SharedOptions {
                beta: 0.04,
                ..SharedOptions::default()
            },
            ..Default::default()
        };
        let config = LearnerConfig {
            trainable,
            ..LearnerConfig::default()
        };
        let features = Arc::new(FeatureStore::new(16));
        let mut learner = Learner::new(base.model.clone(), Box::new(loss), features, config);
        let learn = learn_groups(&requests, &groups);
        let tokens: Vec<_> = learn.iter().map(|group| group.tokens.clone()).collect();
        for round in 0..2 {
            let scores = learner.log_probs(&tokens).unwrap().logps;
            let mut worst = 0.0f32;
            let completions = groups.iter().flat_map(|group| &group.completions);
            assert_eq!(scores.rows(), completions.clone().count());
            for (completion, scores) in completions.zip(scores.iter()) {
                assert_eq!(completion.logprobs.len(), scores.len());
                for (a, b) in completion.logprobs.iter().zip(scores) {
                    worst = worst.max((a - b).abs());
                }
            }
            println!("{trainable:?}, round {round}: worst difference {worst:e}");
            assert!(worst <= 1e-5, "{worst}");
            // An update at learning rate 0 changes nothing.
            let report = learner.update(&learn, 0.0).unwrap();
            assert!(report.grad_norm > 0.0);
        }
        // An update at another rate does.
        learner.update(&learn, 1e-2).unwrap();
        let moved = learner.log_probs(&tokens).unwrap().logps;
        assert!((moved.values()[0] - groups[0].completions[0].logprobs[0]).abs() > 1e-4);
        engine.set_policy(learner.model()).unwrap();
        assert_ne!(
            engine.generate(&requests).unwrap(),
            groups,
            "the engine follows the policy"
        );
        engine.set_policy(&base.model).unwrap();
    }
}

#[test]
fn a_group_does_not_depend_on_the_groups_beside_it() {
    let sampling = SamplingParams {
        max_new_tokens: 16,
        ..Default::default()
    };
    let Setup { base, requests } = setup(&fixtures()[0], &sampling);
    let together = engine(&base, EngineConfig::default())
        .generate(&requests)
        .unwrap();
    let small = EngineConfig {
        max_sequences: 1,
        max_prefill_tokens: 1,
        ..EngineConfig::default()
    };
    let alone = engine(&base, small).generate(&requests).unwrap();
    let reversed: Vec<_> = requests.iter().rev().cloned().collect();
    let mut backwards = engine(&base, EngineConfig::default())
        .generate(&reversed)
        .unwrap();
    backwards.reverse();
    for (index, group) in together.iter().enumerate() {
        assert_eq!(group.len(), requests[index].num_generations);
        for other in [&alone[index], &backwards[index]] {
            let tokens = |group: &Group| -> Vec<Vec<u32>> {
                group.completions.iter().map(|c| c.tokens.clone()).collect()
            };
            assert_eq!(tokens(group), tokens(other), "group {index}");
        }
    }
}

#[test]
fn the_result_does_not_depend_on_how_a_batch_is_cut() {
    let sampling = SamplingParams {
        max_new_tokens: 12,
        ..Default::default()
    };
    let Setup { base, requests } = setup(&fixtures()[0], &sampling);
    let groups = engine(&base, EngineConfig::default())
        .generate(&requests)
        .unwrap();
    let learn = learn_groups(&requests, &groups);
    let gradients = |micro_batch_groups| {
        let config = LearnerConfig {
            micro_batch_groups,
            ..LearnerConfig::default()
        };
        let features = Arc::new(FeatureStore::new(0));
        let loss = Box::new(GrpoLoss::default());
        Learner::new(base.model.clone(), loss, features, config)
            .gradients(&learn, None)
            .unwrap()
    };
    let (whole_loss, whole) = gradients(0);
    for size in [1, 2] {
        let (loss, parts) = gradients(size);
        assert!((loss - whole_loss).abs() < 1e-6, "{loss} {whole_loss}");
        for (name, expected) in whole.iter() {
            let found = parts.get(name).unwrap().clone();
            let norm = |t: burn::tensor::Tensor<1>| t.square().sum().into_scalar::<f32>().sqrt();
            let error = norm(found - expected.clone()) / norm(expected.clone()).max(1e-6);
            assert!(
                error < 1e-4,
                "{name}: relative L2 {error} in pieces of {size}"
            );
        }
    }
}
