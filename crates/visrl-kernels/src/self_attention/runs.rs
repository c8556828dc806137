//! Tokens that attend to each other.

use std::sync::{Arc, OnceLock};

use burn::tensor::{Int, Tensor};

/// Runs of tokens, one after another: frames or windows.
#[derive(Clone, Debug)]
pub struct Runs {
    layout: Arc<Layout>,
}

#[derive(Debug)]
struct Layout {
    sizes: Vec<usize>,
    /// Made by the form that asks first.
    padded: OnceLock<PaddedRuns>,
}

/// Runs brought to the length of the longest one.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "tch"), allow(dead_code))] // Forms read it.
pub(super) struct PaddedRuns {
    /// The token at each place of all runs, the first one for places that a run does not have.
    pub(super) tokens: Tensor<1, Int>,
    /// Each token's place.
    pub(super) places: Tensor<1, Int>,
    /// What is added to scores, `[runs, 1, 1, longest]`.
    pub(super) bias: Tensor<4>,
}

impl Runs {
    /// Runs of these lengths, in order.
    pub fn new(sizes: Vec<usize>) -> Self {
        let padded = OnceLock::new();
        Self {
            layout: Arc::new(Layout { sizes, padded }),
        }
    }

    /// The lengths.
    pub fn sizes(&self) -> &[usize] {
        &self.layout.sizes
    }

    /// The runs as [`PaddedRuns`], made once, on the device and in the format of who asks first.
    #[cfg_attr(not(feature = "tch"), allow(dead_code))] // Forms read it.
    pub(super) fn padded(&self, make: impl FnOnce() -> PaddedRuns) -> &PaddedRuns {
        self.layout.padded.get_or_init(make)
    }
}
