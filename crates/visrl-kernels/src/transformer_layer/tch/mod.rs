//! The layer in LibTorch's operators, recorded as one operation.

mod dense;
mod feed_forward;
mod layer;
mod norm;
mod prompts_attention;
#[cfg(test)]
mod tests;
