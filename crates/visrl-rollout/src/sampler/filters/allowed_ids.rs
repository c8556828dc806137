//! Guided choice: only some ids may be drawn.

/// Takes every id but these out, as far as there is such an id.
pub(in crate::sampler) fn allow_only(scores: &mut [f32], allowed_ids: &[u32]) {
    let score = |&id: &u32| Some((id, *scores.get(id as usize)?));
    let kept: Vec<(u32, f32)> = allowed_ids.iter().filter_map(score).collect();
    scores.fill(f32::NEG_INFINITY);
    for (id, score) in kept {
        scores[id as usize] = score;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: f32 = f32::NEG_INFINITY;

    #[test]
    fn the_others_are_taken_out() {
        let mut scores = [1.0, 2.0, 3.0];
        allow_only(&mut scores, &[2, 0, 7, 2]);
        assert_eq!(scores, [1.0, OUT, 3.0]);
        allow_only(&mut scores, &[]);
        assert_eq!(scores, [OUT; 3]);
    }
}
