//! The policy that the KL term compares with: under adapters, over a run, and when there is none.

mod common;

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use common::{GroupShape, device, group, models, rng};
use visrl_grpo::{BetaSchedule, GrpoLoss, ReferenceRefresh, SharedOptions};
use visrl_train::{LearnGroup, Learner, LearnerConfig, LogProbs, ReferencePolicy, TokenGroup};
use visrl_vlm::{
    FeatureStore, LoraConfig, QwenVl, Trainable, VisionLanguageModel, attach_lora,
    visit_parameters, without_lora,
};

fn base() -> QwenVl {
    QwenVl::from_dir(&models()[0], &device()).unwrap()
}

/// The base with adapters that change its output.
fn adapted() -> QwenVl {
    let mut noise = rng(1);
    let mut model = attach_lora(base(), &LoraConfig::default(), rng(2)).unwrap();
    model.each_linear(&mut |_, dense| {
        if let Some(mut adapter) = dense.adapter() {
            let [rank, out] = adapter.b.dims();
            let values = (0..rank * out).map(|_| 0.05 * noise.normal() as f32);
            let values = TensorData::new(values.collect::<Vec<f32>>(), [rank, out]);
            adapter.b = Tensor::from_data(values, &adapter.b.device());
            dense.set_adapter(Some(adapter));
        }
    });
    model
}

/// Completions of one length, so that means over tokens and over rows are the same.
fn groups(model: &QwenVl) -> Vec<LearnGroup> {
    let mut draw = rng(3);
    let shape = GroupShape {
        text: 6,
        images: vec![[1, 2]],
        completions: vec![4; 3],
    };
    (0..2).map(|_| group(model, &shape, &mut draw)).collect()
}

fn tokens(groups: &[LearnGroup]) -> Vec<TokenGroup> {
    groups.iter().map(|group| group.tokens.clone()).collect()
}

fn learner(model: QwenVl, terms: SharedOptions, config: LearnerConfig) -> Learner<QwenVl> {
    let loss = GrpoLoss {
        terms,
        ..GrpoLoss::default()
    };
    Learner::new(
        model,
        Box::new(loss),
        Arc::new(FeatureStore::new(0)),
        config,
    )
}

fn flat(scores: LogProbs) -> Vec<f32> {
    scores.logps.into_values()
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn with(reference: ReferencePolicy, refresh: ReferenceRefresh) -> LearnerConfig {
    LearnerConfig {
        reference,
        reference_refresh: refresh,
        ..LearnerConfig::default()
    }
}

#[test]
fn under_adapters_the_reference_is_the_base_or_the_start() {
    let model = adapted();
    let groups = groups(&model);
    let tokens = tokens(&groups);
    let never = ReferenceRefresh::default();
    let score = |model: QwenVl| {
        let alone = learner(model, SharedOptions::default(), LearnerConfig::default());
        flat(alone.log_probs(&tokens).unwrap())
    };
    let (of_base, of_start) = (score(base()), score(model.clone()));
    assert!(furthest(&of_base, &of_start) > 1e-2);
    for (reference, expected) in [
        (ReferencePolicy::Base, &of_base),
        (ReferencePolicy::Snapshot, &of_start),
    ] {
        let config = with(reference, never);
        let mut learner = learner(model.clone(), SharedOptions::default(), config);
        for _ in 0..2 {
            learner.update(&groups, 1e-2).unwrap();
        }
        let scored = learner.reference_log_probs(&tokens).unwrap().unwrap();
        assert_eq!(&flat(scored), expected, "{reference:?}");
        let policy = flat(learner.log_probs(&tokens).unwrap());
        assert!(furthest(&policy, expected) > 1e-2);
    }
}

#[test]
fn training_adapters_leaves_the_base_alone() {
    let model = adapted();
    let groups = groups(&model);
    let mut learner = learner(model, SharedOptions::default(), LearnerConfig::default());
    learner.update(&groups, 1e-2).unwrap();
    let mut before = std::collections::BTreeMap::new();
    let values = |tensor: Tensor<1>| -> Vec<f32> { tensor.try_into_vec_as().unwrap() };
    visit_parameters(&base(), |p| {
        before.insert(p.name, values(p.values));
    });
    let mut compared = 0;
    visit_parameters(&without_lora(learner.into_model()), |p| {
        assert_eq!(values(p.values), before[&p.name], "{}", p.name);
        compared += 1;
    });
    assert_eq!(compared, before.len());
}

#[test]
fn without_a_kl_term_there_is_no_reference() {
    let model = base();
    let groups = groups(&model);
    let off = SharedOptions {
        beta: 0.0,
        ..SharedOptions::default()
    };
    let mut learner = learner(model, off, LearnerConfig::default());
    assert!(
        learner
            .reference_log_probs(&tokens(&groups))
            .unwrap()
            .is_none()
    );
    let report = learner.update(&groups, 1e-4).unwrap();
    assert_eq!(report.metrics.kl(), None);
}

#[test]
fn the_reference_follows_on_time() {
    let model = base();
    let groups = groups(&model);
    let tokens = tokens(&groups);
    let refresh = ReferenceRefresh {
        every: Some(2),
        ..ReferenceRefresh::default()
    };
    let config = with(ReferencePolicy::Base, refresh);
    let mut learner = learner(model, SharedOptions::default(), config);
    let mut expected = flat(learner.log_probs(&tokens).unwrap());
    for update in 1..=5 {
        learner.update(&groups, 1e-3).unwrap();
        let policy = flat(learner.log_probs(&tokens).unwrap());
        assert!(furthest(&policy, &expected) > 1e-4);
        if update % 2 == 0 {
            expected = policy;
        }
        let scored = learner.reference_log_probs(&tokens).unwrap().unwrap();
        assert_eq!(flat(scored), expected, "update {update}");
    }
}

#[test]
fn a_mixed_reference_lies_between_and_adapters_mix_only_with_adapters() {
    let half = ReferenceRefresh {
        every: Some(1),
        mix: BetaSchedule::Constant { value: 0.5 },
    };
    let model = adapted();
    let groups = groups(&model);
    let tokens = tokens(&groups);
    let config = with(ReferencePolicy::Snapshot, half);
    let mut mixed = learner(model.clone(), SharedOptions::default(), config);
    let start = flat(mixed.log_probs(&tokens).unwrap());
    mixed.update(&groups, 1e-3).unwrap();
    let policy = flat(mixed.log_probs(&tokens).unwrap());
    let reference = flat(mixed.reference_log_probs(&tokens).unwrap().unwrap());
    let middle: Vec<f32> = start
        .iter()
        .zip(&policy)
        .map(|(a, b)| 0.5 * (a + b))
        .collect();
    assert!(furthest(&reference, &middle) < 0.2 * furthest(&start, &policy));

    let mut refused = learner(
        model,
        SharedOptions::default(),
        with(ReferencePolicy::Base, half),
    );
    let error = refused.update(&groups, 1e-3).unwrap_err().to_string();
    assert!(error.contains("reference_refresh.mix"), "{error}");
    assert_eq!(flat(refused.log_probs(&tokens).unwrap()), start);
}

#[test]
fn beta_follows_its_schedule_from_update_to_update() {
    let model = adapted();
    let mut groups = groups(&model);
    for group in &mut groups {
        group.advantages.fill(0.0);
    }
    let terms = SharedOptions {
        beta_schedule: Some(BetaSchedule::Linear {
            start: 0.4,
            end: 0.0,
            steps: 4,
        }),
        ..SharedOptions::default()
    };
    let mut learner = learner(model, terms, LearnerConfig::default());
    for beta in [0.4, 0.3, 0.2, 0.1] {
        let report = learner.update(&groups, 0.0).unwrap();
        let kl = report.metrics.kl().unwrap();
        assert!(
            kl > 1e-4 && (report.loss - beta * kl).abs() < 1e-6,
            "{beta}: {report:?}"
        );
        assert_eq!(report.effective_groups, 0);
    }
    let report = learner.update(&groups, 0.0).unwrap();
    assert_eq!((report.loss, report.metrics.kl()), (0.0, None));
}

#[test]
fn settings_survive_a_file() {
    let text = r#"{"reference": "snapshot", "reference_refresh": {"every": 10},
        "trainable": {"vision_tower": false, "merger": false}, "shared_prefix": false,
        "parameter_groups": [{"names": "lora_B", "learning_rate": 16.0}]}"#;
    let config: LearnerConfig = serde_json::from_str(text).unwrap();
    assert_eq!(config.reference, ReferencePolicy::Snapshot);
    assert_eq!(config.trainable, Trainable::language_model());
    let again = serde_json::to_string(&config).unwrap();
    assert_eq!(
        serde_json::from_str::<LearnerConfig>(&again).unwrap(),
        config
    );
}
