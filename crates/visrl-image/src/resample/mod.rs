//! Resizing 8-bit and 16-bit images with Pillow's arithmetic.
//!
//! The filters, their supports, the windows of taps, the fixed-point weights (22 fractional bits),
//! the order of the two passes and the rounding after each are those of `Resample.c` of Pillow 13,
//! so that a resized image equals Pillow's in every byte. (Older versions always ran the horizontal
//! pass first, which differs by 1 or 2 levels in images whose height shrinks most.)

mod bytes;
mod filter;
mod nearest;
mod passes;
mod premultiplied;
mod taps;
mod words;

pub(crate) use bytes::resize_u8;
pub use filter::Resample;
pub(crate) use nearest::nearest;
pub(crate) use premultiplied::{div_255, with_premultiplied};
pub(crate) use words::resize_u16;
