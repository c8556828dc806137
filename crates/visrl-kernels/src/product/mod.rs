//! Products of matrices in host memory.

mod few_rows;
mod gemm;
mod matrix;

pub(crate) use gemm::{Threads, product};
pub(crate) use matrix::Matrix;
