//! JPEG files: baseline and progressive ones by a decoder with libjpeg's arithmetic, rare kinds by
//! the `image` crate.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod bits;
mod blocks;
mod colour;
mod decoder;
mod header;
mod huffman;
mod open;
mod picture;
mod scan;
mod transform;
mod upsample;

pub(super) use open::decode;
