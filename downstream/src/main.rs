//! A fine-tuning of three steps in which every part is this program's own: model, rule, data set,
//! loss, sink and observer.

mod dataset;
mod loss;
mod model;
mod observer;
mod rule;
mod sink;

use std::error::Error;
use std::path::PathBuf;

use visrl::reward::{RewardSet, WeightedRule};
use visrl::rollout::SamplingParams;
use visrl::{FineTune, Recipe, Trainer, parse_device};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from("runs/downstream");
    std::fs::create_dir_all(&out)?;
    let data = dataset::Colours::new();
    let base = model::base("what colour is it? red green blue", &parse_device("flex")?)?;
    let rewards = RewardSet::new([WeightedRule::new(rule::SharedLetters, 1.0)])?;
    let recipe = Recipe {
        name: "colours".into(),
        rewards,
        ..Recipe::no_thinking_rl()
    };
    let settings = FineTune {
        steps: 3,
        learning_rate: 1e-2,
        prompts_per_step: 6,
        num_generations: 8,
        sampling: SamplingParams {
            max_new_tokens: 4,
            ..SamplingParams::default()
        },
        out: out.clone(),
        ..FineTune::default()
    };
    let mut best = observer::Best::default();
    let outcome = Trainer::new(base, &recipe, &data)
        .settings(settings)
        .loss("reinforce", loss::Reinforce)
        .sink(sink::Csv::create(&out.join("steps.csv"))?)
        .observer(&mut best)
        .launch()?;

    let summary = outcome.summary;
    for (step, (completion, reward)) in best.0.iter().enumerate() {
        println!("step {step}: {completion:?} is worth {reward:.2}");
    }
    println!(
        "{} steps on `{}` by `{}` and the loss {:?}",
        summary.steps, summary.data.train, summary.rules[0], summary.loss
    );

    // What the run says of its parts must be what they are.
    let config = std::fs::read_to_string(out.join("config.json"))?;
    for name in [
        "colour_model",
        "mean colour",
        "colours",
        "shared_letters",
        "reinforce",
    ] {
        if !config.contains(&format!("\"{name}\"")) {
            return Err(format!("config.json does not name {name}").into());
        }
    }
    let rows = std::fs::read_to_string(out.join("steps.csv"))?
        .lines()
        .count();
    match (summary.steps, rows, best.0.len()) {
        (3, 4, 3) => Ok(()),
        other => Err(format!("{other:?} steps, rows and best completions").into()),
    }
}
