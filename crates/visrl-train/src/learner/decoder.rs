//! Completions through the decoder, behind prompts that are encoded once, and back.

use burn::tensor::Tensor;
use visrl_kernels::{self as kernels, PromptsWithRows};
use visrl_vlm::{FeatureStore, Output, PromptLayout, SharedPrompt, VisionLanguageModel, prefill};

use super::batch::{MicroBatch, PromptRows};
use super::decoder_rows::DecoderRows;
use super::recompute::Recomputed;
use crate::error::Error;
use crate::optimizer::Gradients;

/// Hidden states that predict the targets of a micro-batch, `[tokens, hidden]` in the order of its
/// rows. They track gradients where the model does.
pub(crate) fn hidden_states<M: VisionLanguageModel>(
    model: &M,
    features: Option<&FeatureStore>,
    batch: &MicroBatch<'_>,
) -> Result<Tensor<2>, Error> {
    let prompts: Vec<_> = batch.prompts.iter().map(PromptRows::shared).collect();
    if model.takes_prompts_with_rows() {
        return together(model, features, batch, &prompts);
    }
    let mut segments = prefill(model, features, &prompts)?;
    let rows = DecoderRows::behind(&batch.prompts, &mut segments);
    let hidden = model.forward(rows.batch(), &mut segments, Output::Hidden)?;
    let hidden = hidden.ok_or_else(|| Error::device("no hidden states"))?;
    Ok(rows.kept(hidden))
}

/// The same with prompts and rows in one pass through the layers.
fn together<M: VisionLanguageModel>(
    model: &M,
    features: Option<&FeatureStore>,
    batch: &MicroBatch<'_>,
    prompts: &[SharedPrompt<'_>],
) -> Result<Tensor<2>, Error> {
    let layout = PromptLayout::new(prompts)?;
    let mut segments = layout.shared(layout.segments().to_vec());
    let rows = DecoderRows::behind(&batch.prompts, &mut segments);
    let shapes = layout.segments().iter().zip(&segments);
    let shapes = shapes.map(|(prompts, rows)| kernels::PromptRows {
        groups: prompts.groups,
        prompt: prompts.len,
        rows: rows.rows,
        len: rows.len,
    });
    let tokens = PromptsWithRows::new(shapes.collect());
    let features = layout.features(model, features)?;
    let prompts = layout.batch(features.as_ref());
    let hidden = model.forward_with_prompts(prompts, rows.batch(), &tokens)?;
    let hidden = hidden.ok_or_else(|| Error::device("no hidden states"))?;
    Ok(rows.kept(hidden))
}

/// What a forward pass keeps for its backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activations {
    /// The activations of all layers.
    Kept,
    /// The states before every so many layers; activations are computed again.
    Recomputed {
        /// Layers that are run again together, at least one.
        every: usize,
    },
}

impl Activations {
    /// What a setting says: layers that are computed again together, 0 for none.
    pub(crate) fn new(recompute: usize) -> Self {
        match recompute {
            0 => Self::Kept,
            every => Self::Recomputed { every },
        }
    }

    /// The same for a batch of which most likely no gradient will be asked: then nothing is kept
    /// but the states before the first of all `layers`.
    pub(crate) fn unlikely(self, layers: usize) -> Self {
        match self {
            Self::Kept => Self::Recomputed { every: layers },
            recomputed => recomputed,
        }
    }
}

/// A forward pass that can be differentiated once.
pub(crate) struct DecoderPass {
    /// Hidden states, `[tokens, hidden]`, without gradient tracking.
    pub(crate) hidden: Tensor<2>,
    way_back: WayBack,
}

enum WayBack {
    /// The same states as the end of burn's graph.
    Graph(Tensor<2>),
    Recomputed(Recomputed),
}

impl DecoderPass {
    /// Runs a micro-batch through the decoder as [`hidden_states`] does, for gradients.
    pub(crate) fn forward<M: VisionLanguageModel>(
        model: &M,
        features: Option<&FeatureStore>,
        batch: &MicroBatch<'_>,
        activations: Activations,
    ) -> Result<Self, Error> {
        match activations {
            Activations::Kept => {
                let hidden = hidden_states(model, features, batch)?;
                Ok(Self {
                    hidden: hidden.clone().without_autodiff(),
                    way_back: WayBack::Graph(hidden),
                })
            }
            Activations::Recomputed { every } => {
                let (hidden, recomputed) = Recomputed::forward(model, features, batch, every)?;
                Ok(Self {
                    hidden,
                    way_back: WayBack::Recomputed(recomputed),
                })
            }
        }
    }

    /// Adds the gradients of `sum(hidden * d_hidden)` with respect to the model's parameters, which
    /// are those of the loss when `d_hidden` is its derivative, `[tokens, hidden]`.
    pub(crate) fn backward<M: VisionLanguageModel>(
        self,
        model: &M,
        features: Option<&FeatureStore>,
        d_hidden: Tensor<2>,
        gradients: &mut Gradients,
    ) -> Result<(), Error> {
        match self.way_back {
            WayBack::Graph(hidden) => {
                let surrogate = (hidden * d_hidden.autodiff()).sum();
                gradients.add_all(Gradients::take(surrogate.backward(), model));
                Ok(())
            }
            WayBack::Recomputed(recomputed) => {
                recomputed.backward(model, features, d_hidden, gradients)
            }
        }
    }

    /// Ends a pass of which no gradient is asked. A recorded graph stays in memory until it is
    /// differentiated.
    pub(crate) fn discard(self) {
        if let WayBack::Graph(hidden) = self.way_back {
            drop(hidden.sum().backward());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unlikely_to_be_asked_is_not_kept() {
        let kept = Activations::new(0);
        assert_eq!(kept, Activations::Kept);
        assert_eq!(kept.unlikely(12), Activations::Recomputed { every: 12 });
        let recomputed = Activations::new(4);
        assert_eq!(recomputed.unlikely(12), recomputed);
    }
}
