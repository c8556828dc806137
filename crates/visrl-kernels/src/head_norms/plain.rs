//! The norms one after another.

use burn::nn::RmsNorm;
use burn::tensor::Tensor;

use super::op::HeadNorms;
use crate::rms_norm::rms_norm;

pub(super) fn run(op: &HeadNorms, qkv: Tensor<2>) -> Tensor<2> {
    let ([tokens, _], heads) = (qkv.dims(), op.heads);
    let [query, kv] = [heads.query, heads.kv].map(|count| count * heads.dim);
    let part = |start, width| qkv.clone().narrow(1, start, width);
    let normed = |norm: &RmsNorm, start: usize, width: usize| {
        let rows = part(start, width).reshape([tokens * width / heads.dim, heads.dim]);
        rms_norm(norm, rows).reshape([tokens, width])
    };
    let [of_queries, of_keys] = &op.norms;
    let parts = vec![
        normed(of_queries, 0, query),
        normed(of_keys, query, kv),
        part(query + kv, kv),
    ];
    Tensor::cat(parts, 1)
}
