//! The algorithm, from image to update, without a trainer: sample a group of answers to a prompt,
//! score them, compare them within the group, make the better ones likelier.
//!
//! `cargo run --release --example grpo_loop`
//!
//! Everything here is a part that can be replaced: the other examples whose names begin with `own_`
//! show how.

#![allow(clippy::print_stdout)]

#[allow(unreachable_pub)]
#[path = "common/assets.rs"]
mod assets;

use std::error::Error;
use std::sync::Arc;

use visrl::core::{Domain, SeedStream};
use visrl::data::{
    ChoiceList, ChoiceRule, Dataset, ExampleDealer, FashionMnist, Method, PromptTemplate, Split,
    Wording, few_shot,
};
use visrl::grpo::{Advantage, AdvantageEstimator, GrpoLoss, RewardTable};
use visrl::reward::RewardSet;
use visrl::rollout::{
    EngineConfig, GroupRequest, NativeEngine, PolicySync, RolloutEngine, SamplingParams,
};
use visrl::train::{LearnGroup, Learner, LearnerConfig};
use visrl::vlm::{FeatureStore, Pretrained, QwenVl, Trainable};

const SEED: u64 = 100;
const STEPS: usize = 40;
const PROMPTS: usize = 8;
/// Completions of each prompt, G.
const GROUP: usize = 16;

fn main() -> Result<(), Box<dyn Error>> {
    // A checkpoint, and four images of each class.
    let base = Pretrained::<QwenVl>::load(assets::model(), &visrl::parse_device("flex")?)?;
    let data = FashionMnist::open(assets::fashion_mnist())?;
    let train = few_shot(&data, 4, SEED)?;

    // How an example is asked, and what an answer is worth.
    let template = PromptTemplate::paper(Method::NoThinking, Wording::Train);
    let rewards = RewardSet::no_thinking();
    let advantage = Advantage::default();

    // Engine and learner share the features of images, since the vision tower stays as it is.
    let features = Arc::new(FeatureStore::new(1024));
    let config = LearnerConfig {
        trainable: Trainable::language_model(),
        ..LearnerConfig::default()
    };
    let loss = Box::new(GrpoLoss::default());
    let mut learner = Learner::new(base.model, loss, Arc::clone(&features), config);
    let tokenizer = Arc::clone(base.encoder.tokenizer());
    let mut engine = NativeEngine::new(
        learner.model(),
        tokenizer,
        features,
        EngineConfig::default(),
    );

    let choices = ChoiceList::new(ChoiceRule::All, SEED);
    let dealer = ExampleDealer::new(&train, train.records(Split::Train)?, choices, SEED)?;
    for step in 0..STEPS {
        // Examples become prompts, and prompts what the model reads.
        let examples = dealer.deal(step * PROMPTS, PROMPTS)?;
        let prompts: Vec<_> = examples
            .iter()
            .map(|example| Arc::new(template.render(example)))
            .collect();
        let inputs = base.encoder.encode_all(learner.model(), &prompts)?;

        // Image and prompt are encoded once for the G completions of a group.
        let requests: Vec<_> = prompts
            .iter()
            .zip(&inputs)
            .zip(0..)
            .map(|((prompt, input), index)| {
                let stream = SeedStream::new(SEED, Domain::Sampling);
                GroupRequest {
                    num_generations: GROUP,
                    sampling: SamplingParams {
                        max_new_tokens: 8,
                        ..SamplingParams::default()
                    },
                    step: step as u32,
                    index,
                    ..GroupRequest::new(Arc::clone(prompt), Arc::clone(input), stream)
                }
            })
            .collect();
        let groups = engine.generate(&requests)?;

        // A score for each completion, and how much better each is than its siblings.
        let scores: Vec<f32> = groups
            .iter()
            .zip(&examples)
            .flat_map(|(group, example)| {
                let score = |text: &str| rewards.score(text, example).total.unwrap_or(0.0);
                let texts = group.completions.iter().map(|c| score(&c.text));
                texts.collect::<Vec<_>>()
            })
            .collect();
        let advantages = advantage.advantages(&RewardTable::new(&scores, 1, GROUP)?)?;

        // The learner computes the log-probabilities of the same completions, the loss their
        // coefficients, and the learner pushes these back through the model.
        let batch: Vec<_> = groups
            .into_iter()
            .zip(inputs)
            .zip(advantages.chunks(GROUP))
            .map(|((group, input), own)| LearnGroup::sampled(input, group, own.to_vec()))
            .collect();
        let rate = 3e-4 * (1.0 - step as f64 / STEPS as f64);
        let report = learner.update(&batch, rate)?;
        engine.set_policy(learner.model())?;

        let mean = scores.iter().sum::<f32>() / scores.len() as f32;
        println!(
            "step {step:3}: right {:5.1} %, loss {:+.4}, groups that teach {}/{PROMPTS}",
            100.0 * mean,
            report.loss,
            report.effective_groups
        );
    }
    Ok(())
}
