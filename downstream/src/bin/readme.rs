use visrl::prelude::*;

fn main() -> Result<(), visrl::Error> {
    let base = Pretrained::<QwenVl>::load("assets/base", &parse_device("flex")?)?;
    let data = FashionMnist::open("assets/fashion-mnist")?;
    let train = few_shot(&data, 4, 1)?;

    // CLS-RL, with a reward of one's own beside accuracy and format.
    let brief = rule_fn("brief", |text, _| Some(f32::from(text.len() < 400)));
    let rewards = RewardSet::cls_rl().with(brief, 0.2)?;
    let recipe = Recipe {
        rewards,
        ..Recipe::cls_rl()
    };

    let sampling = SamplingParams {
        max_new_tokens: 48,
        ..SamplingParams::default()
    };
    let settings = FineTune {
        steps: 10,
        sampling,
        test_per_class: 10,
        ..FineTune::default()
    };
    let outcome = Trainer::new(base, &recipe, &train)
        .test(&data)
        .settings(settings)
        .stop_when(|metrics| metrics.all_right > 0.9)
        .launch()?;

    let percent = |accuracy: Accuracy| format!("{:.1} %", 100.0 * accuracy.greedy);
    let Summary { before, after, .. } = outcome.summary;
    println!("{} -> {}", percent(before), percent(after));
    Ok(())
}
