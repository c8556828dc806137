//! Many tensors at once: one buffer for all, and one copy.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use tch::{Kind, Tensor as Native};

use super::shim;
use super::tensors::{Torch, fresh};

/// Numbers that a tensor's place in a buffer is a multiple of, so that all are aligned.
const ALIGNED: i64 = 64;

/// Vectors copied in one format into one buffer, on the device of the first.
pub(crate) fn copies(of: &[&Native], kind: Kind) -> Vec<Torch> {
    let Some(first) = of.first() else {
        return Vec::new();
    };
    // Each vector, and the room up to the next.
    let places = of.iter().flat_map(|of| {
        let len = of.numel() as i64;
        [len, (ALIGNED - len % ALIGNED) % ALIGNED]
    });
    let places: Vec<i64> = places.collect();
    let all = Native::empty([places.iter().sum()], (kind, first.device()));
    let parts = all.split_with_sizes(places.as_slice(), 0);
    let parts: Vec<Native> = parts.into_iter().step_by(2).collect();
    shim::copy_all(&parts.iter().collect::<Vec<_>>(), of);
    // No two overlap, so each may be written to.
    parts.into_iter().map(fresh).collect()
}

/// Vectors in memory of their own, for writing: those that somebody else holds are copied together.
pub(crate) fn owned_all(mut of: Vec<Torch>) -> Vec<Torch> {
    let shared: Vec<usize> = (0..of.len())
        .filter(|&at| !(of[at].can_mut() && of[at].tensor.is_contiguous()))
        .collect();
    let natives: Vec<&Native> = shared.iter().map(|&at| &of[at].tensor).collect();
    let kind = natives.first().map_or(Kind::Float, |first| first.kind());
    let copied = copies(&natives, kind);
    for (at, copy) in shared.into_iter().zip(copied) {
        of[at] = copy;
    }
    of
}
