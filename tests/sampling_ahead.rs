//! Sampling ahead of the learner: without a lag it is the run that samples and learns in turn, and with
//! one the samples of each step are of exactly the policy that they are said to be of.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use burn::tensor::Device;
use visrl::core::Group;
use visrl::data::{
    ChoiceList, ChoiceRule, Dataset, ExampleDealer, FashionMnist, Method, PromptTemplate, Split,
    Wording, few_shot,
};
use visrl::grpo::GrpoLoss;
use visrl::reward::RewardSet;
use visrl::rollout::{
    BackgroundEngine, EngineConfig, Error, GroupRequest, NativeEngine, PolicySync, RolloutEngine,
    SamplingParams,
};
use visrl::train::{
    AsyncGrpoTrainer, GrpoConfig, GrpoTrainer, Learner, LearnerConfig, StepContext, StepMetrics,
    TrainStep,
};
use visrl::vlm::{FeatureStore, Pretrained, QwenVl, Trainable};
use visrl::{FineTune, Recipe, Trainer};

const STEPS: usize = 5;
const PROMPTS: usize = 2;

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../assets")
        .join(name)
}

fn base() -> Pretrained<QwenVl> {
    Pretrained::load(asset("base"), &Device::flex()).unwrap()
}

/// Writes down by which policy, counted from 0, the samples of a step were made.
struct Noted {
    inner: NativeEngine<QwenVl>,
    policies: usize,
    notes: Arc<Mutex<Vec<(u32, usize)>>>,
}

impl RolloutEngine for Noted {
    fn generate_each(&mut self, requests: &[GroupRequest]) -> Vec<Result<Group, Error>> {
        let note = (requests[0].step, self.policies - 1);
        self.notes.lock().unwrap().push(note);
        self.inner.generate_each(requests)
    }
}

impl PolicySync<QwenVl> for Noted {
    fn set_policy(&mut self, policy: &QwenVl) -> Result<(), Error> {
        self.policies += 1;
        self.inner.set_policy(policy)
    }
}

type Notes = Arc<Mutex<Vec<(u32, usize)>>>;

fn trainer<E>(engine: impl FnOnce(Noted) -> E) -> (GrpoTrainer<QwenVl, E>, Notes) {
    let base = base();
    let features = Arc::new(FeatureStore::new(64));
    let tokenizer = Arc::clone(base.encoder.tokenizer());
    let notes = Notes::default();
    let noted = Noted {
        inner: NativeEngine::new(
            &base.model,
            tokenizer,
            Arc::clone(&features),
            EngineConfig::default(),
        ),
        policies: 0,
        notes: Arc::clone(&notes),
    };
    let learner = LearnerConfig {
        trainable: Trainable::language_model(),
        ..LearnerConfig::default()
    };
    let loss = Box::new(GrpoLoss::default());
    let trainer = GrpoTrainer {
        learner: Learner::new(base.model, loss, features, learner),
        engine: engine(noted),
        encoder: base.encoder,
        template: PromptTemplate::paper(Method::NoThinking, Wording::Train),
        rewards: RewardSet::no_thinking(),
        config: GrpoConfig {
            prompts_per_step: PROMPTS,
            num_generations: 4,
            sampling: SamplingParams {
                max_new_tokens: 6,
                ..SamplingParams::default()
            },
            ..GrpoConfig::default()
        },
    };
    (trainer, notes)
}

/// Makes all steps; gives their metrics but for the times, and the examples that were dealt and not
/// learnt from after each.
fn run(method: &mut dyn TrainStep<QwenVl>) -> (Vec<StepMetrics>, Vec<usize>) {
    let data = FashionMnist::open(asset("fashion-mnist")).unwrap();
    let train = few_shot(&data, 4, 100).unwrap();
    let choices = ChoiceList::new(ChoiceRule::All, 100);
    let records = train.records(Split::Train).unwrap();
    let dealer = ExampleDealer::new(&train, records, choices, 100).unwrap();
    method.begin().unwrap();
    let (mut all, mut ahead, mut dealt) = (Vec::new(), Vec::new(), 0);
    for step in 0..STEPS {
        let mut next = |count| {
            dealt += count;
            Ok(dealer.deal(dealt - count, count)?)
        };
        let mut metrics = method
            .train_step(&mut StepContext::new(step, &mut next))
            .unwrap();
        metrics.seconds = Default::default();
        all.push(metrics);
        ahead.push(method.dealt_ahead());
        assert_eq!(dealt - method.dealt_ahead(), (step + 1) * PROMPTS);
    }
    (all, ahead)
}

fn weights(base: &Pretrained<QwenVl>, model: &QwenVl) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model");
    base.files
        .save(model, &path, visrl::vlm::SaveDtype::F32)
        .unwrap();
    fs::read(path.join("model.safetensors")).unwrap()
}

#[test]
fn without_a_lag_it_is_the_run_in_turn_bit_for_bit() {
    let (mut in_turn, _) = trainer(|engine| engine);
    let (ahead, _) = trainer(BackgroundEngine::new);
    let mut ahead = AsyncGrpoTrainer::new(ahead, 0, STEPS).unwrap();
    assert_eq!(run(&mut in_turn).0, run(&mut ahead).0);
    let base = base();
    let found = weights(&base, ahead.learner().model());
    assert!(found == weights(&base, in_turn.learner.model()));
}

#[test]
fn a_step_s_samples_are_of_the_policy_so_many_steps_before() {
    let (trainer, notes) = trainer(BackgroundEngine::new);
    let mut method = AsyncGrpoTrainer::new(trainer, 2, STEPS).unwrap();
    let (metrics, ahead) = run(&mut method);
    let staleness: Vec<_> = metrics.iter().map(|step| step.staleness).collect();
    assert_eq!(staleness, [0, 1, 2, 2, 2]);
    // Nothing is sampled beyond the last step.
    assert_eq!(ahead, [4, 4, 4, 2, 0]);
    assert_eq!(
        *notes.lock().unwrap(),
        [(0, 0), (1, 0), (2, 0), (3, 1), (4, 2)]
    );
}

#[test]
fn the_timing_does_not_show() {
    let run = || {
        let (trainer, _) = trainer(BackgroundEngine::new);
        run(&mut AsyncGrpoTrainer::new(trainer, 1, STEPS).unwrap()).0
    };
    assert_eq!(run(), run());
}

#[test]
fn a_run_is_resumed_and_resampling_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let data = FashionMnist::open(asset("fashion-mnist")).unwrap();
    let train = few_shot(&data, 2, 1).unwrap();
    let settings = |steps: usize, resume: bool| FineTune {
        steps,
        resume,
        prompts_per_step: PROMPTS,
        num_generations: 4,
        max_staleness: 1,
        test_per_class: 1,
        checkpoint_every: 2,
        out: out.clone(),
        ..FineTune::default()
    };
    let recipe = Recipe::no_thinking_rl();
    let launch = |settings: FineTune| {
        Trainer::new(base(), &recipe, &train)
            .settings(settings)
            .launch()
    };
    for (steps, resume) in [(3, false), (5, true)] {
        let summary = launch(settings(steps, resume)).unwrap().summary;
        assert_eq!(summary.steps, steps);
    }
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let staleness = text.lines().map(|line| {
        let step: StepMetrics = serde_json::from_str(line).unwrap();
        assert!(step.seconds.engine.is_some() && step.seconds.engine_idle.is_some());
        step.staleness
    });
    assert_eq!(staleness.collect::<Vec<_>>(), [0, 1, 1, 1, 1]);
    let mut resampling = settings(2, false);
    resampling.resample_rounds = 1;
    let error = launch(resampling).unwrap_err().to_string();
    assert!(
        error.contains("`fine_tune.resample_rounds` must be 0 beside `max_staleness`"),
        "{error}"
    );
}
