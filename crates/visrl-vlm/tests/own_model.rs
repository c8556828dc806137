//! A model, an image processor, a tokenizer and a chat template of one's own, without a folder.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde_json::{Value, json};
use visrl_core::{ImageSource, Prompt};
use visrl_vlm::tokenizer::train_bpe;
use visrl_vlm::{
    ChatTemplate, CheckpointFiles, DecoderInput, Error, FeatureStore, Heads, LoadModel,
    LoadOptions, LoraConfig, LoraLinear, ModelInfo, ModelInput, NamedParameter, Output, ParamDtype,
    Part, Pretrained, ProcessedImage, Processor, PromptEncoder, SafetensorsDir, SaveDtype, Segment,
    SharedPrompt, TargetModules, Tokenizer, VisionLanguageModel, WeightSource, attach_lora, attend,
    map_parameters, merge_lora, prefill, visit_parameters,
};

const HIDDEN: usize = 8;

/// One layer of attention over embeddings and mean colours, with a tied head.
#[derive(Module, Debug)]
struct Toy {
    colour: LoraLinear,
    embed: Param<Tensor<2>>,
    query: LoraLinear,
    key: LoraLinear,
    value: LoraLinear,
    #[module(skip)]
    info: Arc<ModelInfo>,
}

impl Toy {
    fn new(tokenizer: &Tokenizer, source: &mut dyn WeightSource, device: &Device) -> Self {
        let vocab = tokenizer.vocab_size();
        let mut matrix = |name: &str, [rows, columns]: [usize; 2]| {
            let values = source.read(name, &[rows, columns]).unwrap();
            let data = TensorData::new(values, [rows, columns]);
            Param::from_tensor(Tensor::<2>::from_data(data, device))
        };
        let embed = matrix("embed", [vocab, HIDDEN]);
        let mut linear = |name: &str, inputs: usize| {
            let weight = matrix(&format!("{name}.weight"), [HIDDEN, inputs]);
            LoraLinear::new(weight.map(|weight| weight.transpose()), None)
        };
        Self {
            colour: linear("colour", 3),
            query: linear("query", HIDDEN),
            key: linear("key", HIDDEN),
            value: linear("value", HIDDEN),
            info: Arc::new(ModelInfo {
                hidden_size: HIDDEN,
                vocab_size: vocab,
                layers: 1,
                eos_token_ids: vec![tokenizer.eos_id()],
                image_token_id: tokenizer.image_pad_id(),
                banned_ids: tokenizer.vision_ids().to_vec(),
            }),
            embed,
        }
    }
}

impl VisionLanguageModel for Toy {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn encode_images(&self, images: &[Arc<ProcessedImage>]) -> Result<Tensor<2>, Error> {
        let values: Vec<f32> = images
            .iter()
            .flat_map(|image| image.pixel_values.clone())
            .collect();
        let data = TensorData::new(values, [images.len(), 3]);
        let device = self.embed.val().device();
        Ok(self.colour.forward(Tensor::from_data(data, &device)))
    }

    fn embed_batch(&self, batch: DecoderInput<'_>) -> Result<Tensor<2>, Error> {
        let table = self.embed.val();
        let mut images = 0;
        let rows = batch.ids.iter().map(|&id| match batch.image_features {
            Some(features) if id == self.info.image_token_id => {
                images += 1;
                features.clone().narrow(0, images - 1, 1)
            }
            _ => {
                let id = Tensor::<1, Int>::from_data([i64::from(id)], &table.device());
                table.clone().select(0, id)
            }
        });
        Ok(Tensor::cat(rows.collect(), 0))
    }

    fn run_layers(
        &self,
        _layers: Range<usize>,
        hidden: Tensor<2>,
        _positions: &[[u32; 3]],
        segments: &mut [Segment],
        output: Output,
    ) -> Result<Option<Tensor<2>>, Error> {
        let heads = Heads {
            query: 2,
            kv: 2,
            dim: HIDDEN / 2,
        };
        let [query, key, value] =
            [&self.query, &self.key, &self.value].map(|layer| layer.forward(hidden.clone()));
        let query = (output == Output::Hidden).then_some(query);
        let mixed = attend(heads, segments, 0, query, [key, value]);
        Ok(mixed.map(|mixed| hidden + mixed))
    }

    fn head(&self) -> Tensor<2> {
        self.embed.val().transpose()
    }

    fn head_gradient(&self, hidden: Tensor<2>, d_logits: Tensor<2>) -> Option<(String, Tensor<1>)> {
        let gradient = d_logits.transpose().matmul(hidden).reshape([-1]);
        let trained = self.embed.val().is_require_grad();
        trained.then(|| ("embed".to_owned(), gradient))
    }

    fn each_linear(&mut self, visit: &mut dyn FnMut(&str, &mut LoraLinear)) {
        visit("query", &mut self.query);
        visit("value", &mut self.value);
    }
}

/// The mean colour of an image, one visual token.
struct MeanColour;

impl Processor for MeanColour {
    fn process(&self, image: &ImageSource) -> Result<ProcessedImage, visrl_image::Error> {
        let ImageSource::Rgb { pixels, .. } = image else {
            return Err(visrl_image::Error::Image {
                name: image.name(),
                message: "expected pixels of three colours".into(),
            });
        };
        let mut sums = [0.0; 3];
        for pixel in pixels.chunks_exact(3) {
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                *sum += f32::from(value) / 255.0;
            }
        }
        let count = (pixels.len() / 3) as f32;
        Ok(ProcessedImage::new(
            sums.map(|sum| sum / count).to_vec(),
            [1, 1, 1],
        ))
    }

    fn merge_size(&self) -> usize {
        1
    }

    fn settings(&self) -> Value {
        json!("mean colour")
    }

    fn save(&self, _: &Path) -> Result<(), visrl_image::Error> {
        Ok(())
    }
}

/// Loading the toy's own folder.
impl LoadModel for Toy {
    type Config = Tokenizer;

    fn read_config(dir: &Path) -> Result<Tokenizer, Error> {
        Tokenizer::from_dir(dir)
    }

    fn read_processor(
        _: &Path,
        _: &Self::Config,
        _: &LoadOptions,
        _: &mut CheckpointFiles,
    ) -> Result<Arc<dyn Processor>, Error> {
        Ok(Arc::new(MeanColour))
    }

    fn from_weights(
        tokenizer: Tokenizer,
        source: &mut dyn WeightSource,
        device: &Device,
        _: ParamDtype,
    ) -> Result<Self, Error> {
        Ok(Self::new(&tokenizer, source, device))
    }
}

/// Values that are never the same.
struct Waves(f32);

impl WeightSource for Waves {
    fn read(&mut self, _: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let count = shape.iter().product::<usize>();
        Ok((0..count)
            .map(|_| {
                self.0 += 1.7;
                self.0.sin() * 0.5
            })
            .collect())
    }
}

const TEMPLATE: &str = "{% for message in messages %}{% for part in message.content %}\
    {% if part.type == 'image' %}<|image_pad|>{% else %}{{ part.text.strip() }}{% endif %}\
    {% endfor %}{% endfor %}{% if add_generation_prompt %}: {% endif %}";

fn base() -> Pretrained<Toy> {
    let json = train_bpe(["what colour is it? red green blue"], 290).unwrap();
    let tokenizer = Arc::new(Tokenizer::from_json(&json).unwrap());
    let model = Toy::new(&tokenizer, &mut Waves(0.0), &Device::flex());
    let files = CheckpointFiles::new(tokenizer.files()).unwrap();
    let files = files.with("chat_template.jinja", TEMPLATE).unwrap();
    let template = ChatTemplate::new(TEMPLATE).unwrap();
    let encoder = PromptEncoder::new(Arc::new(MeanColour), tokenizer, template);
    Pretrained::from_parts("toy", model, encoder, files)
}

fn prompt(id: &str, colour: [u8; 3]) -> Arc<Prompt> {
    let image = ImageSource::Rgb {
        name: id.into(),
        width: 2,
        height: 1,
        pixels: colour.repeat(2).into(),
    };
    Arc::new(Prompt::user(id, image, "what colour is it? "))
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.without_autodiff().try_into_vec_as().unwrap()
}

/// Logits after the whole prompt, computed in one piece.
fn whole(model: &Toy, input: &ModelInput) -> Vec<f32> {
    let features = model.encode_images(&input.images).unwrap();
    let batch = DecoderInput {
        ids: &input.ids,
        positions: &input.positions.ids,
        image_features: Some(&features),
    };
    let mut segments = [Segment::prompts(1, input.ids.len())];
    let hidden = model
        .forward(batch, &mut segments, Output::Hidden)
        .unwrap()
        .unwrap();
    numbers(
        hidden
            .narrow(0, input.ids.len() - 1, 1)
            .matmul(model.head()),
    )
}

/// The same after a prefill, for each of three rows.
fn shared(model: &Toy, input: &ModelInput) -> Vec<f32> {
    let store = FeatureStore::new(4);
    let prompts = [SharedPrompt { input, rows: 3 }];
    let mut segments = prefill(model, Some(&store), &prompts).unwrap();
    assert_eq!(segments[0].cache.prefix_len(), input.ids.len() - 1);
    let last = [input.ids[input.ids.len() - 1]; 3];
    let position = [input.positions.ids[input.ids.len() - 1]; 3];
    let batch = DecoderInput {
        ids: &last,
        positions: &position,
        image_features: None,
    };
    let hidden = model
        .forward(batch, &mut segments, Output::Hidden)
        .unwrap()
        .unwrap();
    numbers(hidden.matmul(model.head()))
}

fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 1e-5, "{a} instead of {b}");
    }
}

#[test]
fn a_model_of_ones_own_reads_prompts_and_shares_their_prefix() {
    let base = base();
    let prompts = [prompt("red", [255, 0, 0]), prompt("blue", [0, 0, 255])];
    let inputs = base.encoder.encode_all(&base.model, &prompts).unwrap();
    let red = &inputs[0];
    assert_eq!(red.positions.next as usize, red.ids.len());
    assert_eq!(
        base.encoder.tokenizer().decode(&red.ids[1..], false),
        "what colour is it?: "
    );
    let expected = whole(&base.model, red);
    close(&shared(&base.model, red), &expected.repeat(3));
    let other = whole(&base.model, &inputs[1]);
    assert!(
        expected
            .iter()
            .zip(&other)
            .any(|(a, b)| (a - b).abs() > 1e-3)
    );
}

#[test]
fn it_is_saved_and_loaded_with_the_files_that_were_given() {
    let base = base();
    let shared = base.clone();
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().join("toy");
    shared.save(&dir, SaveDtype::F32).unwrap();
    let names: Vec<String> = SafetensorsDir::open(&dir)
        .unwrap()
        .names()
        .map(Into::into)
        .collect();
    let expected = [
        "colour.weight",
        "embed",
        "key.weight",
        "query.weight",
        "value.weight",
    ];
    assert_eq!(names, expected);
    assert!(!dir.join("config.json").exists());
    let back = Pretrained::<Toy>::load(&dir, &Device::flex()).unwrap();
    assert_eq!(back.encoder.template().source(), TEMPLATE);
    let inputs = base
        .encoder
        .encode_all(&back.model, &[prompt("p", [9, 80, 200])])
        .unwrap();
    assert_eq!(
        whole(&back.model, &inputs[0]),
        whole(&base.model, &inputs[0])
    );
}

#[test]
fn its_parameters_are_visited_mapped_trained_and_adapted() {
    let base = base();
    let inputs = base
        .encoder
        .encode_all(&base.model, &[prompt("p", [9, 80, 200])])
        .unwrap();
    let mut parts = Vec::new();
    visit_parameters(&base.model, |parameter| {
        parts.push((base.model.part_of(&parameter.name), parameter.transposed));
    });
    assert_eq!(
        parts
            .iter()
            .filter(|part| **part == (Part::LanguageModel, true))
            .count(),
        4
    );

    let doubled = map_parameters(base.model.clone(), |parameter| {
        match parameter.name.as_str() {
            "embed" => NamedParameter {
                values: parameter.values * 2.0,
                ..parameter
            },
            _ => parameter,
        }
    });
    close(
        &numbers(doubled.embed.val()),
        &numbers(base.model.embed.val() * 2.0),
    );

    let recording = base.model.clone().train();
    let mut segments = [Segment::prompts(1, inputs[0].ids.len())];
    let features = recording.encode_images(&inputs[0].images).unwrap();
    let batch = DecoderInput {
        ids: &inputs[0].ids,
        positions: &inputs[0].positions.ids,
        image_features: Some(&features),
    };
    let hidden = recording
        .forward(batch, &mut segments, Output::Hidden)
        .unwrap()
        .unwrap();
    let gradients = hidden.sum().backward();
    assert!(
        recording
            .colour
            .forward(Tensor::zeros([1, 3], &recording.embed.val().device()))
            .is_autodiff()
    );
    let gradient = recording.embed.val().grad(&gradients).unwrap();
    assert!(numbers(gradient).iter().any(|x| *x != 0.0));

    let config = LoraConfig {
        target_modules: TargetModules::Names(vec!["query".into(), "value".into()]),
        ..LoraConfig::default()
    };
    let rng = visrl_core::SeedStream::new(3, visrl_core::Domain::Sampling).rng();
    let mut adapted = attach_lora(base.model.clone(), &config, rng).unwrap();
    adapted.each_linear(&mut |_, layer| {
        let mut adapter = layer.adapter().unwrap();
        adapter.b = adapter.b.ones_like() * 0.1;
        layer.set_adapter(Some(adapter));
    });
    let expected = whole(&adapted, &inputs[0]);
    assert!(
        expected
            .iter()
            .zip(&whole(&base.model, &inputs[0]))
            .any(|(a, b)| (a - b).abs() > 1e-3)
    );
    close(&whole(&merge_lora(adapted), &inputs[0]), &expected);
}

#[test]
fn a_model_without_images_refuses_them_by_name() {
    let base = base();
    let tokenizer = Arc::clone(base.encoder.tokenizer());
    let encoder = PromptEncoder::text_only(tokenizer, ChatTemplate::new(TEMPLATE).unwrap());
    let error = encoder
        .encode_all(&base.model, &[prompt("red", [255, 0, 0])])
        .unwrap_err();
    assert_eq!(error.to_string(), "image red: the model reads no images");
}
