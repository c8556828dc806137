//! From patches to visual tokens.

use burn::module::Module;
use burn::nn;
use burn::tensor::Tensor;
use visrl_kernels::Gelu;

use crate::checkpoint::layer_builder::LayerBuilder;
use crate::error::Error;
use crate::layers::lora_linear::LoraLinear;
use crate::qwen_vl::config::VisionConfig;

/// Two layers that make one visual token of neighbouring patches, which come normalised.
#[derive(Module, Debug)]
pub(super) struct Merger<N: Module> {
    pub(super) ln_q: N,
    mlp: (LoraLinear, nn::Gelu, LoraLinear),
}

impl<N: Module> Merger<N> {
    pub(super) fn new(
        build: &mut LayerBuilder<'_>,
        ln_q: N,
        config: &VisionConfig,
        out: usize,
    ) -> Result<Self, Error> {
        let merged = config.embed_dim * config.merge_size * config.merge_size;
        let mlp = (
            build.dense("visual.merger.mlp.0", [merged, merged], true, None)?,
            nn::Gelu::new(),
            build.dense("visual.merger.mlp.2", [merged, out], true, None)?,
        );
        Ok(Self { ln_q, mlp })
    }

    pub(super) fn forward(&self, normed: Tensor<2>, config: &VisionConfig) -> Tensor<2> {
        let [patches, width] = normed.dims();
        let side = config.merge_size * config.merge_size;
        let (first, _, second) = &self.mlp;
        let merged = normed.reshape([patches / side, width * side]);
        second.forward(Gelu::Exact.apply(first.forward(merged)))
    }

    pub(super) fn each_dense(&mut self, visit: &mut dyn FnMut(String, &mut LoraLinear)) {
        visit("merger.mlp.0".into(), &mut self.mlp.0);
        visit("merger.mlp.2".into(), &mut self.mlp.2);
    }
}
