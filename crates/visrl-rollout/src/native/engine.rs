//! The loop around scheduler, prefill and decode step.

use std::sync::Arc;

use visrl_core::Group;
use visrl_kernels::on_rayon_worker;
use visrl_vlm::{FeatureStore, Tokenizer, VisionLanguageModel};

use super::config::EngineConfig;
use super::decode::decode;
use super::policy::Policy;
use super::prefill::Prefiller;
use crate::completion_text::CompletionText;
use crate::engine::{PolicySync, RolloutEngine};
use crate::error::Error;
use crate::request::GroupRequest;
use crate::sampler::Sampler;
use crate::scheduler::Scheduler;
use crate::stop::StopRules;

/// Samples from a model in this process.
///
/// Image and prompt are encoded once per group. A sample leaves the batch as soon as it ends, and
/// waiting groups enter as soon as there is room (continuous batching).
#[derive(Debug)]
pub struct NativeEngine<M> {
    policy: Policy<M>,
    prefiller: Prefiller,
    tokenizer: Arc<Tokenizer>,
    config: EngineConfig,
}

impl<M: VisionLanguageModel> NativeEngine<M> {
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
        Self {
            policy: Policy::new(model),
            prefiller: Prefiller::new(features, &config),
            tokenizer,
            config,
        }
    }

    /// The model that is sampled from.
    pub fn model(&self) -> &M {
        &self.policy.model
    }

    fn check(&self, request: &GroupRequest) -> Result<(), Error> {
        request.validate()?;
        request.validate_prompt(self.model().info().image_token_id)
    }

    fn generate_here(&mut self, requests: &[GroupRequest]) -> Vec<Result<Group, Error>> {
        let limits = self.config.scheduler_limits();
        let mut scheduler = Scheduler::new(requests, limits, |request| self.check(request));
        let mut samplers = vec![Sampler::default(); rayon::current_num_threads()];
        let max_rows = self.config.max_decode_rows();
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
        while !scheduler.is_done() {
            let admitted = scheduler.schedule();
            scheduler.start(prefiller.prefill(&policy.model, admitted));
            decode(
                policy,
                stop,
                &mut samplers,
                max_rows,
                scheduler.running_mut(),
            );
            scheduler.collect();
        }
        let text = CompletionText::new(tokenizer, stop.eos_token_ids);
        scheduler.into_groups(|tokens| text.text(tokens))
    }
}

impl<M: VisionLanguageModel> RolloutEngine for NativeEngine<M> {
    #[tracing::instrument(skip_all, fields(groups = requests.len()))]
    fn generate_each(&mut self, requests: &[GroupRequest]) -> Vec<Result<Group, Error>> {
        let head = self.policy.head.clone();
        on_rayon_worker(&head, || self.generate_here(requests))
    }
}

impl<M: VisionLanguageModel> PolicySync<M> for NativeEngine<M> {
    fn set_policy(&mut self, policy: &M) -> Result<(), Error> {
        self.policy = Policy::new(policy);
        self.prefiller.forget();
        Ok(())
    }
}
