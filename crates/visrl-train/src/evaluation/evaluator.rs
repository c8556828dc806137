use std::sync::Arc;
use std::time::Instant;

use visrl_core::{Completion, Example, SeedStream};
use visrl_data::PromptTemplate;
use visrl_reward::RewardRule;
use visrl_reward::rules::ThinkAnswerAgreement;
use visrl_rollout::{GroupRequest, RolloutEngine, SamplingParams};
use visrl_vlm::{PromptEncoder, VisionLanguageModel};

use super::closed_answer::meant_choice;
use super::confusion::ConfusionMatrix;
use super::result::{Agreement, Answer, Evaluation};
use crate::error::Error;

/// Asks every example once and counts the right answers.
#[derive(Clone)]
pub struct Evaluator {
    /// The examples.
    pub examples: Vec<Example>,
    /// How they are asked.
    pub template: PromptTemplate,
    /// What counts as right: a score of at least 1.
    pub strict: Arc<dyn RewardRule>,
    /// What counts as right by a second, lenient measure: the paper's is
    /// [`LenientEvaluation`](visrl_reward::rules::LenientEvaluation), and for CV-Bench
    /// [`CvBenchScore`](visrl_reward::rules::CvBenchScore).
    pub lenient: Arc<dyn RewardRule>,
    /// Whether answers stand in `<answer>` tags.
    pub answer_in_tags: bool,
    /// Random numbers for sampled evaluation.
    pub stream: SeedStream,
}

impl std::fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluator")
            .field("examples", &self.examples.len())
            .field("strict", &self.strict.name())
            .field("lenient", &self.lenient.name())
            .finish_non_exhaustive()
    }
}

impl Evaluator {
    /// Evaluates the policy of an engine; `model` places the prompts' tokens. Draws depend on
    /// the stream and the example's number alone, so that two policies meet the same numbers.
    /// Greedy answers that are none of the choices are asked for again, from the list alone.
    ///
    /// # Errors
    /// [`Error::Model`] when an example cannot be encoded, [`Error::Rollout`] when sampling fails.
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
        let asked: Vec<_> = prompts.into_iter().zip(inputs).collect();
        let requests: Vec<_> = asked
            .iter()
            .zip(0u32..)
            .map(|((prompt, input), index)| GroupRequest {
                sampling: sampling.clone(),
                index,
                ..GroupRequest::new(Arc::clone(prompt), Arc::clone(input), self.stream)
            })
            .collect();
        let groups = engine.generate(&requests)?;
        let pairs = groups.iter().zip(&self.examples);
        let mut answers: Vec<Answer> = pairs
            .flat_map(|(group, example)| group.completions.iter().map(move |c| (c, example)))
            .map(|(completion, example)| self.judge(completion, example))
            .collect();
        if sampling.temperature == 0.0 {
            self.guide(engine, encoder.tokenizer(), &asked, &mut answers)?;
        }
        Ok(self.count(answers, start.elapsed().as_secs_f64()))
    }

    /// Whether a text is right by the strict rule.
    pub(super) fn is_right(&self, text: &str, example: &Example) -> bool {
        counts(&*self.strict, text, example)
    }

    fn judge(&self, completion: &Completion, example: &Example) -> Answer {
        let right = self.is_right(&completion.text, example);
        let predicted = meant_choice(&*self.strict, &completion.text, example);
        let agreement = ThinkAnswerAgreement::default().score(&completion.text, example);
        Answer {
            id: example.id.clone(),
            label: example.label.clone(),
            completion: completion.text.clone(),
            tokens: completion.tokens.len(),
            truncated: completion.stop.is_truncated(),
            right,
            lenient: counts(&*self.lenient, &completion.text, example),
            guided: None,
            predicted: predicted.or(right.then(|| example.label.clone())),
            agrees: agreement.map(|score| score >= 1.0),
        }
    }

    fn count(&self, answers: Vec<Answer>, seconds: f64) -> Evaluation {
        let count = answers.len().max(1) as f64;
        let share =
            |is: fn(&Answer) -> bool| answers.iter().filter(|a| is(a)).count() as f64 / count;
        let guided = answers.iter().filter(|a| a.guided.is_some()).count();
        let guided_right = answers.iter().filter(|a| a.guided == Some(true)).count();
        let tokens: usize = answers.iter().map(|answer| answer.tokens).sum();
        let confusion = ConfusionMatrix::new(&answers);
        Evaluation {
            matcher: self.strict.name().to_owned(),
            examples: answers.len(),
            accuracy: share(|answer| answer.right),
            lenient_matcher: self.lenient.name().to_owned(),
            lenient_accuracy: share(|answer| answer.lenient),
            guided_accuracy: (guided > 0).then(|| guided_right as f64 / guided as f64),
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

/// Whether a rule gives a text its full score.
fn counts(rule: &dyn RewardRule, text: &str, example: &Example) -> bool {
    let score = rule.score(text, example);
    score.is_some_and(|score| score >= 1.0)
}
