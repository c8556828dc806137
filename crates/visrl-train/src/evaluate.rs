use std::sync::Arc;

use serde::{Deserialize, Serialize};
use visrl_core::{Example, SeedStream};
use visrl_data::PromptTemplate;
use visrl_reward::RewardRule;
use visrl_rollout::{GroupRequest, RolloutEngine, SamplingParams};
use visrl_vlm::{PromptEncoder, VisionLanguageModel};

use crate::Error;

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The rule that decided what is right.
    pub matcher: String,
    /// Share of examples answered right.
    pub accuracy: f64,
    /// Mean number of tokens of a completion, end token included.
    pub completion_length: f64,
    /// Share of completions cut at the length limit.
    pub truncated: f64,
    /// Every answer, in the order of the examples.
    #[serde(skip)]
    pub answers: Vec<Answer>,
}

/// One answer of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The example's id.
    pub id: String,
    /// What would have been right.
    pub label: String,
    /// What was said.
    pub completion: String,
    /// Whether it counts as right.
    pub right: bool,
}

/// Asks every example once and counts the right answers.
#[derive(Clone)]
pub struct Evaluator {
    /// The examples.
    pub examples: Vec<Example>,
    /// How they are asked.
    pub template: PromptTemplate,
    /// What counts as right: a score of at least 1.
    pub matcher: Arc<dyn RewardRule>,
    /// Random numbers for sampled evaluation.
    pub stream: SeedStream,
}

impl std::fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluator")
            .field("examples", &self.examples.len())
            .field("matcher", &self.matcher.name())
            .finish_non_exhaustive()
    }
}

impl Evaluator {
    /// Evaluates the policy of an engine; `model` places the prompts' tokens. Draws depend on
    /// the stream and the example's number alone, so that two policies meet the same numbers.
    ///
    /// # Errors
    /// What encoding or sampling says.
    pub fn run<M: VisionLanguageModel>(
        &self,
        engine: &mut dyn RolloutEngine,
        encoder: &PromptEncoder,
        model: &M,
        sampling: &SamplingParams,
    ) -> Result<Evaluation, Error> {
        let prompts: Vec<_> = self
            .examples
            .iter()
            .map(|example| Arc::new(self.template.render(example)))
            .collect();
        let inputs = encoder.encode_all(model, &prompts)?;
        let requests: Vec<_> = prompts
            .into_iter()
            .zip(inputs)
            .zip(0u32..)
            .map(|((prompt, input), index)| GroupRequest {
                prompt,
                input,
                num_generations: 1,
                sampling: sampling.clone(),
                stream: self.stream,
                step: 0,
                index,
                choices: None,
                cancel: Default::default(),
            })
            .collect();
        let groups = engine.generate(&requests)?;
        let mut answers = Vec::with_capacity(groups.len());
        let (mut tokens, mut truncated) = (0, 0);
        for (group, example) in groups.iter().zip(&self.examples) {
            for completion in &group.completions {
                tokens += completion.tokens.len();
                truncated += usize::from(completion.stop.is_truncated());
                let score = self.matcher.score(&completion.text, example);
                answers.push(Answer {
                    id: example.id.clone(),
                    label: example.label.clone(),
                    completion: completion.text.clone(),
                    right: score.is_some_and(|score| score >= 1.0),
                });
            }
        }
        let count = answers.len().max(1) as f64;
        let right = answers.iter().filter(|answer| answer.right).count();
        Ok(Evaluation {
            matcher: self.matcher.name().to_owned(),
            accuracy: right as f64 / count,
            completion_length: tokens as f64 / count,
            truncated: truncated as f64 / count,
            answers,
        })
    }
}

impl Evaluation {
    /// Accuracy of each label, in the order in which labels are first met: right, asked.
    pub fn by_label(&self) -> Vec<(&str, usize, usize)> {
        let mut labels: Vec<(&str, usize, usize)> = Vec::new();
        for answer in &self.answers {
            let at = labels.iter().position(|(label, ..)| *label == answer.label);
            let at = at.unwrap_or_else(|| {
                labels.push((&answer.label, 0, 0));
                labels.len() - 1
            });
            labels[at].1 += usize::from(answer.right);
            labels[at].2 += 1;
        }
        labels
    }
}
