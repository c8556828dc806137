//! A model of one's own: one layer of attention over embeddings and mean colours.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use visrl::burn;
use visrl::burn::module::{Module, Param};
use visrl::burn::tensor::{Device, Int, Tensor, TensorData};
use visrl::core::{Domain, ImageSource, SeedStream};
use visrl::image;
use visrl::vlm::tokenizer::train_bpe;
use visrl::vlm::{
    ChatTemplate, CheckpointFiles, DecoderInput, Error, Heads, LoraLinear, ModelInfo, Output,
    Pretrained, ProcessedImage, Processor, PromptEncoder, RandomWeights, Segment, Tokenizer,
    VisionLanguageModel, WeightSource, attend,
};

const HIDDEN: usize = 16;

/// The model. Its fields are its parameters, and their names those in its checkpoint.
#[derive(Module, Debug)]
pub struct ColourModel {
    colour: LoraLinear,
    embed: Param<Tensor<2>>,
    query: LoraLinear,
    key: LoraLinear,
    value: LoraLinear,
    #[module(skip)]
    info: Arc<ModelInfo>,
}

impl ColourModel {
    fn new(
        tokenizer: &Tokenizer,
        source: &mut dyn WeightSource,
        device: &Device,
    ) -> Result<Self, Error> {
        let vocab = tokenizer.vocab_size();
        let mut matrix = |name: &str, shape: [usize; 2]| -> Result<_, Error> {
            let data = TensorData::new(source.read(name, &shape)?, shape);
            Ok(Param::from_tensor(Tensor::<2>::from_data(data, device)))
        };
        let embed = matrix("embed", [vocab, HIDDEN])?;
        let mut linear = |name: &str, inputs: usize| -> Result<_, Error> {
            let weight = matrix(&format!("{name}.weight"), [HIDDEN, inputs])?;
            Ok(LoraLinear::new(weight.map(Tensor::transpose), None))
        };
        Ok(Self {
            colour: linear("colour", 3)?,
            query: linear("query", HIDDEN)?,
            key: linear("key", HIDDEN)?,
            value: linear("value", HIDDEN)?,
            info: Arc::new(ModelInfo {
                hidden_size: HIDDEN,
                vocab_size: vocab,
                layers: 1,
                eos_token_ids: vec![tokenizer.eos_id()],
                image_token_id: tokenizer.image_pad_id(),
                banned_ids: tokenizer.vision_ids().to_vec(),
            }),
            embed,
        })
    }
}

impl VisionLanguageModel for ColourModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn encode_images(&self, images: &[Arc<ProcessedImage>]) -> Result<Tensor<2>, Error> {
        let values = images.iter().flat_map(|image| image.pixel_values.clone());
        let data = TensorData::new(values.collect::<Vec<f32>>(), [images.len(), 3]);
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

/// The mean colour of an image: one visual token.
struct MeanColour;

impl Processor for MeanColour {
    fn process(&self, source: &ImageSource) -> Result<ProcessedImage, image::Error> {
        let ImageSource::Rgb { pixels, .. } = source else {
            return Err(image::Error::Image {
                name: source.name(),
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
        let means = sums.map(|sum| sum / count).to_vec();
        Ok(ProcessedImage::new(means, [1, 1, 1]))
    }

    fn merge_size(&self) -> usize {
        1
    }

    fn settings(&self) -> serde_json::Value {
        "mean colour".into()
    }

    fn save(&self, _: &Path) -> Result<(), image::Error> {
        Ok(())
    }
}

const TEMPLATE: &str = "{% for message in messages %}{% for part in message.content %}\
    {% if part.type == 'image' %}<|image_pad|>{% else %}{{ part.text.strip() }}{% endif %}\
    {% endfor %}{% endfor %}{% if add_generation_prompt %}: {% endif %}";

/// A new model with a tokenizer of the words that it needs.
pub fn base(words: &str, device: &Device) -> Result<Pretrained<ColourModel>, Error> {
    let json = train_bpe([words], 290)?;
    let tokenizer = Arc::new(Tokenizer::from_json(&json)?);
    let rng = SeedStream::new(1, Domain::Init).rng();
    let mut weights = RandomWeights::new(rng, 0.3);
    let model = ColourModel::new(&tokenizer, &mut weights, device)?;
    let files = CheckpointFiles::new(tokenizer.files())?;
    let files = files.with("chat_template.jinja", TEMPLATE)?;
    let template = ChatTemplate::new(TEMPLATE)?;
    let encoder = PromptEncoder::new(Arc::new(MeanColour), tokenizer, template);
    Ok(Pretrained::from_parts(
        "colour_model",
        model,
        encoder,
        files,
    ))
}
