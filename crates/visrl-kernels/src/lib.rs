//! The operations of vision-language models, each with the forms that it has.
//!
//! burn's backends compose norms, rotations and losses of many passes over memory. Here one folder
//! holds one operation and all its forms, a file each:
//! * `op.rs`: the public function, which takes the first form that is compiled in and takes the
//!   tensors;
//! * `plain.rs`: tensor operations, which every backend runs and which tests take as the reference
//!   (the layer norm has burn's own);
//! * `flex.rs`, with the feature `flex`: loops over slices with a gradient by hand, for f32 in host
//!   memory, and for bf16 and f16 through f32;
//! * `cube.rs`, with the features `cuda` and `wgpu`: kernels in cubecl with a gradient by hand, for f32
//!   and bf16 on every GPU that these reach;
//! * `tch.rs`, with the feature `tch`: LibTorch's operators with a gradient by hand, for f32 and bf16.
//!
//! Numbers of 16 bits are rounded where PyTorch's kernels and transformers round: an operation is
//! f32 within, and its result is rounded once.
//!
//! Forms for other backends stand beside them in files named for the backend, and are listed in
//! `op.rs` by one line; [`forms`] says what a form with a gradient consists of. Whether an operation
//! is recorded, and on which backend it runs, is known there alone.
//!
//! The environment variable `VISRL_SIMD` (`avx2`, `scalar`) keeps the kernels from wider vectors
//! than it names, for tests and benches.
#![deny(unsafe_code)]

pub mod attention;
pub mod forms;

mod adamw;
mod cast_all;
mod decode_attention;
mod device_memory;
mod error;
mod gelu;
mod half;
mod head_norms;
mod heads;
mod layer_norm;
mod linear;
mod log_softmax;
mod masked_softmax;
mod parallel;
mod rms_norm;
mod rotary;
mod scale_all;
mod self_attention;
mod silu_mul;
mod sum_of_squares;
mod transformer_layer;

#[cfg(feature = "cubecl")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "tch")]
mod libtorch;
#[cfg(feature = "flex")]
mod product;
#[cfg(feature = "flex")]
mod simd;
#[cfg(all(test, any(feature = "flex", feature = "cubecl", feature = "tch")))]
mod testing;

pub use adamw::{AdamWStep, AdamWTensors, adamw, adamw_all, adamw_has_all};
pub use cast_all::cast_all;
pub use decode_attention::DecodeAttention;
pub use device_memory::{DeviceMemory, device_memory};
pub use error::Error;
pub use gelu::Gelu;
pub use head_norms::HeadNorms;
pub use heads::Heads;
pub use layer_norm::layer_norm;
#[cfg(feature = "tch")]
pub use libtorch::{OperatorCalls, OperatorRecord, OperatorRecording};
pub use linear::{FEW_ROWS, linear, linear_onto, matmul};
pub use log_softmax::{LogSoftmax, RowGradients, log_softmax, log_softmax_backward};
pub use masked_softmax::{Mask, masked_softmax};
pub use parallel::{is_in_host_memory, on_rayon_worker};
pub use rms_norm::rms_norm;
pub use rotary::RotationTable;
pub use scale_all::scale_all;
pub use self_attention::{Runs, SelfAttention};
pub use silu_mul::silu_mul;
pub use sum_of_squares::sum_of_squares;
pub use transformer_layer::{
    FeedForward, LayerAttention, LayerWeights, LinearWeights, NormWeights, Projections, PromptRows,
    PromptsAttention, PromptsWithRows, TransformerLayer,
};

/// The example of the README, as a test.
#[cfg(all(doctest, feature = "flex"))]
#[doc = include_str!("../README.md")]
struct Readme;
