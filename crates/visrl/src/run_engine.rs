//! What samples in training: an engine in this process, or a server.

use visrl_core::Group;
use visrl_rollout::{Error, GroupRequest, LocalEngine, PolicySync, RolloutEngine};
use visrl_vlm::VisionLanguageModel;

/// The engine of a run.
pub(crate) enum RunEngine<M> {
    Local(Box<LocalEngine<M>>),
    #[cfg(feature = "remote")]
    Remote(Box<visrl_rollout::RemoteEngine>),
}

impl<M: VisionLanguageModel> RolloutEngine for RunEngine<M> {
    fn generate_each(&mut self, requests: &[GroupRequest]) -> Vec<Result<Group, Error>> {
        match self {
            Self::Local(engine) => engine.generate_each(requests),
            #[cfg(feature = "remote")]
            Self::Remote(engine) => engine.generate_each(requests),
        }
    }
}

impl<M: VisionLanguageModel> PolicySync<M> for RunEngine<M> {
    fn set_policy(&mut self, policy: &M) -> Result<(), Error> {
        match self {
            Self::Local(engine) => engine.set_policy(policy),
            #[cfg(feature = "remote")]
            Self::Remote(engine) => engine.set_policy(policy),
        }
    }
}
