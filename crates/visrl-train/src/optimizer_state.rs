//! What a checkpoint holds of AdamW.

use burn::optim::{AdamWState, AdaptiveMomentumState};
use burn::tensor::Tensor;

use crate::AdamW;

/// The state of one parameter.
pub(crate) struct Moments {
    /// Updates made so far.
    pub(crate) time: usize,
    /// The first and the second moment, flattened.
    pub(crate) values: [Tensor<1>; 2],
}

impl AdamW {
    /// The parameters that were updated, with their moments, in the order of names.
    pub(crate) fn moments(&self) -> impl Iterator<Item = (&str, Moments)> {
        self.states.iter().map(|(name, AdamWState { momentum })| {
            let values = [momentum.moment_1.clone(), momentum.moment_2.clone()];
            let time = momentum.time;
            (name.as_str(), Moments { time, values })
        })
    }

    /// Puts these moments in the place of all present ones.
    pub(crate) fn restore(&mut self, moments: impl IntoIterator<Item = (String, Moments)>) {
        let state = |Moments { time, values }| {
            let [first, second] = values;
            AdamWState::new(AdaptiveMomentumState::new(time, first, second))
        };
        self.states = moments
            .into_iter()
            .map(|(name, moments)| (name, state(moments)))
            .collect();
    }
}
