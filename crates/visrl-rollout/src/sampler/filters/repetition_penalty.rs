//! Repetition penalty (Keskar et al., "CTRL", arXiv 1909.05858).

/// Divides positive logits of ids seen before by the penalty and multiplies negative ones; 1
/// changes nothing. An id that was seen twice is penalised once.
pub(in crate::sampler) fn penalize_repetition(
    scores: &mut [f32],
    logits: &[f32],
    seen: impl Iterator<Item = u32>,
    penalty: f64,
) {
    if penalty == 1.0 {
        return;
    }
    let penalty = penalty as f32;
    for id in seen {
        // From the logit, not the score: once is enough.
        let (Some(score), Some(&logit)) = (scores.get_mut(id as usize), logits.get(id as usize))
        else {
            continue;
        };
        *score = if logit < 0.0 {
            logit * penalty
        } else {
            logit / penalty
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_seen_are_penalised_once() {
        let logits = [1.0, 3.0, 2.0, 3.0, -1.0];
        let mut scores = logits;
        penalize_repetition(&mut scores, &logits, [1, 1, 9, 3, 4].into_iter(), 2.0);
        assert_eq!(scores, [1.0, 1.5, 2.0, 1.5, -2.0]);
        let mut scores = logits;
        penalize_repetition(&mut scores, &logits, 0..5, 1.0);
        assert_eq!(scores, logits);
    }
}
