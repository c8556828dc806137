//! A rollout engine of one's own: it wraps another one and measures it, is held to what every engine
//! guarantees, and samples for a few steps of GRPO.
//!
//! `cargo run --release --example own_engine`

#![allow(clippy::print_stdout)]

#[allow(unreachable_pub)]
#[path = "common/assets.rs"]
mod assets;

use std::sync::Arc;
use std::time::{Duration, Instant};

use visrl::core::{Domain, Group, SeedStream};
use visrl::data::{ChoiceList, ChoiceRule, ExampleDealer, Method, PromptTemplate, Wording};
use visrl::prelude::*;
use visrl::rollout::conformance::{self, Expected};
use visrl::rollout::{
    EngineConfig, Error as RolloutError, GroupRequest, NativeEngine, PolicySync, RolloutEngine,
};
use visrl::train::{GrpoConfig, GrpoTrainer, Learner, LearnerConfig, StepContext, TrainStep};
use visrl::vlm::{FeatureStore, Trainable};

/// Counts tokens and time of the engine inside.
struct Metered<E> {
    inner: E,
    tokens: usize,
    time: Duration,
}

impl<E: RolloutEngine> RolloutEngine for Metered<E> {
    fn generate_each(&mut self, requests: &[GroupRequest]) -> Vec<Result<Group, RolloutError>> {
        let start = Instant::now();
        let groups = self.inner.generate_each(requests);
        self.time += start.elapsed();
        let completions = groups.iter().flatten().flat_map(|group| &group.completions);
        self.tokens += completions.map(|c| c.tokens.len()).sum::<usize>();
        groups
    }
}

impl<M, E: PolicySync<M>> PolicySync<M> for Metered<E> {
    fn set_policy(&mut self, policy: &M) -> Result<(), RolloutError> {
        self.inner.set_policy(policy)
    }
}

fn main() -> Result<(), Error> {
    let base = Pretrained::<QwenVl>::load(assets::model(), &parse_device("flex")?)?;
    let data = FashionMnist::open(assets::fashion_mnist())?;
    let train = few_shot(&data, 4, 100)?;
    let template = PromptTemplate::paper(Method::NoThinking, Wording::Train);
    let choices = ChoiceList::new(ChoiceRule::All, 100);
    let dealer = ExampleDealer::new(&train, train.records(Split::Train)?, choices, 100)?;

    let features = Arc::new(FeatureStore::new(1024));
    let tokenizer = Arc::clone(base.encoder.tokenizer());
    let config = EngineConfig::default();
    let mut engine = Metered {
        inner: NativeEngine::new(&base.model, tokenizer, Arc::clone(&features), config),
        tokens: 0,
        time: Duration::ZERO,
    };

    // What it does wrong, in words.
    let examples = dealer.deal(0, 3)?;
    let prompts: Vec<_> = examples
        .iter()
        .map(|example| Arc::new(template.render(example)))
        .collect();
    let inputs = base.encoder.encode_all(&base.model, &prompts)?;
    let stream = SeedStream::new(100, Domain::Sampling);
    let requests: Vec<_> = prompts
        .into_iter()
        .zip(inputs)
        .map(|(prompt, input)| GroupRequest {
            num_generations: 4,
            ..GroupRequest::new(prompt, input, stream)
        })
        .collect();
    let expected = Expected::of(base.model.info());
    let faults = conformance::check(&mut engine, &requests, &expected);
    println!("conformance: {} faults {faults:?}", faults.len());

    let sampling = SamplingParams {
        max_new_tokens: 8,
        ..SamplingParams::default()
    };
    let learner = LearnerConfig {
        trainable: Trainable::language_model(),
        ..LearnerConfig::default()
    };
    let loss = Box::new(GrpoLoss::default());
    let mut trainer = GrpoTrainer {
        learner: Learner::new(base.model, loss, features, learner),
        engine,
        encoder: base.encoder,
        template,
        rewards: RewardSet::no_thinking(),
        config: GrpoConfig {
            prompts_per_step: 8,
            num_generations: 16,
            sampling,
            ..GrpoConfig::default()
        },
    };
    for step in 0..10 {
        let mut next = |count| Ok(dealer.deal(step * count, count)?);
        let metrics = trainer.train_step(&mut StepContext::new(step, &mut next))?;
        println!("step {step}: reward {:.3}", metrics.reward);
    }
    let seconds = trainer.engine.time.as_secs_f64();
    let tokens = trainer.engine.tokens;
    println!("{:.0} tokens/s", tokens as f64 / seconds);
    Ok(())
}
