//! Supervised fine-tuning as the paper's program has it: every token of the conversation but those of
//! the image is learnt, with the log-probabilities of the sequence as one row.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use burn::tensor::activation::log_softmax;
use visrl::Recipe;
use visrl::core::{Example, ImageSource};
use visrl::train::{
    Learner, LearnerConfig, SupervisedLoss, TokenGroup, conversation, supervised_conversation,
};
use visrl::vlm::{
    DecoderInput, FeatureStore, ModelInput, Output, Pretrained, QwenVl, Segment,
    VisionLanguageModel,
};

fn base() -> Pretrained<QwenVl> {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Pretrained::load(root.join("assets/base"), &Device::flex()).unwrap()
}

fn encoded(base: &Pretrained<QwenVl>) -> Arc<ModelInput> {
    let example = Example {
        id: "1".into(),
        image: ImageSource::Gray {
            name: "grey".into(),
            width: 28,
            height: 28,
            pixels: (0..28 * 28).map(|i| (i % 251) as u8).collect(),
        },
        question: "What type of object is in the photo?".into(),
        choices: ["Coat", "Bag"].map(String::from).to_vec(),
        label: "Bag".into(),
        row: Default::default(),
    };
    let prompt = conversation(&Recipe::sft_reference().template, &example);
    let prompts = [Arc::new(prompt)];
    let mut inputs = base.encoder.encode_all(&base.model, &prompts).unwrap();
    inputs.remove(0)
}

/// The places of the targets: text that does not stand at the very beginning or right after an
/// image.
fn targets_of(input: &ModelInput, pad: u32) -> Vec<usize> {
    let ids = &input.ids;
    let is_target = |place: &usize| ids[*place] != pad && ids[*place - 1] != pad;
    (2..ids.len()).filter(is_target).collect()
}

/// Log-probabilities of all tokens but the first, of the sequence as one row.
fn whole(model: &QwenVl, input: &ModelInput) -> Vec<f32> {
    let features = model.encode_images(&input.images).unwrap();
    let tokens = DecoderInput {
        ids: &input.ids,
        positions: &input.positions.ids,
        image_features: Some(&features),
    };
    let mut segments = vec![Segment::prompts(1, input.ids.len())];
    let hidden = model
        .forward(tokens, &mut segments, Output::Hidden)
        .unwrap();
    let logits = hidden.unwrap().matmul(model.head());
    let vocabulary = logits.dims()[1];
    let logps = log_softmax(logits, 1)
        .into_data()
        .try_to_vec::<f32>()
        .unwrap();
    let of = |place: usize| logps[(place - 1) * vocabulary + input.ids[place] as usize];
    (1..input.ids.len()).map(of).collect()
}

#[test]
fn all_tokens_but_the_images_are_learnt_as_in_one_row() {
    let base = base();
    let input = encoded(&base);
    let pad = base.encoder.tokenizer().image_pad_id();
    let groups = supervised_conversation(&base.model, &input, pad);
    // What stands before the image, and what after it.
    assert_eq!(groups.len(), 2);
    let images = |group: usize| groups[group].tokens.input.images.len();
    assert_eq!((images(0), images(1)), (0, 1));
    let targets: Vec<u32> = groups
        .iter()
        .flat_map(|g| g.tokens.completions.row(0))
        .copied()
        .collect();
    let places = targets_of(&input, pad);
    let texts: Vec<u32> = places.iter().map(|place| input.ids[*place]).collect();
    assert_eq!(targets, texts);
    let all = input.ids.iter().filter(|id| **id != pad).count();
    assert_eq!(texts.len(), all - 3);

    let tokens: Vec<TokenGroup> = groups.iter().map(|group| group.tokens.clone()).collect();
    let config = LearnerConfig::default();
    let features = Arc::new(FeatureStore::new(0));
    let learner = Learner::new(
        base.model.clone(),
        Box::new(SupervisedLoss),
        features,
        config,
    );
    let found = learner.log_probs(&tokens).unwrap().logps;
    let found = (0..found.rows()).flat_map(|row| found.row(row).to_vec());
    let whole = whole(&base.model, &input);
    let whole = places.iter().map(|place| whole[place - 1]);
    let mut sum = 0.0;
    for (found, whole) in found.zip(whole) {
        assert!((found - whole).abs() < 1e-3, "{found} for {whole}");
        sum -= f64::from(whole);
    }
    let (loss, _) = learner.gradients(&groups, None).unwrap();
    assert!((loss - sum / targets.len() as f64).abs() < 1e-3, "{loss}");
}

#[test]
fn the_loss_of_a_conversation_falls() {
    let base = base();
    let input = encoded(&base);
    let pad = base.encoder.tokenizer().image_pad_id();
    let groups = supervised_conversation(&base.model, &input, pad);
    let features = Arc::new(FeatureStore::new(0));
    let config = LearnerConfig::default();
    let mut learner = Learner::new(base.model, Box::new(SupervisedLoss), features, config);
    let losses: Vec<f64> = (0..6)
        .map(|_| learner.update(&groups, 1e-3).unwrap().loss)
        .collect();
    assert!(losses[5] < 0.7 * losses[0], "{losses:?}");
}
