//! What supervised fine-tuning learns of a conversation.

use std::sync::Arc;

use visrl_core::{Content, Example, Message, Prompt, Role};
use visrl_data::PromptTemplate;
use visrl_vlm::{ModelInput, Positions, VisionLanguageModel};

use crate::learner::{LearnGroup, TokenGroup};

/// What is learnt of an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Supervision {
    /// The label, ended by the end token, behind the prompt.
    #[default]
    Label,
    /// All tokens of the whole [`conversation`] but those of images, as the paper's program has it.
    Conversation,
}

/// A prompt that goes on with the right answer, the label in `<answer>` tags, and ends where the
/// assistant would begin once more: what the paper's program for supervised fine-tuning renders.
pub fn conversation(template: &PromptTemplate, example: &Example) -> Prompt {
    let mut prompt = template.render(example);
    let answer = format!("<answer>{}</answer>", example.label);
    prompt.messages.push(Message {
        role: Role::Assistant,
        content: vec![Content::Text(answer)],
    });
    prompt
}

/// A right answer as a group of one, for [`SupervisedLoss`](crate::SupervisedLoss).
pub fn supervised(input: Arc<ModelInput>, target: Vec<u32>) -> LearnGroup {
    LearnGroup {
        tokens: TokenGroup {
            input,
            completions: [target].into_iter().collect(),
        },
        advantages: vec![1.0],
        truncated: vec![false],
        sampler_logps: None,
    }
}

/// All tokens of an encoded conversation but those of its images as targets, for
/// [`SupervisedLoss`](crate::SupervisedLoss).
///
/// The decoder is causal, so the log-probability of a token depends on the tokens before it alone.
/// Each run of text is therefore a right answer behind what stands before it, and the groups
/// together have the log-probabilities and the gradients of the sequence as one row. A prompt has
/// two tokens at least and ends with one of text, so a few tokens, which the chat template writes
/// the same in every conversation, are no targets: the first, which cannot be one, the second, the
/// name of the first role, and the one that follows an image, `<|vision_end|>`.
pub fn supervised_conversation<M: VisionLanguageModel>(
    model: &M,
    input: &ModelInput,
    image_pad: u32,
) -> Vec<LearnGroup> {
    let ids = &input.ids;
    let mut groups = Vec::new();
    let mut start = 0;
    for run in ids.chunk_by(|a, b| (*a == image_pad) == (*b == image_pad)) {
        let end = start + run.len();
        let first = (start + 1).max(SHORTEST_PROMPT);
        if run[0] != image_pad && first < end {
            let prompt = Arc::new(beginning(model, input, first, image_pad));
            groups.push(supervised(prompt, ids[first..end].to_vec()));
        }
        start = end;
    }
    groups
}

/// The fewest tokens of a prompt that completions can stand behind.
const SHORTEST_PROMPT: usize = 2;

/// The first `len` tokens of an input, which end before a text token, with the images among them.
fn beginning<M: VisionLanguageModel>(
    model: &M,
    input: &ModelInput,
    len: usize,
    image_pad: u32,
) -> ModelInput {
    let ids = input.ids[..len].to_vec();
    let mut visual = ids.iter().filter(|id| **id == image_pad).count();
    let images = input.images.iter().take_while(|image| {
        let before = visual;
        visual = visual.saturating_sub(model.image_tokens(image.grid));
        before > 0
    });
    ModelInput {
        images: images.cloned().collect(),
        ids,
        positions: Positions {
            ids: input.positions.ids[..len].to_vec(),
            next: input.positions.ids[len][0],
        },
    }
}
