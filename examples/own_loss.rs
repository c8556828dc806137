//! A policy loss of one's own: what one token is worth, and its derivatives. KL term, masks,
//! corrections and metrics come with it.
//!
//! `cargo run --release --example own_loss`

#![allow(clippy::print_stdout)]

#[allow(unreachable_pub)]
#[path = "common/assets.rs"]
mod assets;

use visrl::grpo::{Aggregation, Real, RowView, SharedOptions, Surrogate, SurrogateLoss, Term};
use visrl::prelude::*;

/// REINFORCE with a weight: `-A w logp`, and only half the weight for completions that are worse than
/// their siblings.
struct GentleReinforce;

impl<F: Real> Surrogate<F> for GentleReinforce {
    /// What is computed once per row: its weighted advantage.
    type Row = F;

    fn row(&self, row: &RowView<'_, F>) -> F {
        match row.advantage < F::ZERO {
            true => row.advantage * F::from_f64(0.5),
            false => row.advantage,
        }
    }

    fn token(&self, advantage: &F, logp: F, _ratio: F) -> Term<F> {
        Term::of_logp(-*advantage * logp, -*advantage)
    }
}

fn main() -> Result<(), Error> {
    let base = Pretrained::<QwenVl>::load(assets::model(), &parse_device("flex")?)?;
    let data = FashionMnist::open(assets::fashion_mnist())?;
    let train = few_shot(&data, 4, 100)?;
    let loss = SurrogateLoss {
        surrogate: GentleReinforce,
        aggregation: Aggregation::TokenMean,
        terms: SharedOptions {
            beta: 0.0,
            ..SharedOptions::default()
        },
    };
    let settings = FineTune {
        steps: 40,
        test_per_class: 10,
        out: "runs/own_loss".into(),
        ..FineTune::default()
    };
    // The name stands in the run's files; a run with it is resumed when it is given again.
    let outcome = Trainer::new(base, &Recipe::no_thinking_rl(), &train)
        .settings(settings)
        .test(&data)
        .loss("gentle_reinforce", loss)
        .launch()?;
    println!(
        "{:.1} % -> {:.1} %",
        100.0 * outcome.summary.before.greedy,
        100.0 * outcome.summary.after.greedy
    );
    Ok(())
}
