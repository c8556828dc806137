//! The builder of a run.

use std::sync::Arc;

use visrl_data::{Dataset, MemoryDataset};
use visrl_grpo::PolicyLoss;
use visrl_rollout::BackgroundEngine;
use visrl_train::{
    AsyncGrpoTrainer, ExampleDealer, GrpoConfig, GrpoTrainer, Interrupt, JsonLines, MemoryPlan,
    MetricSink, Observer, Progress, SftTrainer, Start, StepMetrics, StopCause, StopCondition,
    SupervisedLoss, TensorBoard, TrainLoop, TrainStep, Warnings, resident_memory,
};
use visrl_vlm::{Pretrained, VisionLanguageModel};

use crate::error::Error;
use crate::fine_tune::FineTune;
use crate::loss_setting::LossSetting;
use crate::prepared::Prepared;
use crate::read_from::ReadFrom;
use crate::recipe::Recipe;
use crate::resume::Resumed;
use crate::run::{BegunRun, Run, RunFile, Trained};
use crate::run_folder::RunFolder;
use crate::summary::Summary;
use crate::written_dataset::{Vocabulary, WrittenDataset};

/// What a run gives.
#[derive(Clone, Debug)]
pub struct Outcome<M> {
    /// What it did.
    pub summary: Summary,
    /// The fine-tuned model; adapters are merged.
    pub model: Pretrained<M>,
}

/// A fine-tuning: measures the base, trains it, measures it again, saves.
///
/// ```no_run
/// use visrl::prelude::*;
///
/// let base = Pretrained::<QwenVl>::load("assets/base", &parse_device("flex")?)?;
/// let data = FashionMnist::open("assets/fashion-mnist")?;
/// let train = few_shot(&data, 4, 100)?;
/// let outcome = Trainer::new(base, &Recipe::no_thinking_rl(), &train)
///     .settings(FineTune { steps: 100, ..FineTune::default() })
///     .test(&data)
///     .stop_when(|metrics| metrics.reward > 0.95)
///     .launch()?;
/// println!("{:.1} %", 100.0 * outcome.summary.after.greedy);
/// # Ok::<(), visrl::Error>(())
/// ```
///
/// Into the output folder go
///
/// * `config.json`, `summary.json`, `evaluation.json` (before and after, by class, with confusion
///   matrices), `metrics.jsonl` (a line per step), `events.out.tfevents` (the same for TensorBoard),
///   `samples.jsonl` with the images in `samples/`,
/// * the fine-tuned checkpoint `model/`, the best one of the evaluations on the way `best/`, and
///   adapters as `adapter/`, in PEFT's format; adapters are merged in the other two,
/// * `checkpoints/step-N`, to resume from.
///
/// A part of one's own, a rule, a loss or a data set, is recorded by its name; a run with it can be
/// resumed when the same name is given again.
pub struct Trainer<'a, M> {
    base: Pretrained<M>,
    recipe: Recipe,
    train: Data<'a>,
    test: Option<Data<'a>>,
    settings: FineTune,
    loss: Option<(String, Box<dyn PolicyLoss<f32>>)>,
    sinks: Vec<Box<dyn MetricSink + 'a>>,
    observers: Vec<Box<dyn Observer + 'a>>,
    stop_when: Option<Box<StopCondition<'a>>>,
    interrupt: Interrupt,
    run_file: Option<RunFile>,
}

/// A data set of the caller's, or of the trainer's own.
enum Data<'a> {
    Borrowed(&'a dyn Dataset),
    Owned(MemoryDataset),
}

impl Data<'_> {
    fn get(&self) -> &dyn Dataset {
        match self {
            Self::Borrowed(data) => *data,
            Self::Owned(data) => data,
        }
    }
}

impl<M> std::fmt::Debug for Trainer<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer")
            .field("recipe", &self.recipe.name)
            .field("train", &self.train.get().name())
            .field("settings", &self.settings)
            .field("loss", &self.loss.as_ref().map(|(name, _)| name))
            .field("sinks", &self.sinks.len())
            .field("observers", &self.observers.len())
            .finish_non_exhaustive()
    }
}

impl<'a, M: VisionLanguageModel> Trainer<'a, M> {
    /// A run on the training split of `train`, with the default settings, tested on its test split.
    pub fn new(base: Pretrained<M>, recipe: &Recipe, train: &'a dyn Dataset) -> Self {
        Self::of(base, recipe.clone(), Data::Borrowed(train))
    }

    fn of(base: Pretrained<M>, recipe: Recipe, train: Data<'a>) -> Self {
        Self {
            base,
            recipe,
            train,
            test: None,
            settings: FineTune::default(),
            loss: None,
            sinks: Vec::new(),
            observers: Vec::new(),
            stop_when: None,
            interrupt: Interrupt::new(),
            run_file: None,
        }
    }

    /// The run of a file: data of its own, and the file's text, which it leaves as `run.toml`.
    pub(crate) fn of_file(
        base: Pretrained<M>,
        recipe: Recipe,
        (train, test): (MemoryDataset, MemoryDataset),
        run_file: RunFile,
    ) -> Self {
        Self {
            test: Some(Data::Owned(test)),
            run_file: Some(run_file),
            ..Self::of(base, recipe, Data::Owned(train))
        }
    }

    /// The model that the run begins with.
    pub(crate) fn base(&self) -> &Pretrained<M> {
        &self.base
    }

    pub(crate) fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Sets the numbers of the run.
    #[must_use]
    pub fn settings(mut self, settings: FineTune) -> Self {
        self.settings = settings;
        self
    }

    /// Tests on the test split of another data set.
    #[must_use]
    pub fn test(mut self, test: &'a dyn Dataset) -> Self {
        self.test = Some(Data::Borrowed(test));
        self
    }

    /// Trains with a loss of one's own in place of the settings', recorded by this name. A
    /// supervised recipe takes it for its own loss, too.
    #[must_use]
    pub fn loss(self, name: impl Into<String>, loss: impl PolicyLoss<f32> + 'static) -> Self {
        self.boxed_loss(name.into(), Box::new(loss))
    }

    pub(crate) fn boxed_loss(mut self, name: String, loss: Box<dyn PolicyLoss<f32>>) -> Self {
        self.loss = Some((name, loss));
        self
    }

    /// Records the metrics in one more place. `&mut sink` leaves the sink with the caller.
    #[must_use]
    pub fn sink(mut self, sink: impl MetricSink + 'a) -> Self {
        self.sinks.push(Box::new(sink));
        self
    }

    /// Tells one more observer what happens. `&mut observer` leaves it with the caller.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'a) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Ends the run after the first step whose metrics satisfy a condition.
    #[must_use]
    pub fn stop_when(mut self, condition: impl FnMut(&StepMetrics) -> bool + 'a) -> Self {
        self.stop_when = Some(Box::new(condition));
        self
    }

    /// Ends the run after its step, with a checkpoint, when a clone of this handle is triggered;
    /// [`launch`](Self::launch) then gives [`Error::Interrupted`].
    #[must_use]
    pub fn interrupt(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// Finds out all that can be known before the first step, as [`launch`](Self::launch) does
    /// first, and writes nothing.
    ///
    /// # Errors
    /// As [`launch`](Self::launch).
    pub fn check(self) -> Result<(), Error> {
        let file = self.read_from();
        self.find().map_err(|error| file.named(error))
    }

    fn find(mut self) -> Result<(), Error> {
        let (loss, warnings) = (self.take_loss()?, Warnings::new());
        let words = Vocabulary::of(&self.base);
        let train = WrittenDataset::new(self.train.get(), &words)?;
        let test = WrittenDataset::new(self.test.as_ref().unwrap_or(&self.train).get(), &words)?;
        let data: (&dyn Dataset, &dyn Dataset) = (&train, &test);
        let parts = (&self.settings, &self.recipe);
        let own = (loss, self.run_file);
        let prepared = Prepared::new(parts, self.base, data, own, &warnings)?;
        let length = (prepared.steps, prepared.dealer.len());
        let conditional = self.stop_when.is_some();
        let found = prepared.run.find(length, conditional, &warnings);
        found.map(drop)
    }

    /// Runs. What is wrong with settings, data, model or a checkpoint to resume from is found out
    /// before any file is changed, and one run at a time may use the output folder. A run that does
    /// not resume first removes what an earlier run left there; other files stay.
    ///
    /// # Errors
    /// [`Error::Setting`] with the setting's name in a run file, within [`Error::RunFile`] for a run
    /// that was read from one, [`Error::UnknownName`] for a loss
    /// that is only a name, [`Error::File`] for a folder that another run uses and for a checkpoint
    /// of another run, [`Error::Interrupted`], and what any part of the run says.
    pub fn launch(self) -> Result<Outcome<M>, Error> {
        let file = self.read_from();
        self.run().map_err(|error| file.named(error))
    }

    /// The file that the run was read from.
    fn read_from(&self) -> ReadFrom {
        let file = self.run_file.as_ref();
        file.map_or_else(ReadFrom::default, |file| file.read_from.clone())
    }

    fn run(mut self) -> Result<Outcome<M>, Error> {
        let (loss, warnings) = (self.take_loss()?, Warnings::new());
        let (settings, recipe) = (&self.settings, &self.recipe);
        let words = Vocabulary::of(&self.base);
        let train = WrittenDataset::new(self.train.get(), &words)?;
        let test = WrittenDataset::new(self.test.as_ref().unwrap_or(&self.train).get(), &words)?;
        let data: (&dyn Dataset, &dyn Dataset) = (&train, &test);
        let own = (loss, self.run_file);
        let prepared = Prepared::new((settings, recipe), self.base, data, own, &warnings)?;
        let Prepared {
            run,
            learner,
            dealer,
            steps,
            plan,
        } = prepared;
        let folder = RunFolder::lock(&settings.out)?;
        let conditional = self.stop_when.is_some();
        let found = run.find((steps, dealer.len()), conditional, &warnings)?;
        let schedule = settings.schedule(steps);
        let encoder = Arc::clone(&run.base.encoder);
        let template = recipe.template.clone();
        let training = Training {
            settings,
            dealer,
            steps,
            plan,
            warnings,
            sinks: self.sinks,
            observers: self.observers,
            stop_when: self.stop_when,
            interrupt: self.interrupt,
        };
        let (begun, trained, learner) = match recipe.objective.supervision() {
            Some(supervision) => {
                let mut method = SftTrainer {
                    learner,
                    encoder,
                    template,
                    answer_in_tags: recipe.answer_in_tags,
                    supervision,
                    prompts_per_step: settings.prompts_per_step,
                    schedule,
                };
                let (begun, trained) = training.train(run, (folder, found), &mut method)?;
                (begun, trained, method.learner)
            }
            None => {
                let config = GrpoConfig {
                    seed: settings.seed,
                    prompts_per_step: settings.prompts_per_step,
                    num_generations: settings.num_generations,
                    sampling: settings.sampling.clone(),
                    resample_rounds: settings.resample_rounds,
                    advantage: settings.advantage,
                    schedule,
                };
                let rewards = recipe.rewards.clone();
                let engine = run.engine()?;
                match settings.max_staleness {
                    0 => {
                        let mut method = GrpoTrainer {
                            learner,
                            engine,
                            encoder,
                            template,
                            rewards,
                            config,
                        };
                        let (begun, trained) = training.train(run, (folder, found), &mut method)?;
                        (begun, trained, method.learner)
                    }
                    max_staleness => {
                        let trainer = GrpoTrainer {
                            learner,
                            engine: BackgroundEngine::new(engine),
                            encoder,
                            template,
                            rewards,
                            config,
                        };
                        let mut method = AsyncGrpoTrainer::new(trainer, max_staleness, steps)?;
                        let (begun, trained) = training.train(run, (folder, found), &mut method)?;
                        (begun, trained, method.trainer.learner)
                    }
                }
            }
        };
        if trained.cause == StopCause::Interrupted {
            let step = trained.state.step;
            let checkpoint = begun.run.store.path(step);
            return Err(Error::Interrupted { step, checkpoint });
        }
        let (summary, model) = begun.finish(learner.into_model().valid(), trained)?;
        Ok(Outcome { summary, model })
    }

    /// The loss to train with, which the settings then name.
    fn take_loss(&mut self) -> Result<Box<dyn PolicyLoss<f32>>, Error> {
        if let Some((name, loss)) = self.loss.take() {
            self.settings.loss = LossSetting::Custom(name);
            return Ok(loss);
        }
        match &self.settings.loss {
            LossSetting::Custom(name) => Err(Error::UnknownName {
                kind: "loss",
                name: name.clone(),
                known: "none".to_owned(),
            }),
            LossSetting::Grpo(_) if self.recipe.objective.is_supervised() => {
                Ok(Box::new(SupervisedLoss))
            }
            LossSetting::Grpo(loss) => Ok(Box::new(*loss)),
        }
    }
}

/// The part of a run that is the same for every way of training.
struct Training<'a, 'd> {
    settings: &'d FineTune,
    dealer: ExampleDealer<'d>,
    steps: usize,
    plan: MemoryPlan,
    warnings: Warnings,
    sinks: Vec<Box<dyn MetricSink + 'a>>,
    observers: Vec<Box<dyn Observer + 'a>>,
    stop_when: Option<Box<StopCondition<'a>>>,
    interrupt: Interrupt,
}

impl Training<'_, '_> {
    fn train<'r, M: VisionLanguageModel>(
        mut self,
        run: Run<'r, M>,
        (folder, found): (RunFolder, Option<Resumed>),
        method: &mut dyn TrainStep<M>,
    ) -> Result<(BegunRun<'r, M>, Trained), Error> {
        let (settings, plan) = (self.settings, self.plan);
        let held = resident_memory();
        let (mut begun, start) = run.begin(folder, found)?;
        let path = settings.out.join("metrics.jsonl");
        let (mut lines, done) = match &start {
            Start::New(_) => (JsonLines::create(path)?, 0),
            Start::From(checkpoint) => {
                let step = checkpoint.state.step;
                (JsonLines::resume(path, step)?, step)
            }
        };
        let mut progress = match settings.progress {
            true => Progress::new(self.steps, done),
            false => Progress::hidden(),
        };
        progress.say(&format!("memory, estimated: {plan}"));
        let mut events = events(settings, &start)?;
        let mut sinks: Vec<&mut dyn MetricSink> = vec![&mut lines, &mut progress];
        sinks.extend(events.iter_mut().map(|events| events as _));
        sinks.extend(self.sinks.iter_mut().map(|sink| &mut **sink as _));
        let store = begun.run.store.clone();
        let mut stop_when = self.stop_when;
        let looped = TrainLoop {
            config: settings.loop_config(self.steps),
            data: &self.dealer,
            sinks: &mut sinks,
            observer: &mut self.observers,
            validation: &mut begun,
            store: Some(&store),
            stop_when: stop_when.as_mut().map(|condition| &mut **condition as _),
            interrupt: self.interrupt,
            warnings: self.warnings.clone(),
        };
        let (state, cause) = looped.run(method, start)?;
        let trained = Trained {
            state,
            cause,
            plan,
            warnings: self.warnings,
            held,
        };
        Ok((begun, trained))
    }
}

/// The event file, where there shall be one.
fn events(settings: &FineTune, start: &Start) -> Result<Option<TensorBoard>, Error> {
    let path = settings.out.join("events.out.tfevents");
    Ok(match (settings.tensorboard, start) {
        (false, _) => None,
        (true, Start::New(_)) => Some(TensorBoard::create(path)?),
        (true, Start::From(checkpoint)) => {
            let state = &checkpoint.state;
            let evaluated = state.evaluations.iter().any(|p| p.step == state.step);
            Some(TensorBoard::resume(path, state.step, evaluated)?)
        }
    })
}
