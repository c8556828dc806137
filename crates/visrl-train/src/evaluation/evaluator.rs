use std::sync::Arc;
use std::time::Instant;

use visrl_core::{Completion, Example, SeedStream};
use visrl_data::PromptTemplate;
use visrl_reward::RewardRule;
use visrl_reward::rules::{LenientEvaluation, ThinkAnswerAgreement};
use visrl_rollout::{GroupRequest, RolloutEngine, SamplingParams};
use visrl_vlm::{PromptEncoder, VisionLanguageModel};

use super::{Agreement, Answer, ConfusionMatrix, Evaluation};
use crate::Error;

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
        let start = Instant::now();
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
        let pairs = groups.iter().zip(&self.examples);
        let answers: Vec<Answer> = pairs
            .flat_map(|(group, example)| group.completions.iter().map(move |c| (c, example)))
            .map(|(completion, example)| self.judge(completion, example))
            .collect();
        Ok(self.count(answers, start.elapsed().as_secs_f64()))
    }

    fn judge(&self, completion: &Completion, example: &Example) -> Answer {
        let counts = |rule: &dyn RewardRule, example: &Example| {
            let score = rule.score(&completion.text, example);
            score.is_some_and(|score| score >= 1.0)
        };
        let right = counts(&*self.matcher, example);
        // The choice that the matcher would have taken for right.
        let mut asked = example.clone();
        let predicted = example.choices.iter().find(|&choice| {
            asked.label.clone_from(choice);
            counts(&*self.matcher, &asked)
        });
        let agreement = ThinkAnswerAgreement::default().score(&completion.text, example);
        Answer {
            id: example.id.clone(),
            label: example.label.clone(),
            completion: completion.text.clone(),
            tokens: completion.tokens.len(),
            truncated: completion.stop.is_truncated(),
            right,
            lenient: counts(&LenientEvaluation::default(), example),
            predicted: predicted.cloned().or(right.then(|| example.label.clone())),
            agrees: agreement.map(|score| score >= 1.0),
        }
    }

    fn count(&self, answers: Vec<Answer>, seconds: f64) -> Evaluation {
        let count = answers.len().max(1) as f64;
        let share =
            |is: fn(&Answer) -> bool| answers.iter().filter(|a| is(a)).count() as f64 / count;
        let tokens: usize = answers.iter().map(|answer| answer.tokens).sum();
        let confusion = ConfusionMatrix::new(&answers);
        Evaluation {
            matcher: self.matcher.name().to_owned(),
            examples: answers.len(),
            accuracy: share(|answer| answer.right),
            lenient_matcher: LenientEvaluation::default().name().to_owned(),
            lenient_accuracy: share(|answer| answer.lenient),
            completion_length: tokens as f64 / count,
            truncated: share(|answer| answer.truncated),
            agreement: Agreement::new(&answers),
            classes: confusion.classes(),
            confusion,
            seconds,
            answers,
        }
    }
}
