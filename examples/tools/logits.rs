//! Writes what a checkpoint computes of an image and a question, for comparison with another
//! implementation: token ids, pixel values, grid and the logits of every position.
//!
//! `cargo run --release --example logits -- --model DIR --image photo.png --out logits.safetensors`

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
#[path = "../common/mod.rs"]
mod common;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use visrl::core::files::check_replaceable;
use visrl::core::{ImageSource, Prompt};
use visrl::data::own_question;
use visrl::vlm::{DecoderInput, Output, Segment, VisionLanguageModel};

#[derive(Parser, Debug)]
#[command(about = "The logits of a checkpoint for an image and a question")]
struct Cli {
    /// Checkpoint folder in Hugging Face layout.
    #[arg(long, default_value_os_t = common::assets::model(), hide_default_value = true)]
    model: PathBuf,
    /// Image file, PNG or JPEG.
    #[arg(long)]
    image: PathBuf,
    /// What is asked.
    #[arg(long, default_value = "What type of object is in the photo?")]
    question: String,
    /// Where the tensors go.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    load: common::LoadFlags,
    /// Device: auto, flex, cuda:N, tch, tch:N or wgpu.
    #[arg(long, default_value = "flex")]
    device: String,
}

fn main() -> std::process::ExitCode {
    let cli = common::cli::parse();
    common::main(|| run(cli))
}

/// Whether a file holds what this program writes.
fn is_own(bytes: &[u8]) -> bool {
    SafeTensors::deserialize(bytes).is_ok_and(|file| file.names().contains(&"logits"))
}

fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    check_replaceable(&cli.out, is_own).map_err(|error| format!("--out: {error}"))?;
    let device = visrl::parse_device(&cli.device)?;
    let base = cli.load.load(&cli.model, &device)?;
    let model = base.model;
    let question = own_question(&cli.question)?;
    if question.trim().is_empty() {
        return Err("--question: is empty".into());
    }
    let prompt = Prompt::user("image", ImageSource::path(&cli.image), &*question);
    let inputs = base.encoder.encode_all(&model, &[Arc::new(prompt)])?;
    let input = &inputs[0];
    let features = model.encode_images(&input.images)?;
    let batch = DecoderInput {
        ids: &input.ids,
        positions: &input.positions.ids,
        image_features: Some(&features),
    };
    let mut segments = [Segment::prompts(1, input.ids.len())];
    let hidden = model.forward(batch, &mut segments, Output::Hidden)?;
    let logits = hidden.ok_or("no hidden states")?.matmul(model.head());
    let shape = logits.dims().to_vec();
    let logits: Vec<f32> = logits.try_into_vec_as()?;
    if !logits.iter().all(|logit| logit.is_finite()) {
        let adapter = cli.load.adapter.iter().map(|dir| dir.display().to_string());
        let of = [cli.model.display().to_string()].into_iter().chain(adapter);
        let of = of.collect::<Vec<_>>().join(" with ");
        return Err(
            format!("{of}: logits hold NaN or infinity: a weight or a scale is too large").into(),
        );
    }

    let image = &input.images[0];
    let patches: usize = image.grid.iter().product();
    let pixels = &image.pixel_values;
    let floats =
        |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|x| x.to_le_bytes()).collect() };
    let ints =
        |values: &[i64]| -> Vec<u8> { values.iter().flat_map(|x| x.to_le_bytes()).collect() };
    let ids: Vec<i64> = input.ids.iter().map(|&id| id.into()).collect();
    let tensors = [
        ("input_ids", Dtype::I64, vec![1, ids.len()], ints(&ids)),
        (
            "image_grid_thw",
            Dtype::I64,
            vec![1, 3],
            ints(&image.grid.map(|x| x as i64)),
        ),
        (
            "pixel_values",
            Dtype::F32,
            vec![patches, pixels.len() / patches],
            floats(pixels),
        ),
        ("logits", Dtype::F32, shape, floats(&logits)),
    ];
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            Ok((*name, TensorView::new(*dtype, shape.clone(), bytes)?))
        })
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    let bytes = safetensors::serialize(views, None)?;
    visrl::core::files::write_file(&cli.out, &bytes)?;
    println!("{} tokens; tensors in {}", ids.len(), cli.out.display());
    Ok(())
}
