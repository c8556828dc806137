//! Properties that every loss must have, on random batches: gradients agree with finite
//! differences, pieces add up to the whole, and padding never matters.

use proptest::prelude::*;
use visrl_grpo::{
    Cispo, Clipped, CorrectionMode, DrGrpo, GrpoLoss, ImportanceCorrection, ImportanceLevel, Kl,
    Loss, LossMetrics, OnPolicy, PolicyLoss, Sapo, Terms, TokenBatch, Vespo,
};

/// A random batch that owns its fields.
#[derive(Debug, Clone)]
struct Batch {
    len: usize,
    logps: Vec<f64>,
    old_logps: Option<Vec<f64>>,
    ref_logps: Vec<f64>,
    sampler_logps: Vec<f64>,
    entropies: Vec<f64>,
    mask: Vec<bool>,
    truncated: Vec<bool>,
    advantages: Vec<f64>,
}

impl Batch {
    fn view(&self) -> TokenBatch<'_, f64> {
        let mut batch = TokenBatch::new(self.len, &self.logps, &self.mask, &self.advantages)
            .with_ref_logps(&self.ref_logps)
            .with_entropies(&self.entropies)
            .with_sampler_logps(&self.sampler_logps)
            .with_truncated(&self.truncated);
        batch.old_logps = self.old_logps.as_deref();
        batch
    }
}

fn batches() -> impl Strategy<Value = Batch> {
    (1usize..6, 1usize..7, any::<bool>()).prop_flat_map(|(rows, len, on_policy)| {
        let tokens = rows * len;
        let near = move || prop::collection::vec(-0.6..0.6f64, tokens);
        (
            prop::collection::vec(-3.0..-0.1f64, tokens),
            (near(), near(), near()),
            prop::collection::vec(0.0..3.0f64, tokens),
            prop::collection::vec(prop::bool::weighted(0.8), tokens),
            prop::collection::vec(prop::bool::weighted(0.2), rows),
            prop::collection::vec(-2.0..2.0f64, rows),
        )
            .prop_map(
                move |(
                    logps,
                    (old, reference, sampler),
                    entropies,
                    mask,
                    truncated,
                    advantages,
                )| {
                    let moved = |by: &[f64]| logps.iter().zip(by).map(|(l, d)| l + d).collect();
                    Batch {
                        len,
                        old_logps: (!on_policy).then(|| moved(&old)),
                        ref_logps: moved(&reference),
                        sampler_logps: moved(&sampler),
                        logps,
                        entropies,
                        mask,
                        truncated,
                        advantages,
                    }
                },
            )
    })
}

fn families() -> Vec<Loss> {
    let clip = Clipped {
        epsilon: 0.15,
        epsilon_high: Some(0.25),
        delta: None,
    };
    vec![
        Loss::PaperClsRl(OnPolicy {}),
        Loss::Grpo(clip),
        Loss::Grpo(Clipped {
            delta: Some(1.4),
            ..clip
        }),
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
    ]
}

/// The families under every option: each option alone, and all of them together.
fn losses() -> Vec<GrpoLoss> {
    let base = Terms::default();
    let correction = |mode| {
        Some(ImportanceCorrection {
            mode,
            ..Default::default()
        })
    };
    let sequence = ImportanceLevel::Sequence;
    let all = Terms {
        beta: 0.3,
        kl: Kl::K3,
        use_bias_correction_kl: true,
        importance_sampling_level: sequence,
        top_entropy_quantile: 0.6,
        entropy_coef: 0.05,
        off_policy_mask_threshold: Some(0.1),
        importance_correction: correction(CorrectionMode::SequenceTruncate),
        mask_truncated_completions: true,
        ..base
    };
    let options = [
        Terms { beta: 0.0, ..base },
        Terms { beta: 0.5, ..base },
        Terms {
            beta: 0.5,
            kl: Kl::K2,
            ..base
        },
        Terms {
            beta: 0.5,
            use_bias_correction_kl: true,
            ..base
        },
        Terms {
            importance_sampling_level: sequence,
            ..base
        },
        Terms {
            importance_sampling_level: sequence,
            use_bias_correction_kl: true,
            ..base
        },
        Terms {
            top_entropy_quantile: 0.4,
            ..base
        },
        Terms {
            entropy_coef: 0.1,
            ..base
        },
        Terms {
            off_policy_mask_threshold: Some(0.05),
            ..base
        },
        Terms {
            importance_correction: correction(CorrectionMode::TokenMask),
            ..base
        },
        Terms {
            mask_truncated_completions: true,
            ..base
        },
        all,
        Terms {
            importance_sampling_level: ImportanceLevel::Token,
            ..all
        },
    ];
    families()
        .into_iter()
        .flat_map(|loss| options.map(|terms| GrpoLoss { loss, terms }))
        .collect()
}

/// The loss as an ordinary function of the log-probabilities: everything that is detached is
/// frozen at the batch's own values, so its finite differences must equal the gradient.
fn frozen(loss: &GrpoLoss, batch: &Batch, at: &[f64], clean: &GrpoLoss) -> f64 {
    let mut moved = batch.clone();
    moved.logps = at.to_vec();
    // On-policy, the old policy is the current one at the point of evaluation.
    if moved.old_logps.is_none() || matches!(loss.loss, Loss::PaperClsRl(_)) {
        moved.old_logps = Some(batch.logps.clone());
    }
    clean.evaluate(&moved.view()).unwrap().loss
}

/// Families whose value is an ordinary function of the ratio, with nothing detached inside.
fn differentiable(loss: &GrpoLoss) -> Option<GrpoLoss> {
    let wide = Clipped {
        epsilon: 1e9,
        epsilon_high: None,
        delta: None,
    };
    let family = match loss.loss {
        // The paper's ratio is to the detached current policy: an unclipped ratio to a frozen one.
        Loss::PaperClsRl(_) => Loss::Grpo(wide),
        Loss::Cispo(_) | Loss::Vespo(_) => return None,
        other => other,
    };
    // The correction and the off-policy mask are detached, and depend on the old policy.
    let terms = Terms {
        off_policy_mask_threshold: None,
        importance_correction: None,
        ..loss.terms
    };
    Some(GrpoLoss {
        loss: family,
        terms,
    })
}

fn without_detached(loss: &GrpoLoss) -> GrpoLoss {
    let terms = Terms {
        off_policy_mask_threshold: None,
        importance_correction: None,
        ..loss.terms
    };
    GrpoLoss { terms, ..*loss }
}

/// Whether some ratio lies so close to a bound that a finite difference would cross it.
fn near_a_bound(batch: &Batch, level: ImportanceLevel, truncated: bool) -> bool {
    let Some(old) = &batch.old_logps else {
        return false;
    };
    let bounds = [0.85, 1.25, 1.4, 1.2];
    let near = |ratio: f64| bounds.iter().any(|b| (ratio - b).abs() < 1e-4);
    (0..batch.advantages.len()).any(|row| {
        let at = row * batch.len..(row + 1) * batch.len;
        let counted: Vec<f64> = at
            .filter(|t| batch.mask[*t] && !(truncated && batch.truncated[row]))
            .map(|t| batch.logps[t] - old[t])
            .collect();
        match level {
            ImportanceLevel::Token => counted.iter().any(|d| near(d.exp())),
            ImportanceLevel::Sequence => {
                near((counted.iter().sum::<f64>() / counted.len().max(1) as f64).exp())
            }
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn gradients_agree_with_finite_differences(batch in batches()) {
        let h = 1e-6;
        for loss in losses() {
            let loss = without_detached(&loss);
            let Some(clean) = differentiable(&loss) else { continue };
            let terms = loss.terms;
            let truncated = terms.mask_truncated_completions;
            if near_a_bound(&batch, terms.importance_sampling_level, truncated) {
                continue;
            }
            let out = loss.evaluate(&batch.view()).unwrap();
            for t in 0..batch.logps.len() {
                let mut at = batch.logps.clone();
                at[t] += h;
                let above = frozen(&loss, &batch, &at, &clean);
                at[t] -= 2.0 * h;
                let below = frozen(&loss, &batch, &at, &clean);
                let numeric = (above - below) / (2.0 * h);
                prop_assert!(
                    (numeric - out.grad[t]).abs() <= 2e-7 * (1.0 + numeric.abs()),
                    "{loss:?} [{t}]: {} instead of {numeric}", out.grad[t]
                );
            }
        }
    }

    #[test]
    fn detached_weights_make_the_loss_linear(batch in batches()) {
        // CISPO and VESPO are sum_t c_t * logp_t with detached c_t: the gradient is c.
        for family in [Loss::Cispo(Cispo { epsilon_high: 1.2 }), Loss::Vespo(Vespo::default())] {
            for level in [ImportanceLevel::Token, ImportanceLevel::Sequence] {
                let terms = Terms {
                    beta: 0.0,
                    importance_sampling_level: level,
                    importance_correction: Some(ImportanceCorrection {
                        mode: CorrectionMode::TokenTruncate,
                        ..Default::default()
                    }),
                    top_entropy_quantile: 0.7,
                    ..Terms::default()
                };
                let loss = GrpoLoss { loss: family, terms };
                let out = loss.evaluate(&batch.view()).unwrap();
                let linear: f64 = out.grad.iter().zip(&batch.logps).map(|(g, l)| g * l).sum();
                prop_assert!((linear - out.loss).abs() <= 1e-12 * (1.0 + linear.abs()));
                prop_assert!(out.grad.iter().all(|g| g.is_finite()));
            }
        }
    }

    #[test]
    fn an_entropy_gradient_is_a_finite_difference(batch in batches()) {
        // Without a quantile the bonus is linear in the entropies.
        let terms = Terms { entropy_coef: 0.2, ..Terms::default() };
        let loss = GrpoLoss { terms, ..GrpoLoss::default() };
        let out = loss.evaluate(&batch.view()).unwrap();
        let grad = out.entropy_grad.unwrap();
        for (t, grad) in grad.into_iter().enumerate() {
            let mut moved = batch.clone();
            moved.entropies[t] += 1.0;
            let numeric = loss.evaluate(&moved.view()).unwrap().loss - out.loss;
            prop_assert!((numeric - grad).abs() <= 1e-12);
        }
    }

    #[test]
    fn pieces_add_up_to_the_whole(batch in batches(), cut in 0usize..6) {
        let view = batch.view();
        let cut = cut.min(view.rows());
        for loss in losses() {
            let whole = loss.evaluate(&view).unwrap();
            let counts = loss.normalization(&view).unwrap();
            let mut metrics = LossMetrics::default();
            let (mut total, mut grad, mut entropy_grad) = (0.0, Vec::new(), Vec::new());
            for rows in [0..cut, cut..view.rows()] {
                let piece = view.slice(rows).unwrap().with_normalization(counts);
                let out = loss.evaluate(&piece).unwrap();
                total += out.loss;
                grad.extend(out.grad);
                entropy_grad.extend(out.entropy_grad.into_iter().flatten());
                metrics.merge(&out.metrics);
            }
            prop_assert!((total - whole.loss).abs() <= 1e-12 * (1.0 + total.abs()), "{loss:?}");
            prop_assert_eq!(&grad, &whole.grad);
            prop_assert_eq!(entropy_grad, whole.entropy_grad.unwrap_or_default());
            let (a, b) = (metrics.named(), whole.metrics.named());
            prop_assert_eq!(a.len(), b.len());
            for ((name, a), (_, b)) in a.into_iter().zip(b) {
                prop_assert!((a - b).abs() <= 1e-12 * (1.0 + b.abs()), "{name}: {a} {b}");
            }
        }
    }

    #[test]
    fn padding_is_never_read(batch in batches()) {
        let mut poisoned = batch.clone();
        for (t, counted) in batch.mask.iter().enumerate() {
            if !counted {
                poisoned.logps[t] = f64::NAN;
                poisoned.ref_logps[t] = f64::INFINITY;
                poisoned.entropies[t] = f64::NAN;
                poisoned.sampler_logps[t] = f64::NEG_INFINITY;
                if let Some(old) = &mut poisoned.old_logps {
                    old[t] = f64::NAN;
                }
            }
        }
        for loss in losses() {
            let clean = loss.evaluate(&batch.view()).unwrap();
            let dirty = loss.evaluate(&poisoned.view()).unwrap();
            prop_assert_eq!(clean.loss.to_bits(), dirty.loss.to_bits(), "{:?}", loss);
            prop_assert_eq!(&clean.grad, &dirty.grad);
            for (grad, counted) in dirty.grad.iter().zip(&batch.mask) {
                prop_assert!(*counted || *grad == 0.0);
            }
        }
    }

    #[test]
    fn buffers_are_overwritten(batch in batches()) {
        for loss in losses() {
            let fresh = loss.evaluate(&batch.view()).unwrap();
            let mut grad = vec![f64::NAN; batch.logps.len()];
            let mut entropy_grad = grad.clone();
            let summary =
                loss.evaluate_into(&batch.view(), &mut grad, Some(&mut entropy_grad)).unwrap();
            prop_assert_eq!(summary.loss.to_bits(), fresh.loss.to_bits());
            prop_assert_eq!(grad, fresh.grad);
            let zeros = vec![0.0; entropy_grad.len()];
            prop_assert_eq!(entropy_grad, fresh.entropy_grad.unwrap_or(zeros));
        }
    }

    #[test]
    fn single_precision_follows_double(batch in batches()) {
        let narrow = |v: &[f64]| v.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let (logps, reference) = (narrow(&batch.logps), narrow(&batch.ref_logps));
        let advantages = narrow(&batch.advantages);
        let single = TokenBatch::new(batch.len, &logps, &batch.mask, &advantages)
            .with_ref_logps(&reference);
        let double = GrpoLoss::default().evaluate(&batch.view()).unwrap();
        let single = GrpoLoss::default().evaluate(&single).unwrap();
        prop_assert!((single.loss - double.loss).abs() < 1e-5);
        for (s, d) in single.grad.iter().zip(&double.grad) {
            prop_assert!((f64::from(*s) - d).abs() < 1e-5);
        }
    }
}

#[test]
fn a_trainer_can_hold_any_loss() {
    let losses: Vec<Box<dyn PolicyLoss<f32>>> = vec![
        Box::new(GrpoLoss::default()),
        Box::new(GrpoLoss::new(Loss::Sapo(Sapo::default()))),
    ];
    let batch = TokenBatch::new(1, &[-1.0f32], &[true], &[1.0]).with_ref_logps(&[-1.0]);
    for loss in losses {
        assert!(loss.needs_reference() && !loss.has_entropy_grad());
        assert!(loss.evaluate(&batch).unwrap().grad[0] < 0.0);
    }
}

#[test]
fn missing_fields_and_short_buffers_are_errors() {
    let batch = TokenBatch::new(2, &[-1.0f64; 4], &[true; 4], &[1.0, -1.0]);
    assert!(GrpoLoss::default().evaluate(&batch).is_err());
    let off = GrpoLoss {
        terms: Terms {
            beta: 0.0,
            ..Terms::default()
        },
        ..GrpoLoss::default()
    };
    assert!(off.evaluate(&batch).is_ok());
    assert!(off.evaluate_into(&batch, &mut [0.0; 3], None).is_err());
    assert!(
        off.evaluate_into(&batch, &mut [0.0; 4], Some(&mut [0.0; 5]))
            .is_err()
    );
}
