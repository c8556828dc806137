//! Properties that every loss must have, on random batches: gradients agree with finite
//! differences, pieces add up to the whole, and each token is asked for once.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use visrl_grpo::{
    Aggregation, Cispo, Clip, Clipped, CorrectionMode, DrGrpo, GrpoLoss, ImportanceCorrection,
    ImportanceLevel, KlEstimator, LossBatch, LossFamily, LossMetrics, OnPolicy, PolicyLoss,
    RowView, Sapo, SharedOptions, Surrogate, SurrogateLoss, Term, TokenView, Vespo,
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
    let lengths = prop::collection::vec(0usize..7, 1..6);
    (lengths, any::<bool>()).prop_flat_map(|(lengths, on_policy)| {
        let (rows, tokens) = (lengths.len(), lengths.iter().sum::<usize>());
        let near = move || prop::collection::vec(-0.6..0.6f64, tokens);
        let sum = |end: &mut usize, length| {
            *end += length;
            Some(*end)
        };
        let ends: Vec<usize> = lengths.into_iter().scan(0, sum).collect();
        let fields = (
            prop::collection::vec(-3.0..-0.1f64, tokens),
            (near(), near(), near()),
            prop::collection::vec(0.0..3.0f64, tokens),
            prop::collection::vec(prop::bool::weighted(0.2), rows),
            prop::collection::vec(-2.0..2.0f64, rows),
        );
        fields.prop_map(
            move |(logps, (old, reference, sampler), entropies, truncated, advantages)| {
                let moved = |by: &[f64]| logps.iter().zip(by).map(|(l, d)| l + d).collect();
                Batch {
                    ends: ends.clone(),
                    old_logps: (!on_policy).then(|| moved(&old)),
                    ref_logps: moved(&reference),
                    sampler_logps: moved(&sampler),
                    logps,
                    entropies,
                    truncated,
                    advantages,
                }
            },
        )
    })
}

fn families() -> Vec<LossFamily> {
    let clip = Clipped {
        epsilon: 0.15,
        epsilon_high: Some(0.25),
        delta: None,
    };
    let two_sided = Clipped {
        delta: Some(1.4),
        ..clip
    };
    let max_completion_length = 9;
    vec![
        LossFamily::PaperClsRl(OnPolicy {}),
        LossFamily::Grpo(clip),
        LossFamily::Grpo(two_sided),
        LossFamily::Bnpo(clip),
        LossFamily::DrGrpo(DrGrpo {
            clip,
            max_completion_length,
        }),
        LossFamily::Dapo(clip),
        LossFamily::Cispo(Cispo { epsilon_high: 1.2 }),
        LossFamily::Sapo(Sapo::default()),
        LossFamily::Luspo(clip),
        LossFamily::Vespo(Vespo::default()),
    ]
}

fn correction(mode: CorrectionMode) -> Option<ImportanceCorrection> {
    Some(ImportanceCorrection {
        mode,
        ..Default::default()
    })
}

/// The families under every option: each option alone, and all of them together.
fn losses() -> Vec<GrpoLoss> {
    fn all(o: &mut SharedOptions) {
        *o = SharedOptions {
            beta: 0.3,
            use_bias_correction_kl: true,
            top_entropy_quantile: 0.6,
            entropy_coef: 0.05,
            off_policy_mask_threshold: Some(0.1),
            importance_correction: correction(CorrectionMode::SequenceTruncate),
            mask_truncated_completions: true,
            ..*o
        };
    }
    fn sequence(o: &mut SharedOptions) {
        o.importance_sampling_level = ImportanceLevel::Sequence;
    }
    let options: [fn(&mut SharedOptions); 13] = [
        |o| o.beta = 0.0,
        |o| o.beta = 0.5,
        |o| (o.beta, o.kl) = (0.5, KlEstimator::K2),
        |o| (o.beta, o.use_bias_correction_kl) = (0.5, true),
        sequence,
        |o| {
            sequence(o);
            o.use_bias_correction_kl = true;
        },
        |o| o.top_entropy_quantile = 0.4,
        |o| o.entropy_coef = 0.1,
        |o| o.off_policy_mask_threshold = Some(0.05),
        |o| o.importance_correction = correction(CorrectionMode::TokenMask),
        |o| o.mask_truncated_completions = true,
        all,
        |o| {
            all(o);
            sequence(o);
        },
    ];
    let with = |family| {
        options.map(|option| {
            let mut loss = GrpoLoss::new(family);
            option(&mut loss.terms);
            loss
        })
    };
    families().into_iter().flat_map(with).collect()
}

/// Families whose value is an ordinary function of the ratio, with nothing detached inside: the
/// loss that must be differentiated to get the gradient of this one.
fn differentiable(loss: &GrpoLoss) -> Option<GrpoLoss> {
    let wide = Clipped {
        epsilon: 1e9,
        epsilon_high: None,
        delta: None,
    };
    let family = match loss.family {
        // The paper's ratio is to the detached current policy: an unclipped ratio to a frozen one.
        LossFamily::PaperClsRl(_) => LossFamily::Grpo(wide),
        LossFamily::Cispo(_) | LossFamily::Vespo(_) => return None,
        other => other,
    };
    Some(GrpoLoss { family, ..*loss })
}

/// The correction and the off-policy mask are detached, and depend on the old policy.
fn without_detached(mut loss: GrpoLoss) -> GrpoLoss {
    loss.terms.off_policy_mask_threshold = None;
    loss.terms.importance_correction = None;
    loss
}

/// The loss as an ordinary function of the log-probabilities.
fn frozen(loss: &GrpoLoss, batch: &Batch, at: &[f64], clean: &GrpoLoss) -> f64 {
    let mut moved = batch.clone();
    moved.logps = at.to_vec();
    // On-policy, the old policy is the current one at the point of evaluation.
    if moved.old_logps.is_none() || matches!(loss.family, LossFamily::PaperClsRl(_)) {
        moved.old_logps = Some(batch.logps.clone());
    }
    clean.evaluate(&moved.view()).unwrap().loss
}

/// Whether some ratio lies so close to a bound that a finite difference would cross it.
fn near_a_bound(batch: &Batch, level: ImportanceLevel) -> bool {
    let Some(old) = &batch.old_logps else {
        return false;
    };
    let near = |d: f64| {
        [0.85, 1.25, 1.4, 1.2]
            .iter()
            .any(|b| (d.exp() - b).abs() < 1e-4)
    };
    let view = batch.view();
    (0..view.rows()).any(|row| {
        let d: Vec<f64> = view.row(row).map(|t| batch.logps[t] - old[t]).collect();
        match level {
            ImportanceLevel::Token => d.iter().any(|d| near(*d)),
            ImportanceLevel::Sequence => near(d.iter().sum::<f64>() / d.len().max(1) as f64),
        }
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
        for loss in losses().into_iter().map(without_detached) {
            let Some(clean) = differentiable(&loss) else { continue };
            if near_a_bound(&batch, loss.terms.importance_sampling_level) {
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
        for family in [
            LossFamily::Cispo(Cispo { epsilon_high: 1.2 }),
            LossFamily::Vespo(Vespo::default()),
        ] {
            for level in [ImportanceLevel::Token, ImportanceLevel::Sequence] {
                let terms = SharedOptions {
                    beta: 0.0,
                    importance_sampling_level: level,
                    importance_correction: correction(CorrectionMode::TokenTruncate),
                    top_entropy_quantile: 0.7,
                    ..SharedOptions::default()
                };
                let out = GrpoLoss { family, terms }.evaluate(&batch.view()).unwrap();
                let linear: f64 = out.grad.iter().zip(&batch.logps).map(|(g, l)| g * l).sum();
                prop_assert!((linear - out.loss).abs() <= 1e-12 * (1.0 + linear.abs()));
                prop_assert!(out.grad.iter().all(|g| g.is_finite()));
            }
        }
    }

    #[test]
    fn an_entropy_gradient_is_a_finite_difference(batch in batches()) {
        // Without a quantile the bonus is linear in the entropies.
        let mut loss = GrpoLoss::default();
        loss.terms.entropy_coef = 0.2;
        let out = loss.evaluate(&batch.view()).unwrap();
        for (t, grad) in out.entropy_grad.unwrap().into_iter().enumerate() {
            let mut moved = batch.clone();
            moved.entropies[t] += 1.0;
            let numeric = loss.evaluate(&moved.view()).unwrap().loss - out.loss;
            prop_assert!((numeric - grad).abs() <= 1e-12);
        }
    }

    #[test]
    fn pieces_add_up_to_the_whole_and_buffers_are_overwritten(
        batch in batches(), cut in 0usize..6,
    ) {
        let view = batch.view();
        let cut = cut.min(view.rows());
        for loss in losses() {
            let whole = loss.evaluate(&view).unwrap();
            let zeros = vec![0.0; view.tokens()];
            let counts = loss.normalization(&view).unwrap();
            let mut metrics = LossMetrics::default();
            let (mut total, mut grad, mut entropy_grad) = (0.0, Vec::new(), Vec::new());
            for rows in [0..cut, cut..view.rows()] {
                let piece = view.slice(rows).unwrap().with_normalization(counts);
                let (mut to, mut to_entropy) = (vec![f64::NAN; piece.tokens()], Vec::new());
                to_entropy.resize(piece.tokens(), f64::NAN);
                let out = loss.evaluate_into(&piece, &mut to, Some(&mut to_entropy)).unwrap();
                total += out.loss;
                grad.extend(to);
                entropy_grad.extend(to_entropy);
                metrics.merge(&out.metrics);
            }
            prop_assert!((total - whole.loss).abs() <= 1e-12 * (1.0 + total.abs()), "{loss:?}");
            prop_assert_eq!(&grad, &whole.grad);
            prop_assert_eq!(entropy_grad, whole.entropy_grad.unwrap_or(zeros));
            let (pieces, whole) = (metrics.named(), whole.metrics.named());
            for ((name, a), (other, b)) in pieces.zip(whole) {
                prop_assert!(name == other && (a - b).abs() <= 1e-12 * (1.0 + b.abs()), "{name}");
            }
        }
    }

    #[test]
    fn single_precision_follows_double(batch in batches()) {
        let narrow = |v: &[f64]| v.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let (logps, reference) = (narrow(&batch.logps), narrow(&batch.ref_logps));
        let advantages = narrow(&batch.advantages);
        let single = LossBatch::new(&batch.ends, &logps, &advantages).with_ref_logps(&reference);
        let double = GrpoLoss::default().evaluate(&batch.view()).unwrap();
        let single = GrpoLoss::default().evaluate(&single).unwrap();
        prop_assert!((single.loss - double.loss).abs() < 1e-5);
        for (s, d) in single.grad.iter().zip(&double.grad) {
            prop_assert!((f64::from(*s) - d).abs() < 1e-5);
        }
    }

    #[test]
    fn every_token_that_counts_is_asked_for_once(batch in batches()) {
        let count = Count::default();
        let mut terms = losses()[12].terms;
        terms.mask_truncated_completions = false;
        let loss = SurrogateLoss { surrogate: count, aggregation: Aggregation::TokenMean, terms };
        let out = loss.evaluate(&batch.view()).unwrap();
        let Count { rows, tokens } = &loss.surrogate;
        prop_assert_eq!(rows.load(Ordering::Relaxed), batch.ends.len());
        prop_assert_eq!(tokens.load(Ordering::Relaxed), batch.logps.len());
        prop_assert_eq!(out.metrics.tokens, batch.logps.len() as u64);
    }
}

/// Counts how often it is asked.
#[derive(Debug, Default)]
struct Count {
    rows: AtomicUsize,
    tokens: AtomicUsize,
}

impl Surrogate<f64> for Count {
    type Row = ();

    fn row(&self, _: &RowView<'_, f64>) {
        self.rows.fetch_add(1, Ordering::Relaxed);
    }

    fn token(&self, (): &(), token: &TokenView<f64>) -> Term<f64> {
        self.tokens.fetch_add(1, Ordering::Relaxed);
        Term {
            loss: token.logp,
            d_logp: 1.0,
            d_log_ratio: 0.0,
            clip: Clip::None,
        }
    }
}

#[test]
fn a_correction_is_reported() {
    // The sampler gave the first token half the learner's probability, and none for the second.
    let (logps, sampler) = ([-1.0f64, -2.0], [-1.0 - 2.0f64.ln(), f64::NAN]);
    let batch = LossBatch::new(&[2], &logps, &[1.0]).with_sampler_logps(&sampler);
    let mut loss = GrpoLoss::default();
    loss.terms.beta = 0.0;
    assert_eq!(loss.evaluate(&batch).unwrap().metrics.correction(), None);
    loss.terms.importance_correction = correction(CorrectionMode::TokenTruncate);
    let out = loss.evaluate(&batch).unwrap();
    let (mean, min, max) = out.metrics.correction().unwrap();
    assert!((mean - 1.5).abs() < 1e-15 && min == 1.0 && (max - 2.0).abs() < 1e-15);
    assert!((out.grad[0] + 1.0).abs() < 1e-15 && out.grad[1] == -0.5);
}

#[test]
fn a_trainer_can_hold_any_loss() {
    let losses: Vec<Box<dyn PolicyLoss<f32>>> = vec![
        Box::new(GrpoLoss::default()),
        Box::new(GrpoLoss::new(LossFamily::Sapo(Sapo::default()))),
    ];
    let batch = LossBatch::new(&[1], &[-1.0f32], &[1.0]).with_ref_logps(&[-1.0]);
    for loss in losses {
        assert!(loss.needs_reference() && !loss.has_entropy_grad());
        assert!(loss.evaluate(&batch).unwrap().grad[0] < 0.0);
    }
}

#[test]
fn missing_fields_and_short_buffers_are_errors() {
    let batch = LossBatch::new(&[2, 4], &[-1.0f64; 4], &[1.0, -1.0]);
    let mut loss = GrpoLoss::default();
    assert!(loss.evaluate(&batch).is_err());
    // Counting needs no log-probabilities of the reference.
    assert_eq!(loss.normalization(&batch).unwrap().tokens, 4.0);
    loss.terms.beta = 0.0;
    assert!(loss.evaluate(&batch).is_ok());
    assert!(loss.evaluate_into(&batch, &mut [0.0; 3], None).is_err());
    let short = &mut [0.0; 5];
    assert!(
        loss.evaluate_into(&batch, &mut [0.0; 4], Some(short))
            .is_err()
    );
}
