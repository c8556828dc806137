//! The loop around scheduler, prefill and decode step.

use std::sync::Arc;

use visrl_core::Group;
use visrl_kernels::on_rayon_worker;
use visrl_vlm::{FeatureStore, Tokenizer, VisionLanguageModel};

use super::batch::{Batch, Places};
use super::policy::Policy;
use crate::completion_text::CompletionText;
use crate::engine::{PolicySync, RolloutEngine};
use crate::error::Error;
use crate::native::{EngineConfig, Prefiller};
use crate::request::GroupRequest;
use crate::scheduler::Scheduler;
use crate::stop::StopRules;

/// Samples from a model in this process, with all rows of all groups in one step on the model's
/// device, where tokens are drawn, too.
///
/// It keeps to the limits of its [`EngineConfig`] but for
/// [`batch_invariant`](EngineConfig::batch_invariant), which it cannot promise.
#[derive(Debug)]
pub struct DeviceEngine<M> {
    policy: Policy<M>,
    prefiller: Prefiller,
    tokenizer: Arc<Tokenizer>,
    config: EngineConfig,
}

impl<M: VisionLanguageModel> DeviceEngine<M> {
    /// An engine over a snapshot of the model without gradient tracking, which shares its storage;
    /// nothing for a model without a [`step_decoder`](VisionLanguageModel::step_decoder).
    ///
    /// `features` keeps encoded images; share one store between engine and learner when the
    /// vision tower is frozen.
    pub fn new(
        model: &M,
        tokenizer: Arc<Tokenizer>,
        features: Arc<FeatureStore>,
        config: EngineConfig,
    ) -> Option<Self> {
        Some(Self {
            policy: Policy::new(model)?,
            prefiller: Prefiller::new(features, &config),
            tokenizer,
            config,
        })
    }

    /// The model that is sampled from.
    pub fn model(&self) -> &M {
        &self.policy.model
    }

    fn check(&self, request: &GroupRequest) -> Result<(), Error> {
        request.validate()?;
        request.validate_prompt(self.model().info().image_token_id)?;
        match request.input.positions.ids.last() {
            Some([t, h, w]) if t == h && h == w => Ok(()),
            _ => Err(request.fault("ends in a token whose positions differ from axis to axis")),
        }
    }

    fn generate_here(&mut self, requests: &[GroupRequest]) -> Vec<Result<Group, Error>> {
        let limits = self.config.scheduler_limits();
        let mut scheduler = Scheduler::new(requests, limits, |request| self.check(request));
        let Self {
            policy,
            prefiller,
            tokenizer,
            ..
        } = self;
        let stop = StopRules {
            eos_token_ids: &policy.model.info().eos_token_ids,
            tokenizer,
        };
        let mut batch = Batch::new(policy);
        while !scheduler.is_done() {
            let admitted = scheduler.schedule();
            let encoded = prefiller.prefill(&policy.model, admitted).into_iter();
            scheduler.start(encoded.map(|(one, segment)| {
                let places = segment.map(|segment| Places::before(segment.cache));
                (one, places)
            }));
            batch.decode(policy, stop, scheduler.running_mut());
            scheduler.collect();
        }
        let text = CompletionText::new(tokenizer, stop.eos_token_ids);
        scheduler.into_groups(|tokens| text.text(tokens))
    }
}

impl<M: VisionLanguageModel> RolloutEngine for DeviceEngine<M> {
    #[tracing::instrument(skip_all, fields(groups = requests.len()))]
    fn generate_each(&mut self, requests: &[GroupRequest]) -> Vec<Result<Group, Error>> {
        let head = self.policy.model.head();
        on_rayon_worker(&head, || self.generate_here(requests))
    }
}

impl<M: VisionLanguageModel> PolicySync<M> for DeviceEngine<M> {
    fn set_policy(&mut self, policy: &M) -> Result<(), Error> {
        self.policy = Policy::new(policy)
            .ok_or_else(|| Error::Device("the model has no decoder in steps".into()))?;
        self.prefiller.forget();
        Ok(())
    }
}
