//! What the examples share: flags, and how a result is shown.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use visrl::data::{Dataset, FashionMnist, few_shot};
use visrl::vlm::processor::ImagePipeline;
use visrl::vlm::{LoadOptions, LoraConfig, Pretrained, QwenVl};
use visrl::{FineTune, Recipe, Summary};

/// The embedded model and data.
pub const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/base");
pub const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/fashion-mnist");

/// The flags of every fine-tuning.
#[derive(Args, Debug)]
pub struct Flags {
    /// Checkpoint folder in Hugging Face layout.
    #[arg(long, default_value = MODEL, hide_default_value = true)]
    pub model: PathBuf,
    /// Folder with Fashion-MNIST's four IDX files.
    #[arg(long, default_value = DATA, hide_default_value = true)]
    pub data: PathBuf,
    /// What happens to images before the processor's resize: as the checkpoint says, nothing, or
    /// the paper's resize to 384 x 384.
    #[arg(long, value_enum, default_value_t = Pipeline::AsSaved)]
    pub pipeline: Pipeline,
    /// Device: flex, cuda:N, tch, tch:N or wgpu.
    #[arg(long, default_value = "flex")]
    pub device: String,
    /// Seed of the few-shot draw, the lists and the sampling.
    #[arg(long, default_value_t = 100)]
    pub seed: u64,
    /// Optimizer steps.
    #[arg(long)]
    pub steps: Option<usize>,
    /// Training images of each class.
    #[arg(long, default_value_t = 4)]
    pub shots: usize,
    /// Completions per prompt.
    #[arg(long)]
    pub generations: Option<usize>,
    /// Peak learning rate.
    #[arg(long)]
    pub learning_rate: Option<f64>,
    /// Train adapters of this rank instead of the weights themselves.
    #[arg(long)]
    pub lora_rank: Option<usize>,
    /// Test images of each class (0: all).
    #[arg(long)]
    pub test_per_class: Option<usize>,
    /// Where metrics, summary and checkpoint go.
    #[arg(long, default_value = "runs/latest")]
    pub out: PathBuf,
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

impl Flags {
    /// The run's numbers: the defaults with what the flags say.
    pub fn settings(&self, defaults: FineTune) -> FineTune {
        FineTune {
            seed: self.seed,
            steps: self.steps.unwrap_or(defaults.steps),
            num_generations: self.generations.unwrap_or(defaults.num_generations),
            learning_rate: self.learning_rate.unwrap_or(defaults.learning_rate),
            test_per_class: self.test_per_class.unwrap_or(defaults.test_per_class),
            lora: self.lora_rank.map(|r| LoraConfig {
                r,
                lora_alpha: 2.0 * r as f64,
                ..LoraConfig::default()
            }),
            out: self.out.clone(),
            progress: true,
            ..defaults
        }
    }

    /// The base model, the few-shot training set and the whole data set.
    pub fn load(
        &self,
    ) -> Result<(Pretrained<QwenVl>, impl Dataset + use<>, FashionMnist), Box<dyn Error>> {
        let device = visrl::parse_device(&self.device)?;
        let options = LoadOptions {
            pipeline: self.pipeline.value(),
            ..LoadOptions::default()
        };
        let base = Pretrained::load_with(&self.model, &device, &options)?;
        let data = FashionMnist::open(&self.data)?;
        let train = few_shot(&data, self.shots, self.seed)?;
        Ok((base, train, data))
    }
}

/// Runs an example's body; an error is printed with its causes and gives exit code 1.
pub fn exit(result: Result<(), Box<dyn Error>>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

/// Prints what a run is about to do.
pub fn announce(recipe: &Recipe, settings: &FineTune, flags: &Flags) {
    println!(
        "{}: {} steps of {} prompts, {} images of each class, seed {}, device {}",
        recipe.name,
        settings.steps,
        settings.prompts_per_step,
        flags.shots,
        settings.seed,
        flags.device
    );
}

/// Prints accuracy before and after.
pub fn show(summary: &Summary, out: &Path) {
    println!(
        "accuracy on {} test images ({})",
        summary.test_examples, summary.matcher
    );
    println!("                 greedy    T = 1   tokens");
    for (name, accuracy) in [("before", summary.before), ("after", summary.after)] {
        println!(
            "{name:12} {:8.1} % {:6.1} % {:8.1}",
            100.0 * accuracy.greedy,
            100.0 * accuracy.t1,
            accuracy.completion_length
        );
    }
    println!(
        "trained in {:.0} s; checkpoint and metrics in {}",
        summary.seconds,
        out.display()
    );
}
