//! Completions laid out as rows behind their shared prompts.

use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorData};
use visrl_vlm::{
    FeatureStore, ModelInput, Output, SharedPrompt, TokenBatch, VisionLanguageModel, prefill,
};

use crate::Error;

/// Completions of one prompt, as token ids: what a learner computes log-probabilities of.
#[derive(Clone, Debug)]
pub struct TokenGroup {
    /// The prompt, held once.
    pub input: Arc<ModelInput>,
    /// The completions' tokens, none empty.
    pub completions: Vec<Vec<u32>>,
}

/// A completion's place: group, completion within the group, and number of tokens.
pub(crate) type Place = (usize, usize, usize);

/// Hidden states that predict the completions' tokens.
pub(crate) struct States {
    /// `[tokens of all completions, hidden]`, completion by completion in the order of `places`.
    pub(crate) hidden: Tensor<2>,
    /// The tokens predicted.
    pub(crate) targets: Vec<u32>,
    /// Which completion's tokens come where.
    pub(crate) places: Vec<Place>,
}

/// Runs completions through the decoder, image and prompt once per group.
///
/// A row is the prompt's last token followed by all completion tokens but the last, so that row
/// token i predicts completion token i.
pub(crate) fn completion_states<M: VisionLanguageModel>(
    model: &M,
    features: Option<&FeatureStore>,
    groups: &[TokenGroup],
) -> Result<States, Error> {
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|&i| (groups[i].input.ids.len(), groups[i].completions.len()));
    let prompts: Vec<_> = order
        .iter()
        .map(|&i| SharedPrompt {
            input: &groups[i].input,
            rows: groups[i].completions.len(),
        })
        .collect();
    let mut segments = prefill(model, features, &prompts)?;
    let mut members = order.iter().copied();
    let (mut ids, mut positions) = (Vec::new(), Vec::new());
    let (mut kept, mut targets, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for segment in &mut segments {
        let members: Vec<usize> = members.by_ref().take(segment.groups).collect();
        let lengths = members
            .iter()
            .flat_map(|&i| &groups[i].completions)
            .map(Vec::len);
        let len = lengths.max().unwrap_or(0);
        segment.len = len;
        for &group in &members {
            let TokenGroup { input, completions } = &groups[group];
            for (index, tokens) in completions.iter().enumerate() {
                let (Some(&last), false) = (input.ids.last(), tokens.is_empty()) else {
                    return Err(Error::config("completions", "hold one without tokens"));
                };
                kept.extend((0..tokens.len()).map(|token| (ids.len() + token) as i64));
                targets.extend_from_slice(tokens);
                places.push((group, index, tokens.len()));
                ids.push(last);
                positions.extend(input.positions.ids.last());
                // Padding repeats the last token; it comes after all that is kept.
                ids.extend((1..len).map(|token| tokens[(token - 1).min(tokens.len() - 1)]));
                let next = input.positions.next;
                positions.extend((1..len).map(|token| [next + token as u32 - 1; 3]));
            }
        }
    }
    let batch = TokenBatch {
        ids: &ids,
        positions: &positions,
        image_features: None,
    };
    let hidden = model.forward(batch, &mut segments, Output::Hidden)?;
    let hidden = hidden.ok_or_else(|| Error::device("no hidden states"))?;
    let hidden = match kept.len() == ids.len() {
        true => hidden,
        false => {
            let len = kept.len();
            let device = hidden.device();
            let kept: Tensor<1, Int> = Tensor::from_data(TensorData::new(kept, [len]), &device);
            hidden.select(0, kept)
        }
    };
    Ok(States {
        hidden,
        targets,
        places,
    })
}
