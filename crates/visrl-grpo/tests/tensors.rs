//! The tensor forms against the same references as the kernels for slices, on burn's CPU backend:
//! values, gradients by autodiff, and analytic gradients.

#![allow(clippy::print_stdout)] // the number of cases is part of a fixture test's answer

mod common;

use burn::tensor::{Bool, DType, Device, Element, Tensor, TensorData};
use common::cases::{Data, Setup, compare_grad, tolerance};
use common::rewards::{conditioning, estimator};
use common::{agree, grpo_fixtures, json, number, tensor};
use proptest::prelude::*;
use safetensors::tensor::SafeTensors;
use serde_json::Value;
use visrl_grpo::tensor::{TensorBatch, advantages, evaluate, kl, loss, normalization};
use visrl_grpo::{
    Advantage, AdvantageEstimator, Cispo, Clipped, CorrectionMode, DrGrpo, EmptyRows, GrpoLoss,
    ImportanceCorrection, ImportanceLevel, Kl, KlEstimator, LeaveOneOut, Loss, MeanOnly, OnPolicy,
    Real, RewardTable, Sapo, Terms, Vespo,
};

fn matrix<F: Real + Element>(values: &[F], len: usize) -> Tensor<2> {
    let data = TensorData::new(values.to_vec(), [values.len() / len.max(1), len]);
    Tensor::from_data(data, (&Device::flex(), F::dtype()))
}

fn vector<F: Real + Element>(values: &[F]) -> Tensor<1> {
    let data = TensorData::new(values.to_vec(), [values.len()]);
    Tensor::from_data(data, (&Device::flex(), F::dtype()))
}

fn flags<const D: usize>(values: &[bool], shape: [usize; D]) -> Tensor<D, Bool> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.cast(DType::F64).try_into_vec_as().unwrap()
}

fn batch<F: Real + Element>(data: &Data<F>) -> TensorBatch {
    let shape = [data.advantages.len(), data.len];
    let field = |values: &[F]| matrix(values, data.len);
    TensorBatch::new(
        field(&data.logps).autodiff().require_grad(),
        flags(&data.mask, shape),
        vector(&data.advantages),
    )
    .with_ref_logps(field(&data.ref_logps))
    .with_entropies(field(&data.entropies))
}

/// The scalar's value and its derivative by burn's autodiff.
fn differentiated(value: Tensor<1>, leaf: &Tensor<2>) -> (f64, Vec<f64>) {
    let grad = leaf.grad(&value.backward()).unwrap();
    (numbers(value.without_autodiff())[0], numbers(grad))
}

fn run_case<F: Real + Element>(file: &SafeTensors<'_>, case: &Value, precision: &str) {
    let id = case["id"].as_u64().unwrap();
    let what = format!("case {id} {precision} {} on {}", case["cfg"], case["data"]);
    let data = Data::<F>::load(file, case["data"].as_str().unwrap());
    let setup = Setup::of(case);
    let mut batch = batch(&data);
    if setup.use_old {
        batch = batch.with_old_logps(matrix(&data.old_logps, data.len));
    }
    let counts = setup.counts(normalization(&setup.loss, &batch).unwrap());
    let batch = batch.with_normalization(counts);

    let double = precision == "f64";
    let relative = tolerance(double, &setup.loss, &data);
    let expected = number(&case[format!("loss_{precision}")]);
    let floor = if double { 1e-3 } else { 1.0 };
    let (_, grad) = tensor(file, &format!("{id}.grad.{precision}")).unwrap();
    let value = loss(&setup.loss, &batch).unwrap();
    let (found, by_autodiff) = differentiated(value, &batch.logps);
    assert!(
        agree(found, expected, relative, floor),
        "{what} loss: {found} instead of {expected}"
    );
    if setup.loss.terms.empty_rows == EmptyRows::Zero || expected.is_finite() {
        compare_grad(&what, &by_autodiff, &grad, relative);
    }

    let out = evaluate(&setup.loss, &batch).unwrap();
    assert!(
        agree(out.loss, expected, relative, floor),
        "{what}: {}",
        out.loss
    );
    compare_grad(&what, &numbers(out.grad.clone()), &grad, relative);
    let surrogate = out.surrogate(batch.logps.clone(), None);
    let (found, by_surrogate) = differentiated(surrogate, &batch.logps);
    assert!(agree(found, expected, relative, floor), "{what}: {found}");
    if expected.is_finite() {
        compare_grad(&what, &by_surrogate, &grad, relative);
    }
}

#[test]
fn losses_and_gradients_equal_the_references() {
    let cases = json("losses.json");
    let bytes = std::fs::read(grpo_fixtures().join("losses.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut count = 0;
    for case in cases["cases"].as_array().unwrap() {
        run_case::<f64>(&file, case, "f64");
        run_case::<f32>(&file, case, "f32");
        count += 1;
    }
    println!("losses on tensors: {count} cases in f64 and f32, by autodiff and analytic");
    assert!(count > 0, "no cases found");
}

fn rewards<F: Real + Element>(case: &Value) -> (Vec<F>, usize, Option<Vec<F>>) {
    let rows = case["rewards_per_func"].as_array().unwrap();
    let value = |r: &Value| {
        if r.is_null() {
            F::NAN
        } else {
            F::from_f64(number(r))
        }
    };
    let values = rows
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .map(value);
    let weights = case["weights"].as_array();
    let weights = weights.map(|w| w.iter().map(|w| F::from_f64(number(w))).collect());
    (values.collect(), rows[0].as_array().unwrap().len(), weights)
}

fn found<F: Real + Element>(case: &Value, estimator: &Advantage, size: usize) -> Vec<f64> {
    let (rewards, rules, weights) = rewards::<F>(case);
    let weights = weights.map(|w| vector(&w));
    numbers(advantages(estimator, matrix(&rewards, rules), weights, size).unwrap())
}

#[test]
fn advantages_equal_the_references() {
    let cases = json("advantages.json");
    let mut vectors = 0;
    for case in cases.as_array().unwrap() {
        let set = case["name"].as_str().unwrap();
        let size = case["G"].as_u64().unwrap() as usize;
        for (key, expected) in case["out"].as_object().unwrap() {
            vectors += 1;
            let (name, precision) = key.rsplit_once('.').unwrap();
            let (found, relative, epsilon) = match precision {
                "f64" => (
                    found::<f64>(case, &estimator(name), size),
                    1e-12,
                    f64::EPSILON,
                ),
                "f32" => {
                    let epsilon = f64::from(f32::EPSILON);
                    (found::<f32>(case, &estimator(name), size), 1e-6, epsilon)
                }
                other => panic!("unknown precision {other}"),
            };
            let expected = expected.as_array().unwrap();
            assert_eq!(found.len(), expected.len(), "{set} {key}");
            for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
                let expected = number(expected);
                let groups = match name {
                    "trl.normalize_then_sum" => {
                        0..case["rewards_per_func"].as_array().unwrap().len() / size
                    }
                    _ => i / size..i / size + 1,
                };
                let growth = groups.map(|g| conditioning(case, g)).fold(0.0, f64::max);
                // Sums are taken in single precision here: a few roundings instead of one.
                let absolute = f64::max(relative, 8.0 * epsilon * growth);
                let close = agree(*found, expected, relative, absolute / relative)
                    || (expected.is_nan() && size == 1 && *found == 0.0);
                assert!(close, "{set} {key} [{i}]: {found} instead of {expected}");
            }
        }
    }
    println!("advantages on tensors: {vectors} vectors");
    assert!(vectors > 0, "no cases found");
}

#[test]
fn advantages_of_what_could_not_be_scored() {
    let nan = f64::NAN;
    let rewards = [0.3, 0.3, 0.3, 2.0, nan, nan, nan, nan, nan, 1.0, nan, 0.0];
    let estimators = [
        Advantage::default(),
        Advantage::LeaveOneOut(LeaveOneOut {}),
        Advantage::MeanOnly(MeanOnly {}),
    ];
    for estimator in &estimators {
        let table = RewardTable::new(&rewards, 1, 3).unwrap();
        let expected = estimator.advantages(&table).unwrap();
        let found = numbers(advantages(estimator, matrix(&rewards, 1), None, 3).unwrap());
        for (a, b) in found.iter().zip(&expected) {
            assert!(
                (a - b).abs() < 1e-15,
                "{estimator:?}: {found:?} {expected:?}"
            );
        }
        assert!(advantages(estimator, matrix(&rewards, 1), None, 5).is_err());
        let weights = vector(&[1.0, 2.0]);
        assert!(advantages(estimator, matrix(&rewards, 1), Some(weights), 3).is_err());
    }
}

#[test]
fn kl_estimates_are_those_of_slices() {
    let (logps, refs) = ([-1.0f64, -0.2, -3.0], [-1.5, -0.1, -3.0]);
    for kind in [Kl::K1, Kl::K2, Kl::K3] {
        let mut expected = [0.0; 3];
        kind.estimate_into(&logps, &refs, &mut expected).unwrap();
        let found = numbers(kl(kind, vector(&logps), vector(&refs)));
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-15, "{kind:?}");
        }
    }
}

/// Losses under options that the references do not cover.
fn options() -> Vec<GrpoLoss> {
    let clip = Clipped {
        epsilon: 0.15,
        epsilon_high: Some(0.25),
        delta: Some(1.4),
    };
    let families = [
        Loss::PaperClsRl(OnPolicy {}),
        Loss::Grpo(clip),
        Loss::Bnpo(clip),
        Loss::DrGrpo(DrGrpo {
            clip,
            max_completion_length: 9,
        }),
        Loss::Dapo(clip),
        Loss::Cispo(Cispo { epsilon_high: 1.2 }),
        Loss::Sapo(Sapo::default()),
        Loss::Luspo(clip),
        Loss::Vespo(Vespo::default()),
    ];
    let correction = |mode| {
        Some(ImportanceCorrection {
            mode,
            clip_min: Some(0.8),
            clip_max: Some(1.3),
        })
    };
    let all = Terms {
        beta: 0.3,
        use_bias_correction_kl: true,
        importance_sampling_level: ImportanceLevel::Sequence,
        top_entropy_quantile: 0.6,
        entropy_coef: 0.05,
        off_policy_mask_threshold: Some(0.1),
        importance_correction: correction(CorrectionMode::SequenceTruncate),
        mask_truncated_completions: true,
        ..Terms::default()
    };
    let token = ImportanceLevel::Token;
    let terms = [
        Terms {
            kl: Kl::K1,
            ..Terms::default()
        },
        Terms {
            kl: Kl::K2,
            ..Terms::default()
        },
        all,
        Terms {
            importance_sampling_level: token,
            ..all
        },
        Terms {
            importance_correction: correction(CorrectionMode::TokenTruncate),
            ..all
        },
        Terms {
            importance_correction: correction(CorrectionMode::TokenMask),
            ..all
        },
        Terms {
            importance_correction: correction(CorrectionMode::SequenceMask),
            ..all
        },
    ];
    let with = |terms| families.map(|loss| GrpoLoss { loss, terms });
    terms.into_iter().flat_map(with).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Autodiff through the tensor operations finds the analytic gradients, padding that holds NaN
    /// included.
    #[test]
    fn autodiff_finds_the_analytic_gradient(
        (rows, len) in (1usize..6, 1usize..7),
        seed in prop::collection::vec(-1.0..1.0f64, 210),
        with_old in any::<bool>(),
        with_ratios in any::<bool>(),
    ) {
        let tokens = rows * len;
        let mask: Vec<bool> = seed[..tokens].iter().map(|x| *x > -0.6).collect();
        let field = |at: usize, low: f64, spread: f64| {
            let values: Vec<f64> = (0..tokens)
                .map(|t| match mask[t] {
                    true => low + spread * seed[(at * 30 + t) % seed.len()],
                    false => f64::NAN,
                })
                .collect();
            matrix(&values, len)
        };
        let entropies = field(1, 1.5, 1.0).autodiff().require_grad();
        let mut sampler = field(2, -1.5, 0.4);
        sampler = sampler.slice_assign([0..1, 0..1], matrix(&[f64::NAN], 1));
        let truncated: Vec<bool> = (0..rows).map(|row| seed[180 + row] > 0.5).collect();
        let mut batch = TensorBatch::new(
            field(3, -1.5, 0.4).autodiff().require_grad(),
            flags(&mask, [rows, len]),
            vector(&seed[190..190 + rows]),
        )
        .with_ref_logps(field(4, -1.5, 0.4))
        .with_entropies(entropies.clone())
        .with_sampler_logps(sampler)
        .with_truncated(flags(&truncated, [rows]));
        if with_old {
            batch = batch.with_old_logps(field(5, -1.5, 0.4));
        }
        if with_ratios {
            batch = batch.with_importance_ratios(field(0, 1.0, 0.3));
        }
        for kind in options() {
            let out = evaluate(&kind, &batch).unwrap();
            let value = loss(&kind, &batch).unwrap();
            let mut grads = value.backward();
            let found = numbers(value.without_autodiff())[0];
            prop_assert!((found - out.loss).abs() <= 1e-11 * (1.0 + out.loss.abs()), "{kind:?}: {found} {}", out.loss);
            let pairs = [
                (batch.logps.grad_remove(&mut grads), Some(out.grad)),
                (entropies.grad_remove(&mut grads), out.entropy_grad),
            ];
            for (found, expected) in pairs {
                let Some(expected) = expected else { continue };
                let found = found.map_or(vec![0.0; tokens], numbers);
                for (found, expected) in found.into_iter().zip(numbers(expected)) {
                    let close = (found - expected).abs() <= 1e-11 * (1.0 + expected.abs());
                    prop_assert!(close, "{kind:?}: {found} {expected}");
                }
            }
        }
    }
}

#[test]
fn fields_that_do_not_fit_are_named() {
    let batch = TensorBatch::new(
        matrix(&[-1.0f32; 6], 3),
        flags(&[true; 6], [2, 3]),
        vector(&[1.0f32, -1.0]),
    );
    let error = loss(&GrpoLoss::default(), &batch).unwrap_err().to_string();
    assert!(error.contains("`ref_logps` is missing"), "{error}");
    let turned = batch.clone().with_ref_logps(matrix(&[-1.0f32; 6], 2));
    for error in [
        loss(&GrpoLoss::default(), &turned).unwrap_err(),
        evaluate(&GrpoLoss::default(), &turned).unwrap_err(),
    ] {
        assert!(
            error.to_string().contains("`ref_logps` is of shape [3, 2]"),
            "{error}"
        );
    }
}
