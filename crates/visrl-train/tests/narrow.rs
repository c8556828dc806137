//! Policies with bf16 and f64 parameters: what they learn is what the same policy learns in f32, up
//! to the rounding of their own computation, and they go on where they stopped.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::{DType, Tensor};
use common::{GroupShape, device, group, models, rng};
use visrl_grpo::{GrpoLoss, SharedOptions};
use visrl_train::{LearnGroup, Learner, LearnerConfig};
use visrl_vlm::{FeatureStore, ParamDtype, QwenVl, QwenVlConfig, SafetensorsDir, visit_parameters};

fn learner(dtype: ParamDtype) -> Learner<QwenVl> {
    let dir = &models()[0];
    let config = QwenVlConfig::from_dir(dir).unwrap();
    let mut weights = SafetensorsDir::open(dir).unwrap();
    let model = QwenVl::with_dtype(config, &mut weights, &device(), dtype).unwrap();
    let loss = GrpoLoss {
        terms: SharedOptions {
            entropy_coef: 0.01,
            ..SharedOptions::default()
        },
        ..GrpoLoss::default()
    };
    let features = Arc::new(FeatureStore::new(0));
    Learner::new(model, Box::new(loss), features, LearnerConfig::default())
}

fn groups(model: &QwenVl) -> Vec<LearnGroup> {
    let mut draw = rng(5);
    let shape = GroupShape {
        text: 8,
        images: vec![[2, 2]],
        completions: vec![5, 3, 4],
    };
    (0..2).map(|_| group(model, &shape, &mut draw)).collect()
}

fn numbers(tensor: Tensor<1>) -> Vec<f64> {
    let values: Vec<f32> = tensor.cast(DType::F32).try_into_vec_as().unwrap();
    values.into_iter().map(f64::from).collect()
}

fn parameters(learner: &Learner<QwenVl>) -> BTreeMap<String, (DType, Vec<f64>)> {
    let mut found = BTreeMap::new();
    visit_parameters(learner.model(), |p| {
        let dtype = p.values.dtype();
        found.insert(p.name, (dtype, numbers(p.values.without_autodiff())));
    });
    found
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE)
}

#[test]
fn bf16_parameters_learn_what_f32_parameters_learn() {
    let [mut wide, mut narrow] = [ParamDtype::F32, ParamDtype::Bf16].map(learner);
    let groups = groups(wide.model());
    let flat = |learner: &Learner<QwenVl>| {
        let (loss, gradients) = learner.gradients(&groups, None).unwrap();
        assert!(gradients.iter().all(|(_, g)| g.dtype() == DType::F32));
        let all: Vec<f64> = gradients
            .iter()
            .flat_map(|(_, g)| numbers(g.clone()))
            .collect();
        (loss, all)
    };
    let ((loss, gradient), (found, rounded)) = (flat(&wide), flat(&narrow));
    assert!((loss - found).abs() < 0.05, "{loss} {found}");
    let cosine = cosine(&gradient, &rounded);
    assert!(cosine > 0.95, "cosine {cosine}");

    let before = parameters(&narrow);
    for _ in 0..80 {
        wide.update(&groups, 1e-4).unwrap();
        let report = narrow.update(&groups, 1e-4).unwrap();
        assert!(report.loss.is_finite() && report.metrics.kl().unwrap() >= 0.0);
    }
    let (wide, narrow) = (parameters(&wide), parameters(&narrow));
    let mut moved = (0, 0);
    for (name, (dtype, values)) in &narrow {
        assert_eq!(*dtype, DType::BF16, "{name}");
        // Above 1 bf16 is spaced by 2^-7, 78 steps of 1e-4: only a master copy gets away.
        if name.ends_with("norm.weight") {
            let steps = values.iter().zip(&before[name].1).zip(&wide[name].1);
            for ((after, before), wide) in steps {
                moved.0 += usize::from((wide - before).abs() > 5e-3);
                moved.1 += usize::from((wide - before).abs() > 5e-3 && after != before);
            }
        }
    }
    // Both policies find their own ways, so not all move; without the copy none would.
    assert!(moved.0 > 20 && moved.1 * 3 > moved.0, "{moved:?}");
}

#[test]
fn f64_parameters_learn_what_f32_parameters_learn() {
    let [mut single, mut double] = [ParamDtype::F32, ParamDtype::F64].map(learner);
    let groups = groups(single.model());
    let before = parameters(&double);
    for _ in 0..4 {
        let loss = single.update(&groups, 1e-4).unwrap().loss;
        let found = double.update(&groups, 1e-4).unwrap().loss;
        assert!((loss - found).abs() < 1e-4, "{loss} {found}");
    }
    let (single, double) = (parameters(&single), parameters(&double));
    let step = |after: &[f64], name: &str| -> Vec<f64> {
        let before = &before[name].1;
        after.iter().zip(before).map(|(a, b)| a - b).collect()
    };
    let flat = |all: &BTreeMap<String, (DType, Vec<f64>)>| -> Vec<f64> {
        all.iter()
            .flat_map(|(name, (_, values))| step(values, name))
            .collect()
    };
    assert!(double.values().all(|(dtype, _)| *dtype == DType::F64));
    let cosine = cosine(&flat(&single), &flat(&double));
    assert!(cosine > 0.99, "cosine {cosine}");
}

#[test]
fn a_policy_of_any_format_goes_on_where_it_stopped() {
    for (dtype, exact) in [
        (ParamDtype::F32, true),
        (ParamDtype::Bf16, true),
        (ParamDtype::F64, false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut whole = learner(dtype);
        let groups = groups(whole.model());
        whole.update(&groups, 1e-3).unwrap();
        let state = whole.save_state(dir.path()).unwrap();
        let mut resumed = learner(dtype);
        resumed.restore_state(dir.path(), &state).unwrap();
        for _ in 0..2 {
            for learner in [&mut whole, &mut resumed] {
                learner.update(&groups, 1e-3).unwrap();
            }
        }
        let (whole, resumed) = (parameters(&whole), parameters(&resumed));
        for (name, (format, values)) in &whole {
            assert_eq!(
                (*format, resumed[name].0),
                (dtype.into(), dtype.into()),
                "{name}"
            );
            let apart = values
                .iter()
                .zip(&resumed[name].1)
                .map(|(a, b)| (a - b).abs());
            let apart = apart.fold(0.0, f64::max);
            assert!(
                apart <= if exact { 0.0 } else { 1e-4 },
                "{dtype:?} {name}: {apart}"
            );
        }
    }
}
