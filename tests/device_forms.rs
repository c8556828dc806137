//! On LibTorch, and on GPUs by kernels of our own, the operations of the models run in forms of the
//! backend and not in the plain ones: a training step and a rollout of every model of the fixtures
//! folder in each number format, on the device of `VISRL_DEVICE` (`tch`, `tch:N` or `wgpu`).
#![cfg(any(feature = "tch", feature = "wgpu"))]

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use visrl::core::{Domain, ImageSource, Prompt, SeedStream};
use visrl::grpo::GrpoLoss;
use visrl::kernels::forms::FORMS;
use visrl::parse_device;
use visrl::rollout::{
    EngineConfig, EngineKind, GroupRequest, LocalEngine, RolloutEngine, SamplingParams,
};
use visrl::train::{LearnGroup, Learner, LearnerConfig, TokenGroup};
use visrl::vlm::{FeatureStore, LoadOptions, ParamDtype, Pretrained, QwenVl};

/// How often each operation ran in a form of its own, and in the plain one.
#[derive(Clone, Debug, Default)]
struct Ran(BTreeMap<String, [usize; 2]>);

impl Ran {
    /// The operations that ran in the plain form, but for these.
    fn plain(&self, without: &[&str]) -> Vec<&str> {
        let plain = self.0.iter().filter(|(_, [_, plain])| *plain > 0);
        let names = plain.map(|(name, _)| name.as_str());
        names.filter(|name| !without.contains(name)).collect()
    }

    /// How often an operation ran in a form of its own.
    fn in_form(&self, name: &str) -> usize {
        self.0.get(name).map_or(0, |[in_form, _]| *in_form)
    }
}

/// What operations tell on any thread.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Ran>>);

impl Listener {
    /// What was told since this was asked last.
    fn take(&self) -> Ran {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == FORMS
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut told = Told::default();
        event.record(&mut told);
        let mut ran = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ran.0.entry(told.operation).or_default()[usize::from(!told.in_form)] += 1;
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Told {
    operation: String,
    in_form: bool,
}

impl Visit for Told {
    fn record_str(&mut self, _: &Field, value: &str) {
        // The type's own name.
        self.operation = value.rsplit("::").next().unwrap_or_default().to_owned();
    }

    fn record_bool(&mut self, _: &Field, value: bool) {
        self.in_form = value;
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

fn models() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(std::env::var_os("VISRL_FIXTURES").unwrap_or_else(|| "tests/fixtures".into()));
    let entries = fs::read_dir(root.join("models")).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|dir| dir.join("tokenizer.json").exists());
    found.sort();
    assert!(!found.is_empty(), "no models in {root:?}");
    found
}

fn device() -> String {
    let default = if cfg!(feature = "tch") { "tch" } else { "wgpu" };
    std::env::var("VISRL_DEVICE").unwrap_or_else(|_| default.into())
}

/// The number formats that models have on the device, and the operations that have no form there.
fn expected() -> (&'static [ParamDtype], &'static [&'static str]) {
    match device().as_str() {
        "wgpu" => (&[ParamDtype::F32], &WITHOUT_KERNELS),
        _ => (&[ParamDtype::F32, ParamDtype::Bf16, ParamDtype::F64], &[]),
    }
}

/// Operations without kernels in cubecl: products are burn's, and layers are composed.
const WITHOUT_KERNELS: [&str; 4] = ["Linear", "LinearOnto", "HeadNorms", "TransformerLayer"];

fn load(dir: &Path, dtype: ParamDtype) -> Pretrained<QwenVl> {
    let name = device();
    let options = LoadOptions {
        dtype,
        ..LoadOptions::default()
    };
    Pretrained::load_with(dir, &parse_device(&name).unwrap(), &options).unwrap()
}

/// Questions about images of two sizes.
fn prompts() -> Vec<Arc<Prompt>> {
    let prompt = |side: u32| {
        let image = ImageSource::Rgb {
            name: format!("{side} pixels").into(),
            width: side,
            height: side,
            pixels: (0..3 * side * side).map(|i| (i * 41 % 251) as u8).collect(),
        };
        Arc::new(Prompt::user(
            format!("{side}"),
            image,
            "What is in the photo?",
        ))
    };
    [64, 96].map(prompt).to_vec()
}

/// A GRPO step on two groups, everything trained.
fn training_step(base: Pretrained<QwenVl>) {
    let inputs = base.encoder.encode_all(&base.model, &prompts()).unwrap();
    let groups: Vec<LearnGroup> = inputs
        .into_iter()
        .map(|input| LearnGroup {
            tokens: TokenGroup {
                input,
                completions: vec![vec![5, 6, 7], vec![9]].into_iter().collect(),
            },
            advantages: vec![1.0, -1.0],
            truncated: vec![false; 2],
            sampler_logps: None,
        })
        .collect();
    let loss = Box::new(GrpoLoss::default());
    let features = Arc::new(FeatureStore::new(0));
    let mut learner = Learner::new(base.model, loss, features, LearnerConfig::default());
    let report = learner.update(&groups, 1e-6).unwrap();
    assert!(report.loss.is_finite());
}

/// A few tokens from the engine for devices.
fn rollout(base: &Pretrained<QwenVl>) {
    let config = EngineConfig {
        engine: EngineKind::Device,
        ..EngineConfig::default()
    };
    let tokenizer = Arc::clone(base.encoder.tokenizer());
    let features = Arc::new(FeatureStore::new(0));
    let mut engine = LocalEngine::new(&base.model, tokenizer, features, config);
    let prompts = prompts();
    let inputs = base.encoder.encode_all(&base.model, &prompts).unwrap();
    let requests: Vec<GroupRequest> = (0u32..)
        .zip(prompts.iter().zip(inputs))
        .map(|(index, (prompt, input))| GroupRequest {
            prompt: Arc::clone(prompt),
            input,
            num_generations: 2,
            sampling: SamplingParams {
                max_new_tokens: 3,
                ..SamplingParams::default()
            },
            stream: SeedStream::new(1, Domain::Sampling),
            step: 0,
            index,
            choices: None,
            cancel: Default::default(),
        })
        .collect();
    engine.generate(&requests).unwrap();
}

#[test]
fn the_plain_forms_do_not_run() {
    let listener = Listener::default();
    tracing::subscriber::set_global_default(listener.clone()).unwrap();
    let (dtypes, without) = expected();
    for dir in models() {
        for &dtype in dtypes {
            let name = dir.file_name().unwrap().to_string_lossy().into_owned();
            training_step(load(&dir, dtype));
            let trained = listener.take();
            rollout(&load(&dir, dtype));
            let sampled = listener.take();
            println!("{name}, {dtype:?}: {trained:?}\n{sampled:?}");
            assert_eq!(trained.plain(without), [""; 0], "{name}, {dtype:?}");
            assert_eq!(sampled.plain(without), [""; 0], "{name}, {dtype:?}");
            assert!(trained.in_form("LogSoftmax") > 0);
            // Of the decoder and of the vision tower.
            assert!(trained.in_form("WholeLayer") > 0);
            assert!(sampled.in_form("DecodeAttention") > 0);
        }
    }
}
