//! What a checkpoint holds of AdamW.

use burn::optim::{AdamWState, AdaptiveMomentumState};
use burn::tensor::Tensor;

use crate::AdamW;
use crate::optimizer::State;

/// The state of one parameter.
pub(crate) struct Moments {
    /// Updates made so far.
    pub(crate) time: usize,
    /// The first and the second moment, flattened.
    pub(crate) values: [Tensor<1>; 2],
    /// The parameter in f32, where the model holds it in a narrower format.
    pub(crate) master: Option<Tensor<1>>,
}

impl AdamW {
    /// The parameters that were updated, with their moments, in the order of names.
    pub(crate) fn moments(&self) -> impl Iterator<Item = (&str, Moments)> {
        self.states.iter().map(|(name, State { moments, master })| {
            let momentum = &moments.momentum;
            let moments = Moments {
                time: momentum.time,
                values: [momentum.moment_1.clone(), momentum.moment_2.clone()],
                master: master.clone(),
            };
            (name.as_str(), moments)
        })
    }

    /// Puts these moments in the place of all present ones.
    pub(crate) fn restore(&mut self, moments: impl IntoIterator<Item = (String, Moments)>) {
        let state = |moments: Moments| {
            let [first, second] = moments.values;
            let momentum = AdaptiveMomentumState::new(moments.time, first, second);
            State {
                moments: AdamWState::new(momentum),
                master: moments.master,
            }
        };
        self.states = moments
            .into_iter()
            .map(|(name, moments)| (name, state(moments)))
            .collect();
    }
}
