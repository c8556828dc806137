//! Models and requests that tests of engines share.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use visrl_core::{Content, Domain, ImageSource, Message, Prompt, Role, SeedStream};
use visrl_rollout::{GroupRequest, SamplingParams};
use visrl_vlm::{Pretrained, QwenVl};

/// The models of the fixtures folder that have a tokenizer.
pub(crate) fn models() -> Vec<PathBuf> {
    let root = visrl_testing::fixtures();
    let dirs = fs::read_dir(root.join("models")).unwrap();
    let mut dirs: Vec<_> = dirs.map(|entry| entry.unwrap().path()).collect();
    dirs.retain(|dir| dir.join("config.json").exists() && dir.join("tokenizer.json").exists());
    dirs.sort();
    assert!(!dirs.is_empty(), "no models in {root:?}");
    dirs
}

/// A model on flex.
pub(crate) fn load(dir: &Path) -> Pretrained<QwenVl> {
    Pretrained::load(dir, &Device::flex()).unwrap()
}

fn picture(width: u32, height: u32) -> ImageSource {
    let pixels: Vec<u8> = (0..width * height * 3)
        .map(|i| (i * 41 % 253) as u8)
        .collect();
    ImageSource::Rgb {
        name: "picture".into(),
        width,
        height,
        pixels: pixels.into(),
    }
}

/// Prompts of different lengths, with images of different sizes and without.
fn prompts() -> Vec<Prompt> {
    let text = |id: &str, text: &str| Prompt {
        id: id.into(),
        messages: vec![Message {
            role: Role::User,
            content: vec![Content::Text(text.into())],
        }],
    };
    vec![
        Prompt::user("a", picture(56, 56), "What is this?"),
        Prompt::user("b", picture(84, 28), "What type of animal is in the photo?"),
        text("c", "What is a leopard?"),
        Prompt::user("d", picture(56, 56), "Name it."),
        text("e", "Say something about aircraft, flowers and cars."),
    ]
}

/// Requests for groups of these sizes, of at most so many tokens.
pub(crate) fn requests(
    base: &Pretrained<QwenVl>,
    sizes: &[usize],
    most: usize,
) -> Vec<GroupRequest> {
    let prompts: Vec<_> = prompts().into_iter().map(Arc::new).collect();
    let inputs = base.encoder.encode_all(&base.model, &prompts).unwrap();
    let stream = SeedStream::new(5, Domain::Sampling);
    let all = prompts.into_iter().zip(inputs).cycle();
    let request = |((prompt, input), (index, &size)): ((_, _), (usize, &usize))| GroupRequest {
        num_generations: size,
        sampling: SamplingParams {
            max_new_tokens: 1 + (most - 1 + 7 * index) % most,
            ..SamplingParams::default()
        },
        step: 2,
        index: index as u32,
        ..GroupRequest::new(prompt, input, stream)
    };
    all.zip(sizes.iter().enumerate()).map(request).collect()
}
