//! Pictures to answers.

use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use visrl_core::{Completion, Domain, Example, ImageSource, Prompt, SeedStream};
use visrl_data::{ChoiceList, ChoiceRule, Dataset, MemoryDataset, PromptTemplate};
use visrl_reward::{RewardRule, tags};
use visrl_rollout::{
    ChoiceScores, EngineConfig, GroupRequest, LocalEngine, RolloutEngine, SamplingParams,
    TokenChoices, score_choices_of_all,
};
use visrl_train::{BegunAnswer, meant_choice};
use visrl_vlm::{FeatureStore, ModelInput, Pretrained, PromptEncoder, VisionLanguageModel};

use super::picture_answer::{PictureAnswer, thought};
use crate::error::Error;
use crate::fine_tune::FineTune;
use crate::fingerprint;
use crate::question_check::check_question;
use crate::recipe::Recipe;
use crate::written_dataset::{Vocabulary, WrittenDataset};

/// Tokens of choices that run through the model together, at the most.
const TOKENS: usize = 8192;

/// What is asked about each picture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The question, without choices and instructions.
    pub text: String,
    /// The names to choose from; none for an open question.
    pub choices: Vec<String>,
}

/// Answers a question about pictures as an evaluation of its recipe does.
///
/// [`Classifier::of_run`] takes all from the folder of a run; [`Classifier::new`] is one of parts.
///
/// ```
/// use visrl::classifier::{Classifier, Question};
/// use visrl::prelude::*;
///
/// let base = Pretrained::<QwenVl>::load("../../assets/base", &parse_device("flex")?)?;
/// let question = Question {
///     text: "What type of object is in the photo?".into(),
///     choices: ["Bag", "Coat"].map(String::from).to_vec(),
/// };
/// let recipe = Recipe::no_thinking_rl();
/// let mut classifier = Classifier::new(base, &recipe, &FineTune::default(), question)?;
/// let grey = ImageSource::Gray {
///     name: "grey".into(),
///     width: 28,
///     height: 28,
///     pixels: vec![90; 28 * 28].into(),
/// };
/// let answers = classifier.classify(&[grey])?;
/// assert!(["Bag", "Coat"].contains(&answers[0].answer.as_deref().unwrap()));
/// assert_eq!(answers[0].ranked().len(), 2);
/// # Ok::<(), visrl::Error>(())
/// ```
#[derive(Debug)]
pub struct Classifier<M> {
    base: Pretrained<M>,
    recipe: Recipe,
    question: Question,
    template: PromptTemplate,
    encoder: Arc<PromptEncoder>,
    engine: LocalEngine<M>,
    /// Of the pictures that are asked about at the time.
    features: Arc<FeatureStore>,
    lists: ChoiceList,
    stream: SeedStream,
    seed: u64,
    max_new_tokens: usize,
}

/// A picture that is being asked about.
struct Asked {
    example: Example,
    prompt: Arc<Prompt>,
    input: Arc<ModelInput>,
}

impl<M: VisionLanguageModel> Classifier<M> {
    /// A classifier of a model. Of the settings it takes the seed, the longest completion, how
    /// evaluations ask, and whether a list is shown ([`ChoiceRule::Open`] shows none); a list is of
    /// all choices, as no answer is known that a shorter one would have to hold.
    ///
    /// # Errors
    /// [`Error::Data`] for choices that the model cannot write or tell apart, or an evaluation that
    /// has no words for the recipe; [`Error::Setting`] where there is nothing to choose from, and for
    /// a question that is empty or holds a token that ends a turn.
    pub fn new(
        base: Pretrained<M>,
        recipe: &Recipe,
        settings: &FineTune,
        question: Question,
    ) -> Result<Self, Error> {
        check_question("question", &question.text)?;
        let open = settings.choices == ChoiceRule::Open;
        let choices = match open {
            true => Vec::new(),
            false => {
                let names = MemoryDataset::new("choices", question.choices, "");
                let words = Vocabulary::of(&base);
                WrittenDataset::new(&names, &words)?.classes().to_vec()
            }
        };
        if choices.is_empty() && !open {
            let message = "are none: name what to choose from";
            return Err(Error::setting("choices", message));
        }
        let rule = match open {
            true => ChoiceRule::Open,
            false => ChoiceRule::All,
        };
        let encoder = settings.evaluation.encoder(&base.encoder)?;
        // Every picture is asked about once.
        encoder.set_image_capacity(0);
        let features = Arc::new(FeatureStore::new(usize::MAX));
        let engine = LocalEngine::new(
            &base.model,
            Arc::clone(base.encoder.tokenizer()),
            Arc::clone(&features),
            EngineConfig::default(),
        );
        Ok(Self {
            template: settings.evaluation.template(recipe)?,
            recipe: recipe.clone(),
            question: Question {
                text: question.text,
                choices,
            },
            encoder,
            engine,
            features,
            lists: ChoiceList::new(rule, settings.seed),
            stream: SeedStream::new(settings.seed, Domain::Evaluation),
            seed: settings.seed,
            max_new_tokens: settings.sampling.max_new_tokens,
            base,
        })
    }

    /// What is asked; choices are as the model's tokenizer writes them.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// The model, with all that stands beside its weights.
    pub fn base(&self) -> &Pretrained<M> {
        &self.base
    }

    /// What decides the answers, to compare with those of another time: checksums of the model, the
    /// recipe, what is asked, and how pictures are prepared.
    ///
    /// # Errors
    /// What reading the parameters from their device says.
    pub fn settings(&self) -> Result<Value, Error> {
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "recipe": self.recipe.name,
            "question": self.question,
            "template": self.template,
            "answer_in_tags": self.recipe.answer_in_tags,
            "strict_rule": self.recipe.strict_rule().name(),
            "seed": self.seed,
            "max_new_tokens": self.max_new_tokens,
            "processor": self.encoder.processor().settings(),
            "model": fingerprint::of_model(&self.base)?,
        }))
    }

    /// Answers for pictures, in their order, which are prepared and asked about together: as many
    /// as memory has room for.
    ///
    /// # Errors
    /// What encoding or sampling says. A picture that cannot be used, or whose prompt is too long,
    /// is no error: its answer says it.
    pub fn classify(&mut self, pictures: &[ImageSource]) -> Result<Vec<PictureAnswer>, Error> {
        self.classify_from(0, pictures)
    }

    /// As [`classify`](Self::classify), of pictures of which the first is the `first` of a longer
    /// list, counted from 0. The order of the choices that a picture is shown with depends on its
    /// place, as in an evaluation: those of a test split, in its order, get the evaluation's answers.
    ///
    /// # Errors
    /// As [`classify`](Self::classify).
    pub fn classify_from(
        &mut self,
        first: usize,
        pictures: &[ImageSource],
    ) -> Result<Vec<PictureAnswer>, Error> {
        let asked = self.ask(first, pictures)?;
        let mut answers: Vec<_> = pictures
            .iter()
            .map(|picture| PictureAnswer {
                image: picture.name(),
                ..PictureAnswer::default()
            })
            .collect();
        let (mut known, mut places) = (Vec::new(), Vec::new());
        for (place, asked) in asked.into_iter().enumerate() {
            match asked {
                Ok(asked) => {
                    known.push(asked);
                    places.push(place);
                }
                Err(message) => answers[place].error = Some(message),
            }
        }
        let found = self.answer(first, &known, &places);
        self.features.clear();
        for (place, found) in places.into_iter().zip(found?) {
            let image = std::mem::take(&mut answers[place].image);
            answers[place] = PictureAnswer { image, ..found };
        }
        Ok(answers)
    }

    /// The pictures with their prompts, or what is wrong with them.
    fn ask(
        &self,
        first: usize,
        pictures: &[ImageSource],
    ) -> Result<Vec<Result<Asked, String>>, Error> {
        let one = |(place, picture): (usize, &ImageSource)| {
            let example = self.example(first + place, picture);
            let prompt = Arc::new(self.template.render(&example));
            let prompts = std::slice::from_ref(&prompt);
            match self.encoder.encode_all(&self.base.model, prompts) {
                Ok(mut inputs) => match inputs.pop() {
                    Some(input) => Ok(Ok(Asked {
                        example,
                        prompt,
                        input,
                    })),
                    None => Ok(Err("was not encoded".to_owned())),
                },
                Err(visrl_vlm::Error::Image(visrl_image::Error::Image { message, .. })) => {
                    Ok(Err(message))
                }
                Err(visrl_vlm::Error::Prompt { message, .. }) => Ok(Err(message)),
                Err(error) => Err(error.into()),
            }
        };
        pictures.par_iter().enumerate().map(one).collect()
    }

    fn example(&self, place: usize, picture: &ImageSource) -> Example {
        let classes = &self.question.choices;
        // A list of all names does not depend on which of them is right.
        let any = classes.first().map_or("", String::as_str);
        Example {
            id: picture.name(),
            image: picture.clone(),
            question: self.question.text.clone(),
            choices: self.lists.draw(classes, any, 0, place as u64),
            label: String::new(),
            row: Default::default(),
        }
    }

    fn answer(
        &mut self,
        first: usize,
        asked: &[Asked],
        places: &[usize],
    ) -> Result<Vec<PictureAnswer>, Error> {
        let requests: Vec<_> = asked
            .iter()
            .zip(places)
            .map(|(asked, place)| GroupRequest {
                sampling: SamplingParams::greedy(self.max_new_tokens),
                index: (first + place) as u32,
                ..GroupRequest::new(
                    Arc::clone(&asked.prompt),
                    Arc::clone(&asked.input),
                    self.stream,
                )
            })
            .collect();
        let groups = self.engine.generate(&requests)?;
        let said: Vec<&Completion> = groups.iter().flat_map(|group| &group.completions).collect();
        if self.question.choices.is_empty() {
            return Ok(said.into_iter().map(|said| self.open(said)).collect());
        }
        let scores = self.score(asked, &said)?;
        let rule = self.recipe.strict_rule();
        let all = asked.iter().zip(said).zip(scores);
        Ok(all
            .map(|((asked, said), scores)| self.closed(&*rule, &asked.example, said, &scores))
            .collect())
    }

    /// The scores of each picture's choices, where the answer would stand.
    fn score(&self, asked: &[Asked], said: &[&Completion]) -> Result<Vec<ChoiceScores>, Error> {
        let tokenizer = self.base.encoder.tokenizer();
        let begun = asked.iter().zip(said).map(|(asked, said)| {
            let names = &asked.example.choices;
            match self.recipe.answer_in_tags {
                false => BegunAnswer::direct(tokenizer, &asked.input, names),
                true => BegunAnswer::in_tags(tokenizer, &asked.input, &said.text, names),
            }
        });
        let begun = begun.collect::<Result<Vec<_>, _>>()?;
        let begun: Vec<(&ModelInput, &TokenChoices)> = begun
            .iter()
            .map(|begun| (&*begun.input, &begun.choices))
            .collect();
        let tokens = |choices: &TokenChoices| choices.tokens().len() * choices.longest();
        let most = begun.iter().map(|(_, choices)| tokens(choices)).max();
        let together = (TOKENS / most.unwrap_or(1).max(1)).max(1);
        let mut scores = Vec::with_capacity(begun.len());
        for begun in begun.chunks(together) {
            let features = Some(&*self.features);
            scores.extend(score_choices_of_all(&self.base.model, features, begun)?);
        }
        Ok(scores)
    }

    fn open(&self, said: &Completion) -> PictureAnswer {
        let logp: f64 = said.logprobs.iter().map(|&logp| f64::from(logp)).sum();
        PictureAnswer {
            answer: Some(self.words(&said.text)),
            probability: Some(logp.exp()),
            ..of_completion(said)
        }
    }

    fn closed(
        &self,
        rule: &dyn RewardRule,
        example: &Example,
        said: &Completion,
        scores: &ChoiceScores,
    ) -> PictureAnswer {
        let probabilities = example.choices.iter().cloned();
        let probabilities = probabilities.zip(scores.probabilities(1.0)).collect();
        let answer = meant_choice(rule, &said.text, example)
            .or_else(|| scores.best().map(|best| example.choices[best].clone()));
        let mut found = PictureAnswer {
            answer,
            probabilities,
            ..of_completion(said)
        };
        let answer = found.answer.as_ref();
        found.probability = answer.and_then(|answer| found.probabilities.get(answer).copied());
        found
    }

    /// What a completion says for an answer.
    fn words(&self, completion: &str) -> String {
        match self.recipe.answer_in_tags {
            true => tags::evaluation_answer(completion).to_owned(),
            false => completion.trim().to_owned(),
        }
    }
}

fn of_completion(said: &Completion) -> PictureAnswer {
    PictureAnswer {
        thought: thought(&said.text),
        completion: Some(said.text.clone()),
        truncated: said.stop.is_truncated(),
        ..PictureAnswer::default()
    }
}
