//! What a checkpoint holds of AdamW.

use burn::optim::{AdamWState, AdaptiveMomentumState};
use burn::tensor::Tensor;

use super::adamw::{AdamW, State};

/// The state of one parameter; all tensors are f32 and flattened.
pub(crate) struct Moments {
    /// Updates made so far.
    pub(crate) time: usize,
    /// The first and the second moment.
    pub(crate) values: [Tensor<1>; 2],
    /// The parameter, where the module holds it in a narrower format.
    pub(crate) master: Option<Tensor<1>>,
}

impl AdamW {
    /// The parameters that were updated, with their moments, in the order of names.
    pub(crate) fn moments(&self) -> impl Iterator<Item = (&str, Moments)> {
        self.states.iter().map(|(name, State { moments, master })| {
            let AdamWState { momentum } = moments;
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
            State {
                moments: AdamWState::new(AdaptiveMomentumState::new(moments.time, first, second)),
                master: moments.master,
            }
        };
        self.states = moments
            .into_iter()
            .map(|(name, moments)| (name, state(moments)))
            .collect();
    }
}
