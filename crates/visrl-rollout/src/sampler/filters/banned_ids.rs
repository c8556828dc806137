//! Ids that are never drawn.

/// Takes these ids out, as far as there are such ids.
pub(in crate::sampler) fn ban(scores: &mut [f32], banned_ids: &[u32]) {
    for &id in banned_ids {
        if let Some(score) = scores.get_mut(id as usize) {
            *score = f32::NEG_INFINITY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banned_ids_are_taken_out() {
        let mut scores = [1.0, 2.0, 3.0];
        ban(&mut scores, &[1, 7]);
        assert_eq!(scores, [1.0, f32::NEG_INFINITY, 3.0]);
    }
}
