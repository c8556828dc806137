//! Backward passes that compute a layer's activations when they need them.
//!
//! The forward pass tracks no gradients and keeps the states between blocks of layers alone. The
//! backward pass takes the blocks from the last to the first: it runs a block again, prompts and
//! rows, on the states it started from, this time with gradients, and hands what it finds for these
//! states to the block before. The keys and values of a prompt belong to the block, so their
//! gradient needs no path of its own. Memory is that of one block's activations; time is one more
//! forward pass.

use std::ops::Range;

use burn::tensor::Tensor;
use visrl_vlm::{FeatureStore, Output, PromptLayout, VisionLanguageModel};

use super::batch::{MicroBatch, PromptRows};
use super::decoder_rows::DecoderRows;
use crate::error::Error;
use crate::optimizer::Gradients;

/// A forward pass that can be differentiated once.
pub(crate) struct Recomputed {
    layout: Layout,
    blocks: Vec<Block>,
}

/// Layers that are run again together, and the states they started from, without gradients.
struct Block {
    layers: Range<usize>,
    states: Pair,
}

/// States of prompts and of the rows behind them, `[tokens, hidden]`.
type Pair = [Tensor<2>; 2];

struct Layout {
    prompts: PromptLayout,
    rows: DecoderRows,
    /// Tokens of the rows in each segment.
    lengths: Vec<usize>,
}

impl Recomputed {
    /// Runs a micro-batch through the decoder, keeping states before every `every` layers, and
    /// gives its hidden states, `[tokens, hidden]`, without gradient tracking.
    pub(crate) fn forward<M: VisionLanguageModel>(
        model: &M,
        features: Option<&FeatureStore>,
        batch: &MicroBatch<'_>,
        every: usize,
    ) -> Result<(Tensor<2>, Self), Error> {
        let model = model.valid();
        let prompts: Vec<_> = batch.prompts.iter().map(PromptRows::shared).collect();
        let prompts = PromptLayout::new(&prompts)?;
        let mut segments = prompts.shared(prompts.segments().to_vec());
        let rows = DecoderRows::behind(&batch.prompts, &mut segments);
        let lengths = segments.iter().map(|segment| segment.len).collect();
        let layout = Layout {
            prompts,
            rows,
            lengths,
        };
        let features = layout.prompts.features(&model, features)?;
        let mut states = [
            model.embed_batch(layout.prompts.batch(features.as_ref()))?,
            model.embed_batch(layout.rows.batch())?,
        ];
        let count = model.info().layers;
        let mut blocks = Vec::new();
        let mut hidden = None;
        for start in (0..count).step_by(every.max(1)) {
            let layers = start..start.saturating_add(every.max(1)).min(count);
            let block = Block {
                layers: layers.clone(),
                states: states.clone(),
            };
            blocks.push(block);
            let (of_prompts, of_rows) = layout.run(&model, layers, states)?;
            hidden = Some(of_rows.clone());
            // After the last layer there are no states of prompts, and nobody reads these.
            states = [of_prompts.unwrap_or_else(|| of_rows.clone()), of_rows];
        }
        let hidden = hidden.ok_or_else(|| Error::device("no hidden states"))?;
        Ok((layout.rows.kept(hidden), Self { layout, blocks }))
    }

    /// Adds the gradients of `sum(hidden * d_hidden)` with respect to the model's parameters.
    pub(crate) fn backward<M: VisionLanguageModel>(
        self,
        model: &M,
        features: Option<&FeatureStore>,
        d_hidden: Tensor<2>,
        gradients: &mut Gradients,
    ) -> Result<(), Error> {
        let Self { layout, blocks } = self;
        let mut wanted = None;
        for Block { layers, states } in blocks.into_iter().rev() {
            let states = states.map(|states| states.autodiff().require_grad());
            let (of_prompts, of_rows) = layout.run(model, layers, states.clone())?;
            let sum = match (wanted.take(), of_prompts) {
                (Some(wanted), Some(of_prompts)) => product_sum([of_prompts, of_rows], wanted),
                _ => (layout.rows.kept(of_rows) * d_hidden.clone().autodiff()).sum(),
            };
            let mut graph = sum.backward();
            wanted = Some(states.map(|leaf| {
                let found = leaf.grad_remove(&mut graph);
                found.unwrap_or_else(|| leaf.without_autodiff().zeros_like())
            }));
            gradients.add_all(Gradients::take(graph, model));
        }
        let features = layout.prompts.features(model, features)?;
        let embedded = [
            model.embed_batch(layout.prompts.batch(features.as_ref()))?,
            model.embed_batch(layout.rows.batch())?,
        ];
        if let Some(wanted) = wanted
            && embedded.iter().any(Tensor::is_tracked)
        {
            let graph = product_sum(embedded, wanted).backward();
            gradients.add_all(Gradients::take(graph, model));
        }
        Ok(())
    }
}

impl Layout {
    /// Prompts, then the rows behind them, through some layers. The last layer has no states of
    /// prompts: nothing reads them.
    fn run<M: VisionLanguageModel>(
        &self,
        model: &M,
        layers: Range<usize>,
        [of_prompts, of_rows]: Pair,
    ) -> Result<(Option<Tensor<2>>, Tensor<2>), Error> {
        let output = match layers.end == model.info().layers {
            true => Output::Cache,
            false => Output::Hidden,
        };
        let mut segments = self.prompts.segments().to_vec();
        let positions = self.prompts.batch(None).positions;
        let of_prompts =
            model.run_layers(layers.clone(), of_prompts, positions, &mut segments, output)?;
        let mut segments = self.prompts.shared(segments);
        for (segment, len) in segments.iter_mut().zip(&self.lengths) {
            segment.len = *len;
        }
        let positions = self.rows.batch().positions;
        let of_rows =
            model.run_layers(layers, of_rows, positions, &mut segments, Output::Hidden)?;
        let of_rows = of_rows.ok_or_else(|| Error::device("no hidden states"))?;
        Ok((of_prompts, of_rows))
    }
}

/// A scalar whose gradient with respect to `states` is `wanted`.
fn product_sum(states: Pair, wanted: Pair) -> Tensor<1> {
    let [a, b] = states;
    let [of_a, of_b] = wanted.map(Tensor::autodiff);
    (a * of_a).sum() + (b * of_b).sum()
}
