//! What is in a picture, or in thousands of them, by a checkpoint or by what a run left.
//!
//! `cargo run --release --example classify -- --run runs/latest --images photos --out answers.jsonl`
//!
//! `cargo run --release --example classify -- --image photo.png --choices "Bag,Coat,Sandal"`
//!
//! Without `--out` the answers of `--images` go to standard output, a JSON line a picture. A file that
//! a process was killed at is gone on with by the same command.

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use visrl::burn::tensor::Device;
use visrl::classifier::{
    AnswersFile, Classifier, PAGE_MARK, PictureAnswer, Question, RunWeights, answers_page, pictures,
};
use visrl::core::ImageSource;
use visrl::core::files::check_replaceable;
use visrl::data::own_question;
use visrl::rollout::SamplingParams;
use visrl::vlm::QwenVl;
use visrl::{FineTune, Recipe};

/// Pictures that are asked about together where no flag says how many.
const BATCH: usize = 32;
/// What is asked where neither a run nor a flag says it.
const QUESTION: &str = "What type of object is in the photo?";

#[derive(Parser, Debug)]
#[command(about = "The answers of a checkpoint, or of a run's, about pictures")]
struct Cli {
    /// Folder of a run: its model, recipe, question and choices.
    #[arg(long, conflicts_with_all = ["model", "think", "adapter", "min_pixels", "max_pixels",
        "max_prompt_tokens"])]
    run: Option<PathBuf>,
    /// Which of the run's models: model, best or adapter [default: the first that is there]
    #[arg(long, requires = "run", value_parser = weights)]
    weights: Option<RunWeights>,
    /// Checkpoint folder in Hugging Face layout.
    #[arg(long, default_value_os_t = common::assets::model(), hide_default_value = true)]
    model: PathBuf,
    /// One picture.
    #[arg(long, required_unless_present = "images", conflicts_with = "images")]
    image: Option<PathBuf>,
    /// Pictures: a folder, or a file with a path a line.
    #[arg(long)]
    images: Option<PathBuf>,
    /// Names to choose from, separated by commas [default: the run's classes]
    #[arg(long, value_delimiter = ',', required_unless_present = "run")]
    choices: Vec<String>,
    /// What is asked [default: the run's question]
    #[arg(long)]
    question: Option<String>,
    /// Think before answering, and show the thought.
    #[arg(long)]
    think: bool,
    /// Where the answers to `--images` go, a JSON line a picture; a file that is there is gone on
    /// with.
    #[arg(long)]
    out: Option<PathBuf>,
    /// A page of the pictures with their answers, the least certain first.
    #[arg(long)]
    html: Option<PathBuf>,
    /// Pictures that are asked about together [default: 32]
    #[arg(long, value_parser = batch)]
    batch: Option<usize>,
    #[command(flatten)]
    load: common::LoadFlags,
    /// Device: auto, flex, cuda:N, tch, tch:N or wgpu.
    #[arg(long, default_value = "flex")]
    device: String,
}

fn weights(name: &str) -> Result<RunWeights, String> {
    RunWeights::named(name).ok_or_else(|| "expected model, best or adapter".into())
}

fn batch(number: &str) -> Result<usize, String> {
    let number: usize = number.parse().map_err(|error| format!("{error}"))?;
    match number {
        0 => Err("is 0, expected at least 1".into()),
        number => Ok(number),
    }
}

fn main() -> std::process::ExitCode {
    let cli = common::cli::parse();
    common::main(|| run(&cli))
}

fn run(cli: &Cli) -> Result<(), Box<dyn Error>> {
    let of_many = [
        ("--out", cli.out.is_some()),
        ("--html", cli.html.is_some()),
        ("--batch", cli.batch.is_some()),
    ];
    if let (Some(_), Some((flag, _))) = (&cli.image, of_many.iter().find(|(_, given)| *given)) {
        return Err(format!("{flag} means nothing for --image, but for --images").into());
    }
    let device = visrl::parse_device(&cli.device)?;
    match (&cli.image, &cli.images) {
        (Some(image), _) => {
            let answers = classifier(cli, &device)?.classify(&[ImageSource::path(image)])?;
            answers.first().map_or(Ok(()), |answer| show(cli, answer))
        }
        (None, Some(images)) => {
            let pictures = pictures(images)?;
            if let Some(html) = &cli.html {
                let others = cli.out.iter().chain(&pictures).chain([images]);
                check_page(html, others)?;
            }
            many(cli, &mut classifier(cli, &device)?, pictures)
        }
        (None, None) => Ok(()),
    }
}

/// Refuses a page in the place of a file that is read or written, or of one that is no such page.
fn check_page<'a>(
    html: &Path,
    others: impl IntoIterator<Item = &'a PathBuf>,
) -> Result<(), String> {
    let shown = html.display();
    let place = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if let Some(other) = others.into_iter().find(|other| place(other) == place(html)) {
        return Err(format!("--html: {shown} is {}, too", other.display()));
    }
    let is_page = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(PAGE_MARK);
    check_replaceable(html, is_page).map_err(|error| format!("--html: {error}"))
}

fn classifier(cli: &Cli, device: &Device) -> Result<Classifier<QwenVl>, Box<dyn Error>> {
    let choices = cli.choices.iter().map(|name| name.trim().to_owned());
    let choices: Vec<String> = choices.collect();
    common::cli::unique("--choices", &choices)?;
    let asked = cli.question.as_deref().map(own_question).transpose()?;
    if asked.as_ref().is_some_and(|asked| asked.trim().is_empty()) {
        return Err("--question: is empty".into());
    }
    let mut question = Question {
        text: asked.unwrap_or_default().into_owned(),
        choices,
    };
    if let Some(run) = &cli.run {
        return Ok(Classifier::of_run(run, device, cli.weights, question)?);
    }
    if question.text.is_empty() {
        question.text = QUESTION.into();
    }
    let base = cli.load.load(&cli.model, device)?;
    let (recipe, most) = match cli.think {
        true => (Recipe::cls_rl(), 512),
        false => (Recipe::no_thinking_rl(), 64),
    };
    let settings = FineTune {
        sampling: SamplingParams::greedy(most),
        ..FineTune::default()
    };
    Ok(Classifier::new(base, &recipe, &settings, question)?)
}

/// Prints the answer about one picture.
fn show(cli: &Cli, answer: &PictureAnswer) -> Result<(), Box<dyn Error>> {
    if let Some(error) = &answer.error {
        return Err(format!("{}: {error}", answer.image).into());
    }
    if cli.think {
        println!("{}", answer.completion.as_deref().unwrap_or_default());
    } else if let Some(thought) = &answer.thought {
        println!("thought: {thought}");
    }
    println!("answer: {}", answer.answer.as_deref().unwrap_or_default());
    if let Some(probability) = answer.probability {
        println!("probability: {:.1} %", 100.0 * probability);
    }
    for (name, probability) in answer.ranked() {
        println!("{:6.1} %  {name}", 100.0 * probability);
    }
    if answer.truncated {
        println!("(cut at the length limit)");
    }
    Ok(())
}

/// Answers about many pictures: into a file, or to standard output.
fn many(
    cli: &Cli,
    classifier: &mut Classifier<QwenVl>,
    pictures: Vec<PathBuf>,
) -> Result<(), Box<dyn Error>> {
    let count = pictures.len();
    let batch = cli.batch.unwrap_or(BATCH);
    let bar = ProgressBar::new(count as u64);
    let style = "{pos}/{len} {bar:20} {eta} left  {per_sec}  {msg}";
    let bar = bar.with_style(ProgressStyle::with_template(style)?);
    let start = Instant::now();
    let mut answers = Vec::new();
    let asked = match &cli.out {
        Some(out) => {
            let mut file = AnswersFile::open(out, classifier, pictures, batch)?;
            let before = file.done();
            bar.set_position(before as u64);
            bar.reset_eta();
            while let Some(more) = file.next_batch(classifier)? {
                bar.inc(more.len() as u64);
            }
            answers = AnswersFile::read(out)?;
            count - before
        }
        None => {
            for (number, pictures) in pictures.chunks(batch).enumerate() {
                let sources: Vec<_> = pictures.iter().map(ImageSource::path).collect();
                let more = classifier.classify_from(number * batch, &sources)?;
                bar.suspend(|| print_lines(&more))?;
                bar.inc(more.len() as u64);
                answers.extend(more);
            }
            count
        }
    };
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    let speed = asked as f64 / seconds.max(1e-9);
    eprintln!("{asked} pictures in {seconds:.1} s, {speed:.1} pictures a second");
    if let Some(out) = &cli.out {
        eprintln!("{count} answers in {}", out.display());
    }
    let failed = answers.iter().filter(|answer| answer.error.is_some());
    match failed.count() {
        0 => {}
        failed => {
            eprintln!("warning: {failed} of {count} pictures have no answer; their lines say why")
        }
    }
    if let Some(html) = &cli.html {
        let title = cli.images.as_deref().unwrap_or(Path::new("")).display();
        let page = answers_page(&title.to_string(), &answers)?;
        visrl::core::files::write_file(html, page.as_bytes())?;
        eprintln!("a page of them in {}", html.display());
    }
    Ok(())
}

fn print_lines(answers: &[PictureAnswer]) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    for answer in answers {
        serde_json::to_writer(&mut out, answer)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}
