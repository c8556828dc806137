//! Supervised fine-tuning on the labels.

use std::sync::Arc;
use std::time::Instant;

use visrl_data::PromptTemplate;
use visrl_vlm::{PromptEncoder, VisionLanguageModel};

use super::supervision::{Supervision, conversation, supervised, supervised_conversation};
use super::train_step::{StepContext, TrainStep};
use crate::error::Error;
use crate::learner::Learner;
use crate::log::{Seconds, StepMetrics};
use crate::optimizer::LearningRateSchedule;

/// Supervised fine-tuning: each example's label, ended by the end token, is the one completion
/// that is learnt from, or what else a [`Supervision`] says. The learner's loss is a
/// [`SupervisedLoss`](crate::SupervisedLoss).
#[derive(Debug)]
pub struct SftTrainer<M> {
    /// The policy and its optimizer.
    pub learner: Learner<M>,
    /// Prompts to tokens.
    pub encoder: Arc<PromptEncoder>,
    /// How examples are asked.
    pub template: PromptTemplate,
    /// Whether the label is taught within `<answer>` tags, where it has to stand to be right.
    pub answer_in_tags: bool,
    /// What is learnt of an example.
    pub supervision: Supervision,
    /// Prompts per step.
    pub prompts_per_step: usize,
    /// The learning rate over the run.
    pub schedule: LearningRateSchedule,
}

impl<M: VisionLanguageModel> TrainStep<M> for SftTrainer<M> {
    fn train_step(&mut self, context: &mut StepContext<'_>) -> Result<StepMetrics, Error> {
        let begun = Instant::now();
        let step = context.step();
        let examples = context.examples(self.prompts_per_step)?;
        let prompts: Vec<_> = examples
            .iter()
            .map(|example| match self.supervision {
                Supervision::Label => self.template.render(example),
                Supervision::Conversation => conversation(&self.template, example),
            })
            .map(Arc::new)
            .collect();
        let inputs = self.encoder.encode_all(self.learner.model(), &prompts)?;
        self.learner.keep_features(&inputs)?;
        let tokenizer = self.encoder.tokenizer();
        let eos = self.learner.model().info().eos_token_ids.first().copied();
        let mut groups = Vec::with_capacity(examples.len());
        for (example, input) in examples.iter().zip(inputs) {
            match self.supervision {
                Supervision::Label => {
                    let label = &example.label;
                    let answer = match self.answer_in_tags {
                        true => format!("<answer>{label}</answer>"),
                        false => label.clone(),
                    };
                    let mut target = tokenizer.encode(&answer)?;
                    target.extend(eos);
                    groups.push(supervised(input, target));
                }
                Supervision::Conversation => {
                    let pad = tokenizer.image_pad_id();
                    groups.extend(supervised_conversation(self.learner.model(), &input, pad));
                }
            }
        }
        let learning_rate = self.schedule.at(step);
        let report = self.learner.update(&groups, learning_rate)?;
        let lengths = groups.iter().map(|g| g.tokens.completions.len());
        let tokens: usize = lengths.sum();
        Ok(StepMetrics {
            step,
            loss: report.loss,
            grad_norm: report.grad_norm,
            learning_rate,
            completion_length: tokens as f64 / examples.len().max(1) as f64,
            tokens,
            seconds: Seconds {
                learn: begun.elapsed().as_secs_f64(),
                learn_phases: report.times,
                ..Seconds::default()
            },
            ..StepMetrics::default()
        })
    }

    fn learner(&self) -> &Learner<M> {
        &self.learner
    }

    fn learner_mut(&mut self) -> &mut Learner<M> {
        &mut self.learner
    }
}
