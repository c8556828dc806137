//! What changes scores over the whole vocabulary.

use burn::tensor::{Bool, Device, IndexingUpdateOp, Int, Tensor, TensorData};

/// Divides positive logits of ids seen before by the row's penalty and multiplies negative ones.
///
/// `seen` counts how often a row has seen an id, `[rows, vocab]`; `penalty` is `[rows, 1]`.
pub(super) fn penalize_repetition(
    logits: Tensor<2>,
    seen: Tensor<2>,
    penalty: Tensor<2>,
) -> Tensor<2> {
    let negative = logits.clone().lower_elem(0.0);
    let penalized = logits.clone() / penalty.clone();
    let penalized = penalized.mask_where(negative, logits.clone() * penalty);
    logits.mask_where(seen.greater_elem(0.0), penalized)
}

/// Takes ids out: minus infinity where they are banned, 0 elsewhere, `[1, vocab]`; nothing where
/// none is.
pub(super) fn bans(banned_ids: &[u32], vocab_size: usize, device: &Device) -> Option<Tensor<2>> {
    let mut bans = vec![0.0f32; vocab_size];
    for &id in banned_ids {
        if let Some(ban) = bans.get_mut(id as usize) {
            *ban = f32::NEG_INFINITY;
        }
    }
    bans.iter()
        .any(|&ban| ban != 0.0)
        .then(|| Tensor::from_data(TensorData::new(bans, [1, vocab_size]), device))
}

/// How often each row has seen each id of a vocabulary, `[rows, vocab]`.
pub(super) fn count(rows: &[Vec<u32>], vocab_size: usize, device: &Device) -> Tensor<2> {
    let counts = Tensor::zeros([rows.len(), vocab_size], device);
    let rows: Vec<Vec<i64>> = rows
        .iter()
        .map(|ids| {
            let known = ids.iter().filter(|&&id| (id as usize) < vocab_size);
            known.map(|&id| i64::from(id)).collect()
        })
        .collect();
    let most = rows.iter().map(Vec::len).max().unwrap_or(0);
    if most == 0 {
        return counts;
    }
    let shape = [rows.len(), most];
    let (mut ids, mut ones) = (Vec::<i64>::new(), Vec::new());
    for row in &rows {
        let missing = most - row.len();
        ids.extend(row.iter().chain(std::iter::repeat_n(&0, missing)));
        ones.extend(row.iter().map(|_| 1.0f32));
        ones.extend(std::iter::repeat_n(0.0, missing));
    }
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, shape), device);
    let ones = Tensor::from_data(TensorData::new(ones, shape), device);
    counts.scatter(1, ids, ones, IndexingUpdateOp::Add)
}

/// Which ids rows may not choose, `[rows, vocab]`, where some rows may choose from a list alone.
pub(super) fn forbidden(
    allowed: &[Option<Vec<u32>>],
    vocab_size: usize,
    device: &Device,
) -> Tensor<2, Bool> {
    let lists: Vec<Vec<u32>> = allowed
        .iter()
        .map(|of| of.clone().unwrap_or_default())
        .collect();
    let free: Vec<f32> = allowed
        .iter()
        .map(|of| f32::from(u8::from(of.is_none())))
        .collect();
    let free = Tensor::<2>::from_data(TensorData::new(free, [allowed.len(), 1]), device);
    (count(&lists, vocab_size, device) + free).equal_elem(0.0)
}
