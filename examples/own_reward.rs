//! A reward of one's own: a rule of a function, and a judge that scores a whole step in one call and
//! may fail.
//!
//! `cargo run --release --example own_reward`

#![allow(clippy::print_stdout)]

#[allow(unreachable_pub)]
#[path = "common/assets.rs"]
mod assets;

use visrl::prelude::*;
use visrl::reward::RuleFailure;

/// Stands for a service or a model that judges many answers at once: it prefers an answer whose
/// first letter is right, and is told nothing else.
struct Judge;

impl RewardRule for Judge {
    fn name(&self) -> &str {
        "judge"
    }

    fn score(&self, completion: &str, example: &Example) -> Option<f32> {
        let one = [Answered {
            completion,
            example,
        }];
        self.score_batch(&one).ok()?.pop()?
    }

    /// Called once a step. An error ends the run and names the rule; `None` leaves a completion
    /// unscored, which is not the same as wrong.
    fn score_batch(&self, batch: &[Answered<'_>]) -> Result<Vec<Option<f32>>, RuleFailure> {
        let first = |text: &str| text.trim().chars().next();
        let judge = |a: &Answered<'_>| {
            let same = first(a.completion) == first(&a.example.label);
            Some(if same { 1.0 } else { 0.0 })
        };
        Ok(batch.iter().map(judge).collect())
    }
}

fn main() -> Result<(), Error> {
    let base = Pretrained::<QwenVl>::load(assets::model(), &parse_device("flex")?)?;
    let data = FashionMnist::open(assets::fashion_mnist())?;
    let train = few_shot(&data, 4, 100)?;

    // Right answers still count for 1, a right first letter for 0.2, brevity for 0.1.
    let brief = rule_fn("brief", |completion, _| {
        Some(f32::from(completion.len() < 20))
    });
    let rewards = RewardSet::no_thinking()
        .with(Judge, 0.2)?
        .with(brief, 0.1)?;
    let recipe = Recipe {
        name: "judged".into(),
        rewards,
        ..Recipe::no_thinking_rl()
    };
    let settings = FineTune {
        steps: 20,
        test_per_class: 10,
        out: "runs/own_reward".into(),
        ..FineTune::default()
    };
    // Both rules are recorded in the run's files by their names.
    let outcome = Trainer::new(base, &recipe, &train)
        .settings(settings)
        .test(&data)
        .launch()?;
    let percent = |accuracy: f64| 100.0 * accuracy;
    println!(
        "{:.1} % -> {:.1} %; each rule's mean is in runs/own_reward/metrics.jsonl",
        percent(outcome.summary.before.greedy),
        percent(outcome.summary.after.greedy)
    );
    Ok(())
}
