//! Random ragged batches: sharing a prefix, cutting a batch, running the head in chunks and computing
//! layers again change nothing but rounding.

#![allow(clippy::print_stdout)]

mod common;

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use common::{GroupShape, device, distance, group, models, rng};
use proptest::prelude::*;
use visrl_grpo::{
    Cispo, Clipped, DrGrpo, GrpoLoss, ImportanceLevel, Loss, Normalization, OnPolicy, Sapo, Terms,
    Vespo,
};
use visrl_train::{Gradients, LearnGroup, Learner, LearnerConfig, TokenGroup};
use visrl_vlm::{FeatureStore, QwenVl, Trainable};

/// Log-probabilities, `[group][completion][token]`.
type Logps = Vec<Vec<Vec<f32>>>;

fn families() -> Vec<Loss> {
    let clip = Clipped::default();
    vec![
        Loss::PaperClsRl(OnPolicy {}),
        Loss::Grpo(clip),
        Loss::Bnpo(clip),
        Loss::DrGrpo(DrGrpo {
            clip,
            max_completion_length: 8,
        }),
        Loss::Dapo(clip),
        Loss::Cispo(Cispo::default()),
        Loss::Sapo(Sapo::default()),
        Loss::Luspo(clip),
        Loss::Vespo(Vespo::default()),
    ]
}

/// Every family under the paper's options, at sequence level, and with everything that needs
/// entropies or counts of the whole batch.
fn losses() -> Vec<GrpoLoss> {
    let paper = Terms::default();
    let options = [
        paper,
        Terms {
            importance_sampling_level: ImportanceLevel::Sequence,
            use_bias_correction_kl: true,
            ..paper
        },
        Terms {
            beta: 0.5,
            entropy_coef: 0.1,
            top_entropy_quantile: 0.6,
            mask_truncated_completions: true,
            ..paper
        },
    ];
    let with = |terms| {
        families()
            .into_iter()
            .map(move |loss| GrpoLoss { loss, terms })
    };
    options.into_iter().flat_map(with).collect()
}

fn learner(dir: &Path, loss: GrpoLoss, config: LearnerConfig) -> Learner<QwenVl> {
    let model = QwenVl::from_dir(dir, &device()).unwrap();
    let kept = match config.trainable == Trainable::language_model() {
        true => 8,
        false => 0,
    };
    let features = Arc::new(FeatureStore::new(kept));
    Learner::new(model, Box::new(loss), features, config)
}

/// Log-probabilities near the policy's.
fn reference(learner: &Learner<QwenVl>, groups: &[LearnGroup], seed: u64) -> Logps {
    let tokens: Vec<TokenGroup> = groups.iter().map(|group| group.tokens.clone()).collect();
    let mut logps = learner.score(&tokens).unwrap().logps;
    let mut noise = rng(seed);
    for logp in logps.iter_mut().flatten().flatten() {
        *logp += 0.3 * noise.normal() as f32;
    }
    logps
}

/// Each completion as a group of its own.
fn singles(groups: &[LearnGroup], logps: &Logps) -> (Vec<LearnGroup>, Logps) {
    let each = groups.iter().zip(logps).flat_map(|(group, logps)| {
        (0..group.advantages.len()).map(move |i| {
            let single = LearnGroup {
                tokens: TokenGroup {
                    input: Arc::clone(&group.tokens.input),
                    completions: vec![group.tokens.completions[i].clone()],
                },
                advantages: vec![group.advantages[i]],
                truncated: vec![group.truncated[i]],
            };
            (single, vec![logps[i].clone()])
        })
    });
    each.unzip()
}

fn shapes() -> impl Strategy<Value = Vec<GroupShape>> {
    let images = prop::collection::vec([1usize..4, 1usize..4], 0..3);
    let completions = prop::collection::vec(1usize..9, 1..5);
    let shape =
        (2usize..24, images, completions).prop_map(|(text, images, completions)| GroupShape {
            text,
            images,
            completions,
        });
    prop::collection::vec(shape, 1..5)
}

thread_local! {
    /// The largest distances seen.
    static WORST: Cell<[f64; 2]> = const { Cell::new([0.0; 2]) };
    /// Comparisons with a prefix that is not shared, and those further apart than [`USUAL`].
    static SHARING: Cell<[usize; 2]> = const { Cell::new([0; 2]) };
}

/// The distance that gradients keep to, relative to the sum itself, but for one batch in a hundred:
/// where completions of advantages of either sign leave little of the vision tower's gradient.
const USUAL: f64 = 1e-5;

/// The largest distance of gradients, in relation to what is added up in them.
///
/// [`distance`] is relative to the sum, of which the parts of completions with advantages of either
/// sign have cancelled some; rounding is relative to the parts. Most batches lie below 5e-6, one in
/// some hundreds above 1e-5.
const LIMIT: f64 = 2e-5;

/// How much larger the norms of all completions' gradients are than that of their sum.
fn cancellation(
    learner: &Learner<QwenVl>,
    loss: &GrpoLoss,
    (groups, logps): &(Vec<LearnGroup>, Logps),
    whole: &Gradients,
) -> f64 {
    let tokens = |group: &LearnGroup| group.tokens.completions[0].len();
    let all = Normalization::new(groups.len(), groups.iter().map(tokens).sum());
    let mut sum = 0.0;
    for (group, logps) in groups.iter().zip(logps) {
        let logps = vec![logps.clone()];
        let one = learner
            .gradients(std::slice::from_ref(group), Some(&logps))
            .unwrap()
            .1;
        let weight = |counts| loss.aggregation().weight(tokens(group), counts);
        let share = weight(&all) / weight(&Normalization::new(1, tokens(group)));
        sum += share * one.global_norm().unwrap();
    }
    (sum / whole.global_norm().unwrap().max(f64::MIN_POSITIVE)).max(1.0)
}

fn same(
    what: &str,
    found: &(f64, Gradients),
    expected: &(f64, Gradients),
    cancellation: f64,
) -> Result<(), TestCaseError> {
    let (loss, wanted) = (found.0, expected.0);
    prop_assert!(
        (loss - wanted).abs() <= 1e-5 * wanted.abs().max(1.0),
        "{what}: {loss} {wanted}"
    );
    if expected.1.is_empty() {
        prop_assert!(found.1.is_empty(), "{what}");
        return Ok(());
    }
    let apart = distance(&found.1, &expected.1).map(|apart| apart / cancellation);
    WORST.with(|worst| {
        let seen = worst.get();
        worst.set([0, 1].map(|part| apart[part].max(seen[part])));
    });
    prop_assert!(
        apart.iter().all(|apart| *apart <= LIMIT),
        "{what}: relative L2 of language model and all {apart:?}"
    );
    Ok(())
}

/// The number of random batches: `PROPTEST_CASES`, or 48.
fn cases() -> u32 {
    let wanted = std::env::var("PROPTEST_CASES").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(48)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn sharing_cuts_chunks_and_recomputation_change_nothing(
        shapes in shapes(),
        seed in any::<u64>(),
        model in any::<prop::sample::Index>(),
        loss in any::<prop::sample::Index>(),
        frozen in any::<bool>(),
        micro_batch_groups in 0usize..3,
        recompute in 1usize..4,
        head_chunk in prop::sample::select(vec![1, 7, usize::MAX]),
    ) {
        let (models, losses) = (models(), losses());
        let (dir, loss) = (model.get(&models), *loss.get(&losses));
        let trainable = match frozen {
            true => Trainable::language_model(),
            false => Trainable::default(),
        };
        let config = LearnerConfig { trainable, ..LearnerConfig::default() };
        let shared = learner(dir, loss, config.clone());
        let mut draw = rng(seed);
        let groups: Vec<_> =
            shapes.iter().map(|shape| group(shared.model(), shape, &mut draw)).collect();
        let logps = reference(&shared, &groups, seed);
        let expected = shared.gradients(&groups, Some(&logps)).unwrap();
        let singles = singles(&groups, &logps);
        let slack = cancellation(&shared, &loss, &singles, &expected.1);

        let cut = LearnerConfig { micro_batch_groups, head_chunk, ..config };
        let again = LearnerConfig { recompute, ..cut.clone() };
        let apart = LearnerConfig { shared_prefix: false, ..cut.clone() };
        for (what, config) in [("cut", cut), ("recomputed", again), ("prefix not shared", apart)] {
            let unshared = !config.shared_prefix;
            let found = learner(dir, loss, config).gradients(&groups, Some(&logps)).unwrap();
            same(what, &found, &expected, slack)?;
            if unshared && !expected.1.is_empty() {
                let [_, all] = distance(&found.1, &expected.1);
                let [seen, far] = SHARING.with(|sharing| {
                    let [seen, far] = sharing.get();
                    sharing.set([seen + 1, far + usize::from(all > USUAL)]);
                    sharing.get()
                });
                println!("sharing: {} of {seen} within {USUAL:e}, the last {all:e}", seen - far);
                prop_assert!(20 * far <= seen + 40, "{far} of {seen} beyond {USUAL}");
            }
        }
        let (groups, logps) = singles;
        let found = shared.gradients(&groups, Some(&logps)).unwrap();
        same("groups of one", &found, &expected, slack)?;
        println!("relative L2 so far, language model and all: {:?}", WORST.with(Cell::get));
    }
}

/// Eight groups of different lengths, with and without images.
fn eight(model: &QwenVl) -> Vec<LearnGroup> {
    let mut draw = rng(8);
    (0..8)
        .map(|i| {
            let shape = GroupShape {
                text: 3 + 5 * i % 17,
                images: vec![[1 + i % 3, 2]; i % 3],
                completions: (0..1 + i % 4).map(|c| 1 + (3 * c + i) % 7).collect(),
            };
            group(model, &shape, &mut draw)
        })
        .collect()
}

#[test]
fn one_batch_of_eight_groups_is_eight_batches_of_one() {
    let dir = &models()[0];
    let losses = losses();
    for loss in &losses {
        let whole = learner(dir, *loss, LearnerConfig::default());
        let groups = eight(whole.model());
        let logps = reference(&whole, &groups, 9);
        let expected = whole.gradients(&groups, Some(&logps)).unwrap();
        assert!(!expected.1.is_empty());
        for micro_batch_groups in [1, 3] {
            let config = LearnerConfig {
                micro_batch_groups,
                ..LearnerConfig::default()
            };
            let found = learner(dir, *loss, config)
                .gradients(&groups, Some(&logps))
                .unwrap();
            let what = format!("{loss:?}, {micro_batch_groups}");
            same(&what, &found, &expected, 1.0).unwrap();
        }
    }
    println!(
        "losses: {}, relative L2 {:?}",
        losses.len(),
        WORST.with(Cell::get)
    );
}

/// From the second update on, ratios to the first policy's log-probabilities are clipped: these are
/// kept in their places however a batch is cut.
#[test]
fn several_updates_of_a_batch_do_not_depend_on_the_cut() {
    let dir = &models()[0];
    let run = |micro_batch_groups, shared_prefix| {
        let config = LearnerConfig {
            updates_per_batch: 3,
            micro_batch_groups,
            shared_prefix,
            ..LearnerConfig::default()
        };
        let loss = GrpoLoss::new(Loss::Dapo(Clipped {
            epsilon: 0.02,
            ..Clipped::default()
        }));
        let mut learner = learner(dir, loss, config);
        let groups = eight(learner.model());
        let report = learner.update(&groups, 3e-4).unwrap();
        let tokens: Vec<TokenGroup> = groups.iter().map(|g| g.tokens.clone()).collect();
        let scores = learner.score(&tokens).unwrap().logps;
        let scores: Vec<f32> = scores.into_iter().flatten().flatten().collect();
        (report, scores)
    };
    let (expected, scores) = run(0, true);
    let metrics = &expected.metrics;
    assert!(
        metrics.clip_region() > 0.0 && metrics.max_ratio() > 1.0,
        "{metrics:?}"
    );
    assert_eq!(expected.effective_groups, 8);
    for (micro_batch_groups, shared_prefix) in [(1, true), (3, true), (3, false)] {
        let (report, found) = run(micro_batch_groups, shared_prefix);
        assert!((report.loss - expected.loss).abs() < 1e-4);
        let metrics = (report.metrics.mean_ratio(), expected.metrics.mean_ratio());
        assert!((metrics.0 / metrics.1 - 1.0).abs() < 1e-4, "{metrics:?}");
        for (a, b) in found.iter().zip(&scores) {
            assert!((a - b).abs() < 2e-3, "{a} is not {b}");
        }
    }
}
