//! Completions laid out as rows behind their shared prompts.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorData};
use visrl_vlm::{
    DecoderInput, FeatureStore, ModelInput, Output, Segment, SharedPrompt, VisionLanguageModel,
    prefill,
};

use crate::error::Error;

/// Completions of one prompt, as token ids: what a learner computes log-probabilities of.
#[derive(Clone, Debug)]
pub struct TokenGroup {
    /// The prompt, held once.
    pub input: Arc<ModelInput>,
    /// The completions' tokens, none empty.
    pub completions: Vec<Vec<u32>>,
}

/// The completions of one prompt with what each is worth.
#[derive(Clone, Debug)]
pub struct LearnGroup {
    /// Prompt and completions.
    pub tokens: TokenGroup,
    /// One advantage per completion.
    pub advantages: Vec<f32>,
    /// Whether each completion was cut at the length limit.
    pub truncated: Vec<bool>,
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
///
/// With `shared_prefix` false every completion is a group of its own: image and prompt once for each.
pub(crate) fn completion_states<M: VisionLanguageModel>(
    model: &M,
    features: Option<&FeatureStore>,
    groups: &[TokenGroup],
    shared_prefix: bool,
) -> Result<States, Error> {
    let units = units(groups, shared_prefix);
    let mut segments = prefill(model, features, &prompts(groups, &units))?;
    let rows = Rows::behind(groups, &units, &mut segments)?;
    let hidden = model.forward(rows.batch(), &mut segments, Output::Hidden)?;
    let hidden = hidden.ok_or_else(|| Error::device("no hidden states"))?;
    Ok(States {
        hidden: rows.kept(hidden),
        targets: rows.targets,
        places: rows.places,
    })
}

/// The completions of a group that share one encoded prompt.
pub(crate) type Unit = (usize, Range<usize>);

/// Completions that share a prompt, sorted so that there are few segments.
pub(crate) fn units(groups: &[TokenGroup], shared_prefix: bool) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    for (group, TokenGroup { completions, .. }) in groups.iter().enumerate() {
        match shared_prefix {
            true if completions.is_empty() => {}
            true => units.push((group, 0..completions.len())),
            false => units.extend((0..completions.len()).map(|i| (group, i..i + 1))),
        }
    }
    units.sort_by_key(|(group, members)| (groups[*group].input.ids.len(), members.len()));
    units
}

/// The prompts of units, in their order.
pub(crate) fn prompts<'a>(groups: &'a [TokenGroup], units: &[Unit]) -> Vec<SharedPrompt<'a>> {
    let prompt = |(group, members): &Unit| SharedPrompt {
        input: &groups[*group].input,
        rows: members.len(),
    };
    units.iter().map(prompt).collect()
}

/// Completions as the decoder reads them behind their prompts.
pub(crate) struct Rows {
    ids: Vec<u32>,
    positions: Vec<[u32; 3]>,
    /// Which of the tokens are no padding.
    kept: Vec<i64>,
    pub(crate) targets: Vec<u32>,
    pub(crate) places: Vec<Place>,
}

impl Rows {
    /// Lays out the rows of units whose prompts are in these segments, and sets the segments'
    /// lengths to theirs.
    pub(crate) fn behind(
        groups: &[TokenGroup],
        units: &[Unit],
        segments: &mut [Segment],
    ) -> Result<Self, Error> {
        let mut rest = units;
        let (mut ids, mut positions) = (Vec::new(), Vec::new());
        let (mut kept, mut targets, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for segment in segments {
            let (own, others) = rest.split_at(segment.groups.min(rest.len()));
            rest = others;
            let lengths = own
                .iter()
                .flat_map(|(group, members)| &groups[*group].completions[members.clone()])
                .map(Vec::len);
            let len = lengths.max().unwrap_or(0);
            segment.len = len;
            for (group, members) in own {
                let TokenGroup { input, completions } = &groups[*group];
                for index in members.clone() {
                    let tokens = &completions[index];
                    let (Some(&last), false) = (input.ids.last(), tokens.is_empty()) else {
                        return Err(Error::config("completions", "hold one without tokens"));
                    };
                    kept.extend((0..tokens.len()).map(|token| (ids.len() + token) as i64));
                    targets.extend_from_slice(tokens);
                    places.push((*group, index, tokens.len()));
                    ids.push(last);
                    positions.extend(input.positions.ids.last());
                    // Padding repeats the last token; it comes after all that is kept.
                    ids.extend((1..len).map(|token| tokens[(token - 1).min(tokens.len() - 1)]));
                    let next = input.positions.next;
                    positions.extend((1..len).map(|token| [next + token as u32 - 1; 3]));
                }
            }
        }
        Ok(Self {
            ids,
            positions,
            kept,
            targets,
            places,
        })
    }

    /// The tokens, as the decoder takes them.
    pub(crate) fn batch(&self) -> DecoderInput<'_> {
        DecoderInput {
            ids: &self.ids,
            positions: &self.positions,
            image_features: None,
        }
    }

    /// The states of tokens that are no padding.
    pub(crate) fn kept(&self, hidden: Tensor<2>) -> Tensor<2> {
        if self.kept.len() == self.ids.len() {
            return hidden;
        }
        let kept = TensorData::new(self.kept.clone(), [self.kept.len()]);
        let kept: Tensor<1, Int> = Tensor::from_data(kept, &hidden.device());
        hidden.select(0, kept)
    }
}
