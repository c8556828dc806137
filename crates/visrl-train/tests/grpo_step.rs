//! One GRPO step against PyTorch's numbers, for every model of the fixtures folder: log-probs,
//! loss, gradients, and the state after one and two AdamW steps.

#![allow(clippy::print_stdout)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use common::{device, distance, fixtures};
use safetensors::SafeTensors;
use serde_json::Value;
use visrl_core::TokenRows;
use visrl_core::{Domain, SeedStream};
use visrl_grpo::{GrpoLoss, PolicyLoss, SharedOptions};
use visrl_testing::numbers;
use visrl_train::{AdamWSettings, LearnGroup, Learner, LearnerConfig, TokenGroup};
use visrl_vlm::{
    Adapter, FeatureStore, LoraConfig, ModelInput, ProcessedImage, QwenVl, TargetModules,
    VisionLanguageModel, attach_lora, merge_lora, visit_parameters,
};

/// The largest differences found, by what was compared.
#[derive(Default)]
struct Worst(BTreeMap<&'static str, f64>);

impl Worst {
    /// Asserts that a difference is at most the tolerance.
    fn hold(&mut self, what: &'static str, difference: f64, limit: f64, label: &str) {
        let largest = self.0.entry(what).or_default();
        *largest = largest.max(difference);
        assert!(
            difference <= limit,
            "{label}: {what} differs by {difference}"
        );
    }
}

struct Case {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
    json: Value,
}

impl Case {
    fn open(dir: &Path) -> Option<Self> {
        let bytes = fs::read(dir.join("grpo_step.safetensors")).ok()?;
        let json = fs::read_to_string(dir.join("grpo_step.json")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.names().into_iter();
        let tensors = tensors.map(|name| (name.to_owned(), numbers(&file, name).unwrap()));
        Some(Self {
            tensors: tensors.collect(),
            json: serde_json::from_str(&json).unwrap(),
        })
    }

    fn get(&self, name: &str) -> &(Vec<usize>, Vec<f64>) {
        &self.tensors[name]
    }

    fn number(&self, path: &str) -> f64 {
        self.json.pointer(path).and_then(Value::as_f64).unwrap()
    }

    /// Values that belong to completion tokens, one row per completion, group by group.
    fn ragged(&self, name: &str) -> TokenRows<f32> {
        let (shape, mask) = self.get("completion_mask");
        let (rows, len) = (shape[0], shape[1]);
        let (_, values) = self.get(name);
        let row = |row: usize| {
            let range = row * len..(row + 1) * len;
            let kept = mask[range.clone()]
                .iter()
                .zip(&values[range])
                .filter(|(m, _)| **m == 1.0);
            kept.map(|(_, &value)| value as f32)
        };
        (0..rows).map(row).collect()
    }
}

fn groups(case: &Case, model: &QwenVl) -> Vec<LearnGroup> {
    let (shape, ids) = case.get("prompt_ids");
    let (count, padded) = (shape[0], shape[1]);
    let (mask_shape, mask) = case.get("attention_mask");
    let size = case.number("/G") as usize;
    let (_, grids) = case.get("image_grid_thw");
    let (pixel_shape, pixels) = case.get("pixel_values");
    let mut grids = grids
        .as_chunks::<3>()
        .0
        .iter()
        .map(|g| g.map(|x| x as usize));
    let mut pixels = pixels.as_slice();
    let completions = case.ragged("completion_ids");
    let (_, advantages) = case.get("advantages");
    (0..count)
        .map(|index| {
            let mask = &mask[index * size * mask_shape[1]..][..padded];
            let start = mask.iter().position(|&m| m == 1.0).unwrap();
            let ids: Vec<u32> = ids[index * padded + start..(index + 1) * padded]
                .iter()
                .map(|&i| i as u32)
                .collect();
            let mut left = ids
                .iter()
                .filter(|&&id| id == model.info().image_token_id)
                .count();
            let (mut images, mut own_grids) = (Vec::new(), Vec::new());
            while left > 0 {
                let grid = grids.next().unwrap();
                left -= model.image_tokens(grid);
                let (own, rest) = pixels.split_at(grid.iter().product::<usize>() * pixel_shape[1]);
                pixels = rest;
                let own = own.iter().map(|&x| x as f32).collect();
                images.push(Arc::new(ProcessedImage::new(own, grid)));
                own_grids.push(grid);
            }
            let positions = model.positions(&ids, &own_grids).unwrap();
            let completions = (index * size..(index + 1) * size)
                .map(|row| completions.row(row).iter().map(|&id| id as u32))
                .collect();
            LearnGroup {
                tokens: TokenGroup {
                    input: Arc::new(ModelInput {
                        ids,
                        images,
                        positions,
                    }),
                    completions,
                },
                advantages: advantages[index * size..][..size]
                    .iter()
                    .map(|&a| a as f32)
                    .collect(),
                truncated: vec![false; size],
                sampler_logps: None,
            }
        })
        .collect()
}

fn relative_l2(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let difference: f64 = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (f64::from(*a) - b).powi(2))
        .sum();
    (difference / expected.iter().map(|x| x * x).sum::<f64>().max(1e-30)).sqrt()
}

/// A flattened `[in, out]` matrix as `[out, in]`.
fn turn(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let (rows, columns) = (shape[0], shape[1]);
    (0..columns)
        .flat_map(|c| (0..rows).map(move |r| values[r * columns + c]))
        .collect()
}

fn hub_name(name: &str) -> String {
    name.replacen("model.language_model.", "model.", 1)
        .replacen("model.visual.", "visual.", 1)
}

fn check_logps(
    label: &str,
    learner: &Learner<QwenVl>,
    case: &Case,
    groups: &[LearnGroup],
    key: &'static str,
    limit: f64,
    worst: &mut Worst,
) {
    let tokens: Vec<_> = groups.iter().map(|group| group.tokens.clone()).collect();
    let found = learner.log_probs(&tokens).unwrap().logps;
    let expected = case.ragged(key);
    assert_eq!(found.ends(), expected.ends());
    for (a, b) in found.values().iter().zip(expected.values()) {
        worst.hold(key, f64::from((a - b).abs()), limit, label);
    }
}

fn check(label: &str, case: &Case, dir: &Path, config: &LearnerConfig, worst: &mut Worst) {
    let device = device();
    let model = QwenVl::from_dir(dir, &device).unwrap();
    let groups = groups(case, &model);
    let float = |path: &str| case.number(path) as f32;
    let adamw = AdamWSettings {
        betas: [float("/adamw/betas/0"), float("/adamw/betas/1")],
        epsilon: float("/adamw/eps"),
        weight_decay: float("/adamw/weight_decay"),
    };
    let max_grad_norm = case.number("/adamw/max_grad_norm");
    let config = LearnerConfig {
        adamw,
        max_grad_norm,
        ..config.clone()
    };
    let terms = SharedOptions {
        beta: case.number("/beta"),
        ..SharedOptions::default()
    };
    let loss: Box<dyn PolicyLoss<f32>> = Box::new(GrpoLoss {
        terms,
        ..GrpoLoss::default()
    });
    let mut learner = Learner::new(model, loss, Arc::new(FeatureStore::new(0)), config);
    check_logps(
        label,
        &learner,
        case,
        &groups,
        "per_token_logps",
        5e-5,
        worst,
    );

    let reference = case.ragged("ref_per_token_logps");
    let (loss, gradients) = learner.gradients(&groups, Some(&reference)).unwrap();
    let expected = case.number("/loss");
    let difference = (loss - expected).abs() / expected.abs().max(1.0);
    worst.hold("loss", difference, 1e-5, label);
    let mut shapes = BTreeMap::new();
    visit_parameters(learner.model(), |p| {
        shapes.insert(p.name, (p.shape, p.transposed));
    });
    let (mut norms, mut tensors) = (0, 0);
    for (name, norm) in case.json["grad_norms"].as_object().unwrap() {
        let name = hub_name(name);
        let gradient = gradients
            .get(&name)
            .unwrap_or_else(|| panic!("{label}: no {name}"));
        let values: Vec<f32> = gradient.clone().try_into_vec_as().unwrap();
        let found = values
            .iter()
            .map(|x| f64::from(*x).powi(2))
            .sum::<f64>()
            .sqrt();
        let norm = norm.as_f64().unwrap();
        let difference = (found - norm).abs() / norm.max(1e-4);
        worst.hold(
            "gradient norm",
            difference,
            1e-4,
            &format!("{label} {name}"),
        );
        norms += 1;
    }
    assert_eq!(
        norms,
        gradients.iter().count(),
        "{label}: gradients without a reference"
    );
    for (key, (_, expected)) in &case.tensors {
        let Some(name) = key.strip_prefix("grad.").map(hub_name) else {
            continue;
        };
        let values: Vec<f32> = gradients
            .get(&name)
            .unwrap()
            .clone()
            .try_into_vec_as()
            .unwrap();
        let (shape, transposed) = &shapes[&name];
        let values = if *transposed {
            turn(&values, shape)
        } else {
            values
        };
        let error = relative_l2(&values, expected);
        worst.hold("gradient", error, 1e-4, &format!("{label} {key}"));
        tensors += 1;
    }
    let total = gradients.global_norm().unwrap();
    let expected = case.number("/grad_norm_total");
    let difference = (total - expected).abs() / expected;
    worst.hold("global norm", difference, 1e-4, label);

    assert!(tensors > 0, "{label}: no gradient compared");
    let rate = case.number("/adamw/lr");
    learner.apply(gradients, rate).unwrap();
    check_logps(
        label,
        &learner,
        case,
        &groups,
        "after1.per_token_logps",
        1e-4,
        worst,
    );
    let (_, gradients) = learner.gradients(&groups, Some(&reference)).unwrap();
    let norm = learner.apply(gradients, rate).unwrap();
    let expected = case.number("/grad_norm_total_step2");
    let difference = (norm - expected).abs() / expected;
    worst.hold("second global norm", difference, 1e-3, label);
    check_logps(
        label,
        &learner,
        case,
        &groups,
        "after2.per_token_logps",
        1e-4,
        worst,
    );
    let mut parameters = 0;
    visit_parameters(learner.model(), |p| {
        let found = case.tensors.iter().find(|(key, _)| {
            key.strip_prefix("after2.")
                .is_some_and(|k| hub_name(k) == p.name)
        });
        let Some((key, (_, expected))) = found else {
            return;
        };
        let values: Vec<f32> = p.values.try_into_vec_as().unwrap();
        let values = if p.transposed {
            turn(&values, &p.shape)
        } else {
            values
        };
        let mut close = 0;
        for (a, b) in values.iter().zip(expected) {
            let difference = (f64::from(*a) - b).abs();
            worst.hold("parameter", difference, 2e-4, label);
            close += usize::from(difference <= 1e-5);
        }
        assert!(
            close as f64 >= 0.999 * values.len() as f64,
            "{label} {key}: {close} close"
        );
        parameters += 1;
    });
    assert!(tensors > 0 && parameters > 0, "{label}: nothing compared");
    println!("{label}: {norms} gradient norms, {tensors} gradients, {parameters} parameters");
}

/// With W' = W + s A B and G = d loss / d W', the gradients of the factors are s G B^T and s A^T G;
/// all other parameters are frozen.
#[test]
fn an_adapter_s_gradients_follow_from_those_of_the_merged_weights() {
    let root = fixtures();
    let golden = fs::read_dir(root.join("golden")).unwrap();
    let mut found: Vec<_> = golden
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name()?.to_str()?.to_owned();
            let dir = root.join("models").join(&name);
            (dir.join("model.safetensors").exists() && !name.contains("bf16"))
                .then(|| Some((Case::open(&path)?, dir)))?
        })
        .collect();
    let (case, dir) = found.pop().unwrap();
    let rng = |seed| SeedStream::new(seed, Domain::Sampling).rng();
    let lora = LoraConfig {
        r: 3,
        lora_alpha: 6.0,
        target_modules: TargetModules::Pattern("all-linear".into()),
        ..LoraConfig::default()
    };
    let base = QwenVl::from_dir(dir, &device()).unwrap();
    let mut adapted = attach_lora(base, &lora, rng(1)).unwrap();
    let mut factors = BTreeMap::new();
    let mut noise = rng(2);
    adapted.each_linear(&mut |name, dense| {
        let mut adapter = dense.adapter().unwrap();
        let [rank, out] = adapter.b.dims();
        let values: Vec<f32> = (0..rank * out)
            .map(|_| 0.05 * noise.normal() as f32)
            .collect();
        adapter.b = Tensor::from_data(TensorData::new(values, [rank, out]), &adapter.b.device());
        factors.insert(name.to_owned(), adapter.clone());
        dense.set_adapter(Some(adapter));
    });
    let groups = groups(&case, &adapted);
    let reference = case.ragged("ref_per_token_logps");
    let gradients = |model: QwenVl, recompute| {
        let store = Arc::new(FeatureStore::new(0));
        let loss = Box::new(GrpoLoss::default());
        let config = LearnerConfig {
            recompute,
            ..LearnerConfig::default()
        };
        let learner = Learner::new(model, loss, store, config);
        learner.gradients(&groups, Some(&reference)).unwrap().1
    };
    let of_factors = gradients(adapted.clone(), 0);
    let [_, total] = distance(&gradients(adapted.clone(), 1), &of_factors);
    assert!(total <= 1e-5, "recomputed: relative L2 {total}");
    let of_weights = gradients(merge_lora(adapted), 0);
    assert_eq!(of_factors.iter().count(), 2 * factors.len());
    for (name, Adapter { a, b, scale, .. }) in factors {
        let ([d_in, _], [_, d_out]) = (a.dims(), b.dims());
        let weight = of_weights.get(&format!("{name}.weight")).unwrap().clone();
        let weight = weight.reshape([d_in, d_out]) * scale;
        for (factor, expected) in [
            ("lora_A", weight.clone().matmul(b.transpose())),
            ("lora_B", a.transpose().matmul(weight)),
        ] {
            let values = |t: Tensor<1>| t.try_into_vec_as::<f32>().unwrap();
            let found = of_factors.get(&format!("{name}.{factor}.weight")).unwrap();
            let expected = values(expected.reshape([-1]));
            let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
            let error = relative_l2(&values(found.clone()), &expected);
            assert!(error <= 1e-4, "{name} {factor}: relative L2 {error}");
        }
    }
}

#[test]
fn a_step_equals_pytorch_s() {
    let root = fixtures();
    let mut models: Vec<_> = fs::read_dir(root.join("golden"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    models.sort();
    let mut count = 0;
    let mut worst = Worst::default();
    for golden in models {
        let Some(case) = Case::open(&golden) else {
            continue;
        };
        let info = fs::read_to_string(golden.join("info.json")).unwrap();
        let info: Value = serde_json::from_str(&info).unwrap();
        if !info["dtype"]
            .as_str()
            .is_some_and(|dtype| dtype.ends_with("float32"))
        {
            continue;
        }
        let name = golden.file_name().unwrap().to_str().unwrap();
        let dir = [
            info["model"].as_str().unwrap_or(name),
            name,
            name.trim_end_matches("-upcast-f32"),
        ]
        .map(|name| root.join("models").join(name))
        .into_iter()
        .find(|dir| dir.join("config.json").exists());
        let dir = dir.unwrap_or_else(|| panic!("no model for {name}"));
        for (shared_prefix, recompute) in [(true, 0), (true, 1), (true, 2), (false, 0), (false, 1)]
        {
            for (head_chunk, micro_batch_groups) in [(usize::MAX, 0), (1, 1), (7, 0)] {
                let config = LearnerConfig {
                    head_chunk,
                    micro_batch_groups,
                    shared_prefix,
                    recompute,
                    ..Default::default()
                };
                let chunk = match head_chunk {
                    usize::MAX => "whole".to_owned(),
                    chunk => format!("by {chunk}"),
                };
                let label =
                    format!("{name}, head {chunk}, shared {shared_prefix}, recompute {recompute}");
                check(&label, &case, &dir, &config, &mut worst);
            }
        }
        count += 1;
    }
    let worst = worst.0;
    println!("models checked: {count}; largest differences: {worst:?}");
    assert!(count > 0);
}
