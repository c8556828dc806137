//! Properties that every loss must have, on random batches: gradients agree with finite
//! differences, pieces add up to the whole, and each token is asked for once.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};
use visrl_grpo::{
    Aggregation, GrpoLoss, LossBatch, LossFamily, LossMetrics, PolicyLoss, RowView, Surrogate,
    SurrogateLoss, Term,
};

/// A random batch that owns its fields.
#[derive(Debug, Clone)]
struct Batch {
    ends: Vec<usize>,
    logps: Vec<f64>,
    old_logps: Option<Vec<f64>>,
    ref_logps: Vec<f64>,
    sampler_logps: Vec<f64>,
    entropies: Vec<f64>,
    truncated: Vec<bool>,
    advantages: Vec<f64>,
}

impl Batch {
    fn view(&self) -> LossBatch<'_, f64> {
        let mut batch = LossBatch::new(&self.ends, &self.logps, &self.advantages)
            .with_ref_logps(&self.ref_logps)
            .with_entropies(&self.entropies)
            .with_sampler_logps(&self.sampler_logps)
            .with_truncated(&self.truncated);
        batch.old_logps = self.old_logps.as_deref();
        batch
    }
}

fn batches() -> impl Strategy<Value = Batch> {
    let token = (-3.0..-0.1f64, [-0.6..0.6f64, -0.6..0.6, -0.6..0.6], 0.0..3.0f64);
    let row = (prop::collection::vec(token, 0..7), prop::bool::weighted(0.2), -2.0..2.0f64);
    (prop::collection::vec(row, 1..6), any::<bool>()).prop_map(|(rows, on_policy)| {
        let tokens: Vec<_> = rows.iter().flat_map(|row| row.0.clone()).collect();
        let moved = |i: usize| tokens.iter().map(|(logp, by, _)| logp + by[i]).collect();
        let ends = rows.iter().scan(0, |end, row| {
            *end += row.0.len();
            Some(*end)
        });
        Batch {
            ends: ends.collect(),
            logps: tokens.iter().map(|token| token.0).collect(),
            old_logps: (!on_policy).then(|| moved(0)),
            ref_logps: moved(1),
            sampler_logps: moved(2),
            entropies: tokens.iter().map(|token| token.2).collect(),
            truncated: rows.iter().map(|row| row.1).collect(),
            advantages: rows.iter().map(|row| row.2).collect(),
        }
    })
}

fn loss(family: &Value, terms: &Value) -> GrpoLoss {
    serde_json::from_value(json!({"family": family, "terms": terms})).unwrap()
}

/// The families under every option: each option alone, and all of them together.
fn losses() -> Vec<GrpoLoss> {
    let clip = json!({"epsilon": 0.15, "epsilon_high": 0.25});
    let clipped = |name| json!({"type": name, "epsilon": 0.15, "epsilon_high": 0.25});
    let families = [
        json!({"type": "paper_cls_rl"}),
        clipped("grpo"),
        json!({"type": "grpo", "epsilon": 0.15, "epsilon_high": 0.25, "delta": 1.4}),
        json!({"type": "dr_grpo", "clip": clip, "max_completion_length": 9}),
        clipped("dapo"),
        json!({"type": "cispo", "epsilon_high": 1.2}),
        json!({"type": "sapo"}),
        clipped("luspo"),
        json!({"type": "vespo"}),
    ];
    let all = |level: &str| {
        json!({
            "beta": 0.3, "use_bias_correction_kl": true, "importance_sampling_level": level,
            "top_entropy_quantile": 0.6, "entropy_coef": 0.05, "off_policy_mask_threshold": 0.1,
            "importance_correction": {"mode": "sequence_truncate"},
            "mask_truncated_completions": true,
        })
    };
    let options = [
        json!({"beta": 0.0}),
        json!({"beta": 0.5, "kl": "k2"}),
        json!({"beta": 0.5, "use_bias_correction_kl": true}),
        json!({"importance_sampling_level": "sequence"}),
        json!({"importance_sampling_level": "sequence", "use_bias_correction_kl": true}),
        json!({"top_entropy_quantile": 0.4}),
        json!({"entropy_coef": 0.1}),
        json!({"importance_correction": {"mode": "token_mask"}}),
        all("token"),
        all("sequence"),
    ];
    let with = |family: &Value| options.each_ref().map(|terms| loss(family, terms));
    families.iter().flat_map(with).collect()
}

/// The loss as an ordinary function of the log-probabilities, whose finite differences are the
/// gradient of `loss`: what is detached is frozen at the batch's own values.
fn frozen(loss: &GrpoLoss, batch: &Batch, at: &[f64]) -> f64 {
    let mut moved = Batch { logps: at.to_vec(), ..batch.clone() };
    let mut clean = *loss;
    let paper = matches!(loss.family, LossFamily::PaperClsRl(_));
    // On-policy, the old policy is the current one at the point of evaluation.
    if moved.old_logps.is_none() || paper {
        moved.old_logps = Some(batch.logps.clone());
    }
    // The paper's ratio is to the detached current policy: an unclipped ratio to a frozen one.
    if paper {
        clean.family = serde_json::from_value(json!({"type": "grpo", "epsilon": 1e9})).unwrap();
    }
    clean.evaluate(&moved.view()).unwrap().loss
}

/// Whether some ratio lies so close to a bound that a finite difference would cross it.
fn near_a_bound(batch: &Batch) -> bool {
    let Some(old) = &batch.old_logps else {
        return false;
    };
    let near = |d: f64| [0.85, 1.25, 1.4].iter().any(|b| (d.exp() - b).abs() < 1e-4);
    let view = batch.view();
    (0..view.rows()).any(|row| {
        let d: Vec<f64> = view.row(row).map(|t| batch.logps[t] - old[t]).collect();
        d.iter().any(|d| near(*d)) || near(d.iter().sum::<f64>() / d.len().max(1) as f64)
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn gradients_agree_with_finite_differences(batch in batches()) {
        let h = 1e-6;
        for mut loss in losses() {
            // Detached, and dependent on the old policy.
            loss.terms.off_policy_mask_threshold = None;
            loss.terms.importance_correction = None;
            let detached = matches!(loss.family, LossFamily::Cispo(_) | LossFamily::Vespo(_));
            if detached || near_a_bound(&batch) {
                continue;
            }
            let out = loss.evaluate(&batch.view()).unwrap();
            for t in 0..batch.logps.len() {
                let mut at = batch.logps.clone();
                at[t] += h;
                let above = frozen(&loss, &batch, &at);
                at[t] -= 2.0 * h;
                let numeric = (above - frozen(&loss, &batch, &at)) / (2.0 * h);
                prop_assert!(
                    (numeric - out.grad[t]).abs() <= 2e-7 * (1.0 + numeric.abs()),
                    "{loss:?} [{t}]: {} instead of {numeric}", out.grad[t]
                );
            }
        }
    }

    #[test]
    fn the_entropy_bonus_is_linear_in_the_entropies(batch in batches()) {
        let with = |coef: f64| loss(&json!({"type": "grpo"}), &json!({"entropy_coef": coef}));
        let (off, on) = [with(0.0), with(0.2)].map(|l| l.evaluate(&batch.view()).unwrap()).into();
        let grad = on.entropy_grad.unwrap();
        let bonus: f64 = grad.iter().zip(&batch.entropies).map(|(g, e)| g * e).sum();
        prop_assert!((on.loss - off.loss - bonus).abs() <= 1e-12);
    }

    #[test]
    fn pieces_add_up_and_buffers_are_overwritten(batch in batches(), cut in 0usize..6) {
        let view = batch.view();
        let cut = cut.min(view.rows());
        for loss in losses() {
            let whole = loss.evaluate(&view).unwrap();
            let counts = loss.normalization(&view).unwrap();
            let mut grad = vec![f64::NAN; view.tokens()];
            let mut entropy_grad = grad.clone();
            let middle = view.slice(0..cut).unwrap().tokens();
            let (mut metrics, mut total) = (LossMetrics::default(), 0.0);
            for (rows, tokens) in [(0..cut, 0..middle), (cut..view.rows(), middle..view.tokens())] {
                let piece = view.slice(rows).unwrap().with_normalization(counts);
                let (grad, entropy_grad) = (&mut grad[tokens.clone()], &mut entropy_grad[tokens]);
                let out = loss.evaluate_into(&piece, grad, Some(entropy_grad)).unwrap();
                total += out.loss;
                metrics.merge(&out.metrics);
            }
            prop_assert!((total - whole.loss).abs() <= 1e-12 * (1.0 + total.abs()), "{loss:?}");
            let zeros = vec![0.0; view.tokens()];
            prop_assert_eq!(&grad, &whole.grad);
            prop_assert_eq!(entropy_grad, whole.entropy_grad.unwrap_or(zeros));
            for ((name, a), (other, b)) in metrics.named().zip(whole.metrics.named()) {
                prop_assert!(name == other && (a - b).abs() <= 1e-12 * (1.0 + b.abs()), "{name}");
            }
        }
    }

    #[test]
    fn every_token_that_counts_is_asked_for_once(batch in batches()) {
        let (surrogate, aggregation) = (Count::default(), Aggregation::TokenMean);
        let loss = SurrogateLoss { surrogate, aggregation, terms: losses()[3].terms };
        let out = loss.evaluate(&batch.view()).unwrap();
        prop_assert_eq!(loss.surrogate.0.into_inner(), batch.logps.len());
        prop_assert_eq!(out.metrics.tokens, batch.logps.len() as u64);
    }
}

/// Counts how often it is asked for a token.
#[derive(Default)]
struct Count(AtomicUsize);

impl Surrogate<f64> for Count {
    type Row = ();

    fn row(&self, _: &RowView<'_, f64>) {}

    fn token(&self, (): &(), logp: f64, _ratio: f64) -> Term<f64> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Term::of_logp(logp, 1.0)
    }
}

#[test]
fn a_correction_is_reported() {
    // The sampler gave the first token half the learner's probability, and none for the second.
    let (logps, sampler) = ([-1.0f64, -2.0], [-1.0 - 2.0f64.ln(), f64::NAN]);
    let batch = LossBatch::new(&[2], &logps, &[1.0]).with_sampler_logps(&sampler);
    let correction = json!({"mode": "token_truncate"});
    let terms = json!({"beta": 0.0, "importance_correction": correction});
    let out = loss(&json!({"type": "grpo"}), &terms).evaluate(&batch).unwrap();
    for (name, expected) in [("mean", 1.5), ("min", 1.0), ("max", 2.0)] {
        let found = out.metrics.get(&format!("correction/{name}"));
        assert!((found.unwrap() - expected).abs() < 1e-15);
    }
    assert!((out.grad[0] + 1.0).abs() < 1e-15 && out.grad[1] == -0.5);
}

#[test]
fn missing_fields_and_short_buffers_are_errors() {
    let batch = LossBatch::new(&[2, 4], &[-1.0f64; 4], &[1.0, -1.0]);
    let mut loss = GrpoLoss::default();
    assert!(loss.evaluate(&batch).is_err());
    // Counting needs no log-probabilities of the reference.
    assert_eq!(loss.normalization(&batch).unwrap().tokens, 4.0);
    loss.terms.beta = 0.0;
    let held: Box<dyn PolicyLoss<f64>> = Box::new(loss);
    assert!(held.evaluate(&batch).is_ok());
    assert!(held.evaluate_into(&batch, &mut [0.0; 3], None).is_err());
    assert!(held.evaluate_into(&batch, &mut [0.0; 4], Some(&mut [0.0; 5])).is_err());
}
