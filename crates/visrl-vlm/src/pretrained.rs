//! t
use std::sync::Arc;
use crate::*;
use visrl_core::Prompt;
/// t
#[derive(Debug)]
pub struct Tokenizer;
impl Tokenizer {
    /// t
    pub fn decode(&self, _ids: &[u32], _skip: bool) -> String { String::new() }
}
/// t
#[derive(Debug)]
pub struct PromptEncoder;
impl PromptEncoder {
    /// t
    pub fn encode_all<M: VisionLanguageModel>(&self, _m: &M, _p: &[Arc<Prompt>]) -> Result<Vec<Arc<ModelInput>>, Error> { Ok(vec![]) }
}
