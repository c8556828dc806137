//! What the examples share: flags, and how a result is shown.

pub mod assets;
pub mod cli;
pub mod data;
mod warnings;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};
use visrl::burn::tensor::Device;
use visrl::data::{Classes, ListSchedule};
use visrl::image::ImagePipeline;
use visrl::rollout::SamplingParams;
use visrl::train::Interrupt;
use visrl::vlm::{LoadOptions, LoraConfig, Pretrained, QwenVl};
use visrl::{
    DataConfig, DataSource, EvaluationSetting, FineTune, ModelConfig, ReadFrom, Recipe, Registry,
    RunConfig, Summary,
};

/// The flags of everything that measures. What is not given is as in the configuration file, or else
/// the default of the recipe.
#[derive(Args, Clone, Debug)]
pub struct MeasureFlags {
    /// A run as a file, as every run leaves it in its folder.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Checkpoint folder in Hugging Face layout.
    #[arg(long)]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub data: data::DataFlags,
    /// What happens to images before the processor's resize: as the checkpoint says, nothing, or
    /// the paper's resize to 384 x 384.
    #[arg(long, value_enum)]
    pub pipeline: Option<Pipeline>,
    #[command(flatten)]
    pub load: LoadFlags,
    /// Device: auto, flex, cuda:N, tch, tch:N or wgpu [default: flex]
    #[arg(long)]
    pub device: Option<String>,
    /// Seed of the few-shot draw, the lists and the sampling [default: 100]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Training images of each class [default: 4]
    #[arg(long)]
    pub shots: Option<usize>,
    /// Test images of each class (0: all).
    #[arg(long)]
    pub test_per_class: Option<usize>,
    /// How evaluations ask: training, paper_few_shot, paper_base_to_new, paper_open_set,
    /// paper_cv_bench or paper_cv_bench_no_instruction [default: training]
    #[arg(long, value_parser = evaluation)]
    pub evaluation: Option<EvaluationSetting>,
    /// Where results go: of a run metrics, summary and checkpoints [default: runs/latest]
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// The flags of every fine-tuning.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    #[command(flatten)]
    pub measure: MeasureFlags,
    /// Optimizer steps, in place of the epochs of a run file.
    #[arg(long)]
    pub steps: Option<usize>,
    /// Completions per prompt.
    #[arg(long)]
    pub generations: Option<usize>,
    /// Peak learning rate.
    #[arg(long)]
    pub learning_rate: Option<f64>,
    /// Train adapters of this rank instead of the weights themselves.
    #[arg(long)]
    pub lora_rank: Option<usize>,
    /// Steps between two evaluations on the way (0: none).
    #[arg(long)]
    pub evaluate_every: Option<usize>,
    /// Evaluations without a new best after which the run stops (0: never).
    #[arg(long)]
    pub patience: Option<usize>,
    /// Seconds of training after which the run stops.
    #[arg(long)]
    pub budget: Option<f64>,
    /// Lists of choices: new ones in each epoch, or one for each example, as the paper's
    /// [default: each-epoch]
    #[arg(long, value_enum)]
    pub lists: Option<Lists>,
    /// Steps between two checkpoints (0: none).
    #[arg(long)]
    pub checkpoint_every: Option<usize>,
    /// Go on after the newest checkpoint of the output folder, with the run's own settings.
    #[arg(long)]
    pub resume: bool,
}

/// How a checkpoint is loaded, where it is not as its files say.
#[derive(Args, Clone, Debug)]
pub struct LoadFlags {
    /// Folder of an adapter in PEFT's format, for the model; a training goes on with it.
    #[arg(long)]
    pub adapter: Option<PathBuf>,
    /// The fewest pixels of an image that the model reads [default: as the checkpoint says]
    #[arg(long)]
    pub min_pixels: Option<usize>,
    /// The most pixels of an image that the model reads [default: as the checkpoint says]
    #[arg(long)]
    pub max_pixels: Option<usize>,
    /// The most tokens of a prompt, those of its image included [default: 2048]
    #[arg(long)]
    pub max_prompt_tokens: Option<usize>,
}

impl LoadFlags {
    /// Sets the options that are given.
    pub fn set(&self, load: &mut LoadOptions) {
        load.min_pixels = self.min_pixels.or(load.min_pixels);
        load.max_pixels = self.max_pixels.or(load.max_pixels);
        load.max_prompt_tokens = self.max_prompt_tokens.or(load.max_prompt_tokens);
    }

    /// A checkpoint with the adapter and the options that are given.
    pub fn load(&self, model: &Path, device: &Device) -> Result<Pretrained<QwenVl>, visrl::Error> {
        let mut options = LoadOptions::default();
        self.set(&mut options);
        let base = Pretrained::load_with(model, device, &options)?;
        Ok(match &self.adapter {
            Some(dir) => base.with_adapter(dir)?,
            None => base,
        })
    }
}

fn evaluation(name: &str) -> Result<EvaluationSetting, String> {
    EvaluationSetting::named(name).ok_or_else(|| {
        let known: Vec<_> = EvaluationSetting::names().collect();
        format!("expected one of {}", known.join(", "))
    })
}

/// When lists of choices are drawn.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Lists {
    EachEpoch,
    Fixed,
}

/// What happens to images before the processor's resize.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Pipeline {
    AsSaved,
    Plain,
    Paper,
    PaperEvaluation,
}

impl Pipeline {
    fn value(self) -> Option<ImagePipeline> {
        match self {
            Self::AsSaved => None,
            Self::Plain => Some(ImagePipeline::Plain),
            Self::Paper => Some(ImagePipeline::Paper { size: 384 }),
            Self::PaperEvaluation => Some(ImagePipeline::PaperEvaluation { size: 384 }),
        }
    }
}

/// A recipe's numbers for the embedded model: a thought needs room.
pub fn defaults(recipe: &Recipe) -> FineTune {
    let defaults = FineTune::default();
    if !recipe.is_wordy() {
        return defaults;
    }
    FineTune {
        sampling: SamplingParams {
            max_new_tokens: 48,
            ..defaults.sampling
        },
        steps: 150,
        num_generations: 8,
        ..defaults
    }
}

impl MeasureFlags {
    /// The run: that of the file where one is given, else the recipe's on the embedded model and
    /// data. Flags come last.
    pub fn run(&self, recipe: Recipe) -> Result<RunConfig, visrl::Error> {
        self.run_of(self.config.as_deref(), recipe)
    }

    fn run_of(&self, file: Option<&Path>, recipe: Recipe) -> Result<RunConfig, visrl::Error> {
        let mut run = match file {
            Some(file) => RunConfig::from_file(file)?,
            None => RunConfig {
                version: None,
                read_from: ReadFrom::default(),
                device: "flex".into(),
                model: ModelConfig {
                    path: assets::model(),
                    adapter: None,
                    load: LoadOptions::default(),
                },
                data: DataConfig {
                    shots: Some(4),
                    shot_seed: None,
                    test_fraction: None,
                    test_seed: None,
                    classes: Classes::All,
                    source: DataSource::FashionMnist {
                        path: assets::fashion_mnist(),
                    },
                },
                test: None,
                fine_tune: defaults(&recipe),
                recipe,
            },
        };
        set(&mut run.device, &self.device);
        set(&mut run.model.path, &self.model);
        if let Some(pipeline) = self.pipeline {
            run.model.load.pipeline = pipeline.value();
        }
        self.load.set(&mut run.model.load);
        if self.load.adapter.is_some() {
            run.model.adapter.clone_from(&self.load.adapter);
        }
        let source = run.data.source.clone();
        self.data.set(&mut run.data.source)?;
        if run.data.source != source {
            run.read_from.replace("data.source");
        }
        run.data.test_fraction = self.data.test_fraction.or(run.data.test_fraction);
        run.data.shots = self.shots.or(run.data.shots);
        let numbers = &mut run.fine_tune;
        set(&mut numbers.seed, &self.seed);
        set(&mut numbers.test_per_class, &self.test_per_class);
        set(&mut numbers.evaluation, &self.evaluation);
        set(&mut numbers.out, &self.out);
        self.tell_replaced(&mut run.read_from);
        Ok(run)
    }

    /// Notes which settings are those of flags.
    fn tell_replaced(&self, from: &mut ReadFrom) {
        let load = &self.load;
        for (setting, is_given) in [
            ("device", self.device.is_some()),
            ("model.path", self.model.is_some()),
            ("model.load.pipeline", self.pipeline.is_some()),
            ("model.adapter", load.adapter.is_some()),
            ("model.load.min_pixels", load.min_pixels.is_some()),
            ("model.load.max_pixels", load.max_pixels.is_some()),
            (
                "model.load.max_prompt_tokens",
                load.max_prompt_tokens.is_some(),
            ),
            ("data.test_fraction", self.data.test_fraction.is_some()),
            ("data.shots", self.shots.is_some()),
            ("fine_tune.seed", self.seed.is_some()),
            ("fine_tune.test_per_class", self.test_per_class.is_some()),
            ("fine_tune.evaluation", self.evaluation.is_some()),
            ("fine_tune.out", self.out.is_some()),
        ] {
            if is_given {
                from.replace(setting);
            }
        }
    }
}

impl Flags {
    /// The run: that of the file where one is given or, when resuming, found; else the recipe's on
    /// the embedded model and data. Flags come last.
    pub fn run(&self, recipe: Recipe) -> Result<RunConfig, visrl::Error> {
        let mut run = self.measure.run_of(self.file().as_deref(), recipe)?;
        let numbers = &mut run.fine_tune;
        if let Some(steps) = self.steps {
            // Epochs would go before steps.
            (numbers.steps, numbers.epochs) = (steps, 0);
        }
        set(&mut numbers.num_generations, &self.generations);
        set(&mut numbers.learning_rate, &self.learning_rate);
        set(&mut numbers.evaluate_every, &self.evaluate_every);
        set(&mut numbers.patience, &self.patience);
        set(&mut numbers.checkpoint_every, &self.checkpoint_every);
        if let Some(lists) = self.lists {
            numbers.lists = match lists {
                Lists::EachEpoch => ListSchedule::EachEpoch,
                Lists::Fixed => ListSchedule::Fixed,
            };
        }
        numbers.budget_seconds = self.budget.or(numbers.budget_seconds);
        if let Some(r) = self.lora_rank {
            numbers.lora = Some(LoraConfig {
                r,
                // A rank that is none is told by its own name.
                lora_alpha: (2.0 * r as f64).clamp(1.0, 32_768.0),
                ..numbers.lora.take().unwrap_or_default()
            });
        }
        numbers.resume = self.resume;
        numbers.progress = true;
        for (setting, is_given) in [
            ("fine_tune.steps", self.steps.is_some()),
            ("fine_tune.epochs", self.steps.is_some()),
            ("fine_tune.num_generations", self.generations.is_some()),
            ("fine_tune.learning_rate", self.learning_rate.is_some()),
            ("fine_tune.evaluate_every", self.evaluate_every.is_some()),
            ("fine_tune.patience", self.patience.is_some()),
            (
                "fine_tune.checkpoint_every",
                self.checkpoint_every.is_some(),
            ),
            ("fine_tune.lists", self.lists.is_some()),
            ("fine_tune.budget_seconds", self.budget.is_some()),
            ("fine_tune.lora.r", self.lora_rank.is_some()),
            ("fine_tune.lora.lora_alpha", self.lora_rank.is_some()),
            ("fine_tune.resume", self.resume),
        ] {
            if is_given {
                run.read_from.replace(setting);
            }
        }
        Ok(run)
    }

    fn file(&self) -> Option<PathBuf> {
        let config = &self.measure.config;
        if config.is_some() || !self.resume {
            return config.clone();
        }
        let out = self.measure.out.clone();
        let file = out.unwrap_or(FineTune::default().out).join("run.toml");
        Some(file).filter(|file| file.exists())
    }
}

/// The recipe that a flag names; No-Thinking-RL without one, as where a file says which.
pub fn recipe(name: Option<&str>) -> Result<Recipe, String> {
    let name = name.unwrap_or("no_thinking_rl");
    Recipe::named(name).ok_or_else(|| {
        let known = Recipe::all().map(|recipe| recipe.name).join(", ");
        format!("--recipe: there is no `{name}`, but {known}")
    })
}

fn set<T: Clone>(to: &mut T, from: &Option<T>) {
    if let Some(value) = from {
        to.clone_from(value);
    }
}

/// Runs an example that fine-tunes by a recipe. Ctrl-C ends it after its step, with a checkpoint.
pub fn fine_tune(recipe: Recipe, flags: &Flags) -> ExitCode {
    launch(
        || flags.run(recipe),
        |run, interrupt| {
            let trainer = run.trainer(&Registry::new())?;
            let outcome = trainer.interrupt(interrupt).launch()?;
            show(&outcome.summary, &run.fine_tune.out);
            Ok(())
        },
    )
}

/// Runs what a Ctrl-C ends after its step, with a checkpoint.
pub fn launch(
    run: impl FnOnce() -> Result<RunConfig, visrl::Error>,
    launch: impl FnOnce(&RunConfig, Interrupt) -> Result<(), visrl::Error>,
) -> ExitCode {
    warnings::show();
    let run = match run() {
        Ok(run) => run,
        Err(error) => return exit(Err(error.into())),
    };
    announce(&run);
    let interrupt = match on_ctrl_c() {
        Ok(interrupt) => interrupt,
        Err(error) => return exit(Err(error)),
    };
    match launch(&run, interrupt) {
        Err(visrl::Error::Interrupted { step, .. }) => {
            eprintln!(
                "interrupted after {step} steps; go on with --resume --out {}",
                run.fine_tune.out.display()
            );
            ExitCode::from(INTERRUPTED)
        }
        launched => exit(launched.map_err(Into::into)),
    }
}

/// The exit code of a program that Ctrl-C ended: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// A handle that Ctrl-C triggers, or SIGTERM; the second time the program is ended at once.
pub fn on_ctrl_c() -> Result<Interrupt, Box<dyn Error>> {
    let interrupt = Interrupt::new();
    for signal in [SIGINT, SIGTERM] {
        // The first handler that was registered is the first that runs.
        register_conditional_shutdown(signal, INTERRUPTED.into(), interrupt.flag())?;
        register(signal, interrupt.flag())?;
    }
    Ok(interrupt)
}

/// Runs an example, with its warnings shown.
pub fn main(run: impl FnOnce() -> Result<(), Box<dyn Error>>) -> ExitCode {
    warnings::show();
    exit(run())
}

/// The images of each class that an experiment draws.
pub fn shots(run: &RunConfig) -> Result<usize, Box<dyn Error>> {
    let none = || {
        run.of_file(visrl::Error::Setting {
            name: "data.shots".into(),
            message: "is left out: say how many images of each class are drawn".into(),
        })
    };
    Ok(run.data.shots.ok_or_else(none)?)
}

/// Success, or an error that is printed and gives exit code 1.
fn exit(result: Result<(), Box<dyn Error>>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

/// Prints what a run is about to do.
pub fn announce(run: &RunConfig) {
    println!("{}", run.data.source.described());
    let numbers = &run.fine_tune;
    let length = match numbers.epochs {
        0 => format!("{} steps", numbers.steps),
        epochs => format!("{epochs} epochs in steps"),
    };
    let shots = match run.data.shots {
        Some(shots) => format!("{shots} images of each class"),
        None => "all training images".into(),
    };
    println!(
        "{}: {length} of {} prompts, {shots}, seed {}, device {}",
        run.recipe.name,
        numbers.prompts_per_step,
        numbers.seed,
        visrl::device_name(&run.device)
    );
}

/// Prints accuracy before and after.
pub fn show(summary: &Summary, out: &Path) {
    println!(
        "accuracy on {} test images ({})",
        summary.test_examples, summary.matcher
    );
    if summary.evaluation != EvaluationSetting::default() {
        println!("{}", summary.evaluation);
    }
    println!("                 greedy    T = 1   tokens");
    for (name, accuracy) in [("before", summary.before), ("after", summary.after)] {
        println!(
            "{name:12} {:8.1} % {:6.1} % {:8.1}",
            100.0 * accuracy.greedy,
            100.0 * accuracy.t1,
            accuracy.completion_length
        );
    }
    if let Some(best) = &summary.best {
        println!(
            "best of the evaluations on the way: {:.1} % after {} steps ({}), in best/",
            100.0 * best.accuracy,
            best.step,
            summary.validated_on
        );
    }
    let memory = &summary.memory;
    let mb = |bytes: Option<u64>| bytes.map_or("?".into(), |b| format!("{:.0}", b as f64 / 1e6));
    println!(
        "memory in MB: estimated {}, needed {}, with program and data {}",
        mb(Some(memory.plan.total())),
        mb(memory.needed()),
        mb(memory.peak)
    );
    println!(
        "trained in {:.0} s; checkpoint and metrics in {}",
        summary.seconds,
        out.display()
    );
}
