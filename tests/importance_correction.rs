//! The correction for another sampler: of the engine that samples with the learner's own weights it
//! is 1, and a run file may ask for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use visrl::RunConfig;
use visrl::core::{Domain, ImageSource, Prompt, SeedStream};
use visrl::grpo::{CorrectionMode, GrpoLoss, ImportanceCorrection, LossMetrics, SharedOptions};
use visrl::rollout::{EngineConfig, GroupRequest, NativeEngine, RolloutEngine, SamplingParams};
use visrl::train::{LearnGroup, Learner, LearnerConfig, StepMetrics};
use visrl::vlm::{FeatureStore, Pretrained, QwenVl};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
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

/// Groups that the native engine samples, every advantage 1.
fn sampled(base: &Pretrained<QwenVl>) -> Vec<LearnGroup> {
    let questions = ["What is this?", "What type of object is in the photo?"];
    let sizes = [(56, 56), (84, 28)];
    let prompts: Vec<_> = questions
        .into_iter()
        .zip(sizes)
        .map(|(question, (width, height))| {
            Arc::new(Prompt::user(question, picture(width, height), question))
        })
        .collect();
    let inputs = base.encoder.encode_all(&base.model, &prompts).unwrap();
    let requests: Vec<_> = prompts
        .into_iter()
        .zip(&inputs)
        .zip(0u32..)
        .map(|((prompt, input), index)| GroupRequest {
            num_generations: 4,
            sampling: SamplingParams {
                max_new_tokens: 16,
                ..SamplingParams::default()
            },
            index,
            ..GroupRequest::new(
                prompt,
                Arc::clone(input),
                SeedStream::new(1, Domain::Sampling),
            )
        })
        .collect();
    let tokenizer = Arc::clone(base.encoder.tokenizer());
    let features = Arc::new(FeatureStore::new(16));
    let mut engine = NativeEngine::new(&base.model, tokenizer, features, EngineConfig::default());
    let groups = engine.generate(&requests).unwrap();
    groups
        .into_iter()
        .zip(inputs)
        .map(|(group, input)| {
            let advantages = vec![1.0; group.len()];
            LearnGroup::sampled(input, group, advantages)
        })
        .collect()
}

/// What a loss with one ratio per token sees in an update that changes nothing.
fn metrics(base: &Pretrained<QwenVl>, groups: &[LearnGroup]) -> LossMetrics {
    let loss = GrpoLoss {
        terms: SharedOptions {
            beta: 0.0,
            importance_correction: Some(ImportanceCorrection {
                mode: CorrectionMode::TokenTruncate,
                ..ImportanceCorrection::default()
            }),
            ..SharedOptions::default()
        },
        ..GrpoLoss::default()
    };
    let features = Arc::new(FeatureStore::new(16));
    let config = LearnerConfig::default();
    let mut learner = Learner::new(base.model.clone(), Box::new(loss), features, config);
    learner.update(groups, 0.0).unwrap().metrics
}

#[test]
fn the_engine_s_correction_is_1_at_learning_rate_0() {
    let base = Pretrained::load(root().join("assets/base"), &Device::flex()).unwrap();
    let mut groups = sampled(&base);
    let found = metrics(&base, &groups);
    for of in ["mean", "min", "max"] {
        let ratio = found.get(&format!("correction/{of}")).unwrap();
        assert!((ratio - 1.0).abs() <= 1e-5, "{of}: {ratio}");
    }
    // Advantages of 1 make the loss minus the mean of the ratios.
    assert!((found.policy_loss + 1.0).abs() <= 1e-5, "{found:?}");
    // A sampler that found every token twice as likely is corrected by a half.
    for group in &mut groups {
        let logps = group.sampler_logps.as_mut().unwrap();
        let shift = std::f32::consts::LN_2;
        logps
            .values_mut()
            .iter_mut()
            .for_each(|logp| *logp += shift);
    }
    let found = metrics(&base, &groups);
    assert!((found.policy_loss + 0.5).abs() <= 1e-5, "{found:?}");
}

#[test]
fn a_run_file_with_a_correction_trains() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        r#"
        recipe = "no_thinking_rl"

        [model]
        path = '{}'

        [data]
        shots = 1
        source = {{ kind = "drawn_shapes" }}

        [fine_tune]
        steps = 2
        prompts_per_step = 2
        num_generations = 4
        test_per_class = 1
        samples = 0
        out = '{}'

        [fine_tune.loss.terms.importance_correction]
        mode = "token_truncate"
        "#,
        root().join("assets/base").display(),
        dir.path().display()
    );
    let run = RunConfig::from_toml(&text).unwrap();
    assert_eq!(run.run().unwrap().steps, 2);
    let lines = std::fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
    let steps: Vec<StepMetrics> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(steps.len(), 2);
    for step in steps {
        let ratio = step.loss_metrics["correction/mean"];
        assert!((ratio - 1.0).abs() <= 1e-4, "{ratio}");
    }
}
