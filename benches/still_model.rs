use std::ops::Range;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData};
use visrl::vlm::{
    DecoderInput, Error, LoraLinear, ModelInfo, Output, Part, Positions, ProcessedImage, Segment,
    VisionLanguageModel,
};

/// A model without layers, whose logits are always the same: what is left is the engine.
#[derive(Module, Debug)]
pub(crate) struct Still {
    pub(crate) embeddings: Param<Tensor<2>>,
    #[module(skip)]
    pub(crate) info: ModelInfo,
}

impl VisionLanguageModel for Still {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn encode_images(&self, _: &[Arc<ProcessedImage>]) -> Result<Tensor<2>, Error> {
        Err(Error::Input("this model sees nothing".into()))
    }

    fn image_tokens(&self, _: [usize; 3]) -> usize {
        0
    }

    fn positions(&self, ids: &[u32], _: &[[usize; 3]]) -> Result<Positions, Error> {
        Ok(Positions {
            ids: (0..ids.len() as u32).map(|i| [i; 3]).collect(),
            next: ids.len() as u32,
        })
    }

    fn embed_batch(&self, batch: DecoderInput<'_>) -> Result<Tensor<2>, Error> {
        let ids: Vec<i64> = batch.ids.iter().map(|&id| i64::from(id)).collect();
        let data = TensorData::new(ids, [batch.ids.len()]);
        let table = self.embeddings.val();
        let ids = Tensor::<1, Int>::from_data(data, &table.device());
        Ok(table.select(0, ids))
    }

    fn run_layers(
        &self,
        _: Range<usize>,
        hidden: Tensor<2>,
        _: &[[u32; 3]],
        _: &mut [Segment],
        output: Output,
    ) -> Result<Option<Tensor<2>>, Error> {
        Ok((output == Output::Hidden).then_some(hidden))
    }

    fn head(&self) -> Tensor<2> {
        self.embeddings.val().transpose()
    }

    fn head_gradient(&self, _: Tensor<2>, _: Tensor<2>) -> Option<(String, Tensor<1>)> {
        None
    }

    fn part_of(&self, _: &str) -> Part {
        Part::LanguageModel
    }

    fn each_linear(&mut self, _: &mut dyn FnMut(&str, &mut LoraLinear)) {}

    fn file_shape(&self, _: &str) -> Option<Vec<usize>> {
        None
    }
}
