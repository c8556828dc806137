//! Answers from the list: what a policy says when it may say nothing else.

use std::sync::Arc;

use visrl_core::Prompt;
use visrl_rollout::{GroupRequest, RolloutEngine, SamplingParams};
use visrl_vlm::{ModelInput, Tokenizer};

use super::closed_answer::{BegunAnswer, candidates};
use super::evaluator::Evaluator;
use super::result::Answer;
use crate::error::Error;

impl Evaluator {
    /// Fills in what answers are worth when they must be one of the choices.
    ///
    /// A greedy answer that is a choice would be the same under guidance: every token of it was the
    /// likeliest of all, so it is the likeliest of those that lead to a choice. Only the others are
    /// asked for again, as [`BegunAnswer`] has them.
    pub(super) fn guide(
        &self,
        engine: &mut dyn RolloutEngine,
        tokenizer: &Tokenizer,
        asked: &[(Arc<Prompt>, Arc<ModelInput>)],
        answers: &mut [Answer],
    ) -> Result<(), Error> {
        let mut requests = Vec::new();
        let mut places = Vec::new();
        let all = answers.iter_mut().zip(&self.examples).zip(asked);
        for (place, ((answer, example), (prompt, input))) in all.enumerate() {
            let names = candidates(example);
            if names.is_empty() {
                continue;
            }
            if answer.predicted.is_some() {
                answer.guided = Some(answer.right);
                continue;
            }
            let begun = match self.answer_in_tags {
                false => BegunAnswer::direct(tokenizer, input, &names)?,
                true => BegunAnswer::in_tags(tokenizer, input, &answer.completion, &names)?,
            };
            let sampling = SamplingParams::greedy(begun.choices.longest());
            places.push((place, begun.said));
            requests.push(GroupRequest {
                sampling,
                choices: Some(Arc::new(begun.choices)),
                ..GroupRequest::new(Arc::clone(prompt), begun.input, self.stream)
            });
        }
        let groups = engine.generate(&requests)?;
        for (group, (place, said)) in groups.iter().zip(places) {
            let completion = group.completions.first();
            let text = completion.map_or("", |completion| completion.text.as_str());
            let text = format!("{said}{text}");
            answers[place].guided = Some(self.is_right(&text, &self.examples[place]));
        }
        Ok(())
    }
}
