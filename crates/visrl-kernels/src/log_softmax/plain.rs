//! Both passes in tensor operations.

use burn::tensor::activation::log_softmax;
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use super::op::{LogSoftmax, RowGradients};
use crate::error::Error;

pub(super) fn forward(logits: Tensor<2>, targets: &[u32]) -> Result<LogSoftmax, Error> {
    let logps = log_softmax(logits, 1);
    let chosen = logps.clone().gather(1, indices(targets, &logps));
    let entropy = -(logps.clone() * logps.clone().exp()).sum_dim(1);
    let both: Vec<f32> = Tensor::cat(vec![chosen, entropy], 1)
        .try_into_vec_as()
        .map_err(Error::device)?;
    let (chosen, entropies) = both.as_chunks().0.iter().map(|&[a, b]| (a, b)).unzip();
    Ok(LogSoftmax {
        logps,
        chosen,
        entropies,
    })
}

pub(super) fn backward(logps: Tensor<2>, targets: &[u32], rows: RowGradients<'_>) -> Tensor<2> {
    let column = |values: &[f32]| {
        let data = TensorData::new(values.to_vec(), [values.len(), 1]);
        Tensor::<2>::from_data(data, &logps.device()).cast(logps.dtype())
    };
    let index = indices(targets, &logps);
    let of_logp = column(rows.logp);
    let mut factor = of_logp.clone().neg();
    if let Some((entropy, entropies)) = rows.entropy {
        // -(c + e (log p + H)) p
        let shifted = logps.clone() + column(entropies);
        factor = factor.expand(shifted.dims()) - shifted * column(entropy);
    }
    (logps.exp() * factor).scatter(1, index, of_logp, IndexingUpdateOp::Add)
}

fn indices(targets: &[u32], like: &Tensor<2>) -> Tensor<2, Int> {
    let ids: Vec<i64> = targets.iter().map(|&id| i64::from(id)).collect();
    Tensor::from_data(TensorData::new(ids, [targets.len(), 1]), &like.device())
}
