//! The engine that suits a model's device.

use std::sync::Arc;

use visrl_core::Group;
use visrl_kernels::is_in_host_memory;
use visrl_vlm::{FeatureStore, Tokenizer, VisionLanguageModel};

use crate::device::DeviceEngine;
use crate::engine::{PolicySync, RolloutEngine};
use crate::error::Error;
use crate::native::{EngineConfig, EngineKind, NativeEngine};
use crate::request::GroupRequest;

/// The engine in this process that [`EngineConfig::engine`] names or that suits the model.
#[derive(Debug)]
pub enum LocalEngine<M> {
    /// Groups share their prompt's keys and values; tokens are drawn in host memory.
    Native(Box<NativeEngine<M>>),
    /// All rows in one step on the device; tokens are drawn there.
    Device(Box<DeviceEngine<M>>),
}

impl<M: VisionLanguageModel> LocalEngine<M> {
    /// An engine over a snapshot of the model without gradient tracking, which shares its storage.
    ///
    /// `features` keeps encoded images; share one store between engine and learner when the
    /// vision tower is frozen.
    pub fn new(
        model: &M,
        tokenizer: Arc<Tokenizer>,
        features: Arc<FeatureStore>,
        config: EngineConfig,
    ) -> Self {
        let on_device = !config.batch_invariant
            && match config.engine {
                EngineKind::Native => false,
                EngineKind::Device => true,
                EngineKind::Auto => !is_in_host_memory(&model.head()),
            };
        let parts = || {
            (
                Arc::clone(&tokenizer),
                Arc::clone(&features),
                config.clone(),
            )
        };
        if on_device {
            let (tokenizer, features, config) = parts();
            if let Some(engine) = DeviceEngine::new(model, tokenizer, features, config) {
                return Self::Device(Box::new(engine));
            }
        }
        if config.engine == EngineKind::Device {
            tracing::warn!(
                "`engine` asks for the engine for devices, and {}: the native one samples",
                match config.batch_invariant {
                    true => "`batch_invariant` for the native one",
                    false => "the model has no decoder in steps",
                }
            );
        }
        let engine = NativeEngine::new(model, tokenizer, features, config);
        Self::Native(Box::new(engine))
    }

    /// The model that is sampled from.
    pub fn model(&self) -> &M {
        match self {
            Self::Native(engine) => engine.model(),
            Self::Device(engine) => engine.model(),
        }
    }
}

impl<M: VisionLanguageModel> RolloutEngine for LocalEngine<M> {
    fn generate_each(&mut self, requests: &[GroupRequest]) -> Vec<Result<Group, Error>> {
        match self {
            Self::Native(engine) => engine.generate_each(requests),
            Self::Device(engine) => engine.generate_each(requests),
        }
    }
}

impl<M: VisionLanguageModel> PolicySync<M> for LocalEngine<M> {
    fn set_policy(&mut self, policy: &M) -> Result<(), Error> {
        match self {
            Self::Native(engine) => engine.set_policy(policy),
            Self::Device(engine) => engine.set_policy(policy),
        }
    }
}
