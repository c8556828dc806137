//! Linear layers.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use tch::Tensor as Native;

use crate::libtorch::{self, Torch};
use crate::transformer_layer::weights::{LinearWeights, Projections};

pub(super) type Linear<T> = LinearWeights<T, T>;

/// `x W + b`.
pub(super) fn dense(x: &Native, linear: &Linear<Torch>) -> Native {
    match &linear.bias {
        Some(bias) => bias.tensor.addmm(x, &linear.weight.tensor),
        None => x.mm(&linear.weight.tensor),
    }
}

/// The same added to `onto`.
pub(super) fn dense_onto(onto: &Native, x: &Native, linear: &Linear<Torch>) -> Native {
    match &linear.bias {
        Some(_) => {
            let mut sum = dense(x, linear);
            let _ = sum.g_add_(onto);
            sum
        }
        None => onto.addmm(x, &linear.weight.tensor),
    }
}

/// The gradients of matrix and bias that are wanted.
pub(super) fn gradients(wanted: &Linear<bool>, x: &Native, grad: &Native) -> Linear<Option<Torch>> {
    let of_bias = || libtorch::fresh(grad.sum_dim_intlist(0, false, grad.kind()));
    LinearWeights {
        weight: wanted.weight.then(|| libtorch::fresh(x.tr().mm(grad))),
        bias: wanted.bias.map(|wanted| wanted.then(of_bias)),
    }
}

/// Projections as one.
pub(super) fn joined(projections: &Projections<Torch, Torch>) -> Linear<Torch> {
    match projections {
        Projections::Joined(all) => all.clone(),
        Projections::Apart(parts) => {
            let weights = parts.each_ref().map(|part| &part.weight.tensor);
            let biases = parts.iter().filter_map(|part| part.bias.as_ref());
            let biases: Vec<&Native> = biases.map(|bias| &bias.tensor).collect();
            let biases = (!biases.is_empty()).then(|| Native::cat(&biases, 0));
            LinearWeights {
                weight: libtorch::fresh(Native::cat(&weights, 1)),
                bias: biases.map(libtorch::fresh),
            }
        }
    }
}

/// The gradients of projections to parts of these widths that are wanted.
pub(super) fn projection_gradients(
    wanted: &Projections<bool, bool>,
    x: &Native,
    grad: &Native,
    widths: [i64; 3],
) -> Projections<Option<Torch>, Option<Torch>> {
    let wanted = match wanted {
        Projections::Joined(all) => return Projections::Joined(gradients(all, x, grad)),
        Projections::Apart(parts) => parts,
    };
    let mut found = wanted.each_ref().map(|wanted| LinearWeights {
        weight: None,
        bias: wanted.bias.map(|_| None),
    });
    if wanted.iter().any(|part| part.weight) {
        let (turned, parts) = (x.tr(), grad.split_with_sizes(widths, 1));
        for ((found, wanted), part) in found.iter_mut().zip(wanted).zip(&parts) {
            let of = || libtorch::fresh(turned.mm(part));
            found.weight = wanted.weight.then(of);
        }
    }
    if wanted.iter().any(|part| part.bias == Some(true)) {
        let sum = grad.sum_dim_intlist(0, false, grad.kind());
        let parts = sum.split_with_sizes(widths, 0);
        for ((found, wanted), part) in found.iter_mut().zip(wanted).zip(parts) {
            found.bias = wanted
                .bias
                .map(|wanted| wanted.then(|| libtorch::fresh(part)));
        }
    }
    Projections::Apart(found)
}
