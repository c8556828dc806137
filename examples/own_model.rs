//! A model of one's own, with an image processor, a tokenizer and a chat template of its own and no
//! folder behind it: `downstream/src/model.rs` is the model, in 200 lines, and this trains it.
//!
//! `cargo run --release --example own_model`

#![allow(clippy::print_stdout, unreachable_pub, missing_docs)]

#[path = "../downstream/src/dataset.rs"]
mod dataset;
#[path = "../downstream/src/model.rs"]
mod model;

use visrl::prelude::*;

fn main() -> Result<(), Error> {
    let data = dataset::Colours::new();
    let base = model::base("what colour is it? red green blue", &parse_device("flex")?)?;
    // A model that knows no words begins with labels; rewards could follow.
    let recipe = Recipe::sft();
    let settings = FineTune {
        steps: 300,
        learning_rate: 1e-2,
        sampling: SamplingParams {
            max_new_tokens: 4,
            ..SamplingParams::default()
        },
        out: "runs/own_model".into(),
        ..FineTune::default()
    };
    let outcome = Trainer::new(base, &recipe, &data)
        .settings(settings)
        .launch()?;
    println!(
        "{:.0} % -> {:.0} %; the weights are in runs/own_model/model",
        100.0 * outcome.summary.before.greedy,
        100.0 * outcome.summary.after.greedy
    );
    Ok(())
}
