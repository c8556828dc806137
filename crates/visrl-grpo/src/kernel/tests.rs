//! Blocks and pieces against the same tokens in others.

use crate::loss::{Cispo, Clipped, Loss, OnPolicy, Sapo, Vespo};
use crate::{GrpoLoss, PolicyLoss, Terms, TokenBatch};

/// Rows of whole blocks, against the same tokens with one that does not count after every
/// nine, so that no block is whole, and against the same tokens with padding.
#[test]
fn whole_blocks_equal_those_with_holes_and_padding() {
    const LEN: usize = 207;
    const ROWS: usize = 3;
    let noise = |phase: f64| -> Vec<f64> {
        let tokens = 0..LEN * ROWS;
        tokens.map(|t| (t as f64 * 12.9898 + phase).sin()).collect()
    };
    let holed = |values: &[f64]| -> Vec<f64> {
        let nines = values.chunks(9);
        nines
            .flat_map(|nine| [nine, &[f64::NAN]].concat())
            .collect()
    };
    let fields = [0.0, 0.1, 0.2, 0.3].map(noise);
    let with_holes = fields.clone().map(|field| holed(&field));
    // And the same before padding.
    let padded = |values: &[f64]| -> Vec<f64> {
        let rows = values.chunks(LEN);
        rows.flat_map(|row| [row, &[f64::NAN; 150]].concat())
            .collect()
    };
    let with_padding = fields.clone().map(|field| padded(&field));
    let mask = vec![true; LEN * ROWS];
    let counts = |field: &[f64]| field.iter().map(|value| !value.is_nan()).collect();
    let (holed_mask, padded_mask): (Vec<_>, Vec<_>) =
        (counts(&with_holes[0]), counts(&with_padding[0]));
    let clip = Clipped::default();
    for loss in [
        Loss::PaperClsRl(OnPolicy {}),
        Loss::Dapo(clip),
        Loss::Luspo(clip),
        Loss::Cispo(Cispo::default()),
        Loss::Sapo(Sapo::default()),
        Loss::Vespo(Vespo::default()),
    ] {
        for quantile in [1.0, 0.3] {
            let terms = Terms {
                top_entropy_quantile: quantile,
                entropy_coef: 0.1,
                ..Terms::default()
            };
            let evaluate = |len: usize, fields: &[Vec<f64>; 4], mask: &[bool]| {
                let batch = TokenBatch::new(len, &fields[0], mask, &[1.0, -0.5, 0.3])
                    .with_old_logps(&fields[1])
                    .with_ref_logps(&fields[2])
                    .with_entropies(&fields[3]);
                let (mut grad, mut bonus) = (vec![0.0; mask.len()], vec![0.0; mask.len()]);
                let summary = GrpoLoss { loss, terms }
                    .evaluate_into(&batch, &mut grad, Some(&mut bonus))
                    .unwrap();
                (summary, grad, bonus)
            };
            let (whole, grad, bonus) = evaluate(LEN, &fields, &mask);
            for (fields, mask) in [(&with_holes, &holed_mask), (&with_padding, &padded_mask)] {
                let (other, other_grad, other_bonus) = evaluate(mask.len() / ROWS, fields, mask);
                assert!((whole.loss - other.loss).abs() < 1e-13, "{loss:?}");
                assert_eq!(whole.metrics.selected_tokens, other.metrics.selected_tokens);
                for ((name, metric), (_, other)) in
                    whole.metrics.named().into_iter().zip(other.metrics.named())
                {
                    assert!((metric - other).abs() < 1e-12, "{loss:?} {name}");
                }
                for (found, expected) in [(other_grad, &grad), (other_bonus, &bonus)] {
                    let mut expected = expected.iter();
                    for (found, counted) in found.iter().zip(mask) {
                        let expected = if *counted {
                            expected.next().unwrap()
                        } else {
                            &0.0
                        };
                        assert!((found - expected).abs() < 1e-15, "{loss:?}");
                    }
                }
            }
        }
    }
}

/// A batch of several pieces, whatever the threads, against its rows in one piece each.
#[test]
fn pieces_add_up_to_the_batch_on_any_number_of_threads() {
    const LEN: usize = 100;
    const ROWS: usize = 600;
    let noise = |phase: f64| -> Vec<f64> {
        let tokens = 0..LEN * ROWS;
        tokens.map(|t| (t as f64 * 12.9898 + phase).sin()).collect()
    };
    let [logps, old, reference, entropies] = [0.0, 0.1, 0.2, 0.3].map(noise);
    let mask: Vec<_> = (0..LEN * ROWS)
        .map(|t| t % LEN < 10 + t / LEN % 90)
        .collect();
    let advantages = noise(0.4);
    let batch = TokenBatch::new(LEN, &logps, &mask, &advantages[..ROWS])
        .with_old_logps(&old)
        .with_ref_logps(&reference)
        .with_entropies(&entropies);
    let loss = GrpoLoss {
        loss: Loss::Grpo(Clipped::default()),
        terms: Terms {
            entropy_coef: 0.1,
            top_entropy_quantile: 0.5,
            ..Terms::default()
        },
    };
    let evaluate = |batch: &TokenBatch<'_, f64>| {
        let (mut grad, mut bonus) = (vec![0.0; batch.mask.len()], vec![0.0; batch.mask.len()]);
        let summary = loss.evaluate_into(batch, &mut grad, Some(&mut bonus));
        (summary.unwrap(), grad, bonus)
    };
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| evaluate(&batch))
    };
    let whole = on(1);
    assert_eq!(on(3), whole);
    let counts = loss.normalization(&batch).unwrap();
    let (mut sum, mut grad, mut bonus) = (0.0, vec![], vec![]);
    for row in 0..ROWS {
        let row = batch.slice(row..row + 1).unwrap();
        let (summary, row_grad, row_bonus) = evaluate(&row.with_normalization(counts));
        sum += summary.loss;
        grad.extend(row_grad);
        bonus.extend(row_bonus);
    }
    assert!((sum - whole.0.loss).abs() < 1e-12);
    assert_eq!((grad, bonus), (whole.1, whole.2));
}
