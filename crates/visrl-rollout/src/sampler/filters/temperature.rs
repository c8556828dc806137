//! Temperature.

/// Divides scores by the temperature. 1 changes nothing, and neither does 0, which stands for
/// greedy decoding.
pub(in crate::sampler) fn apply_temperature(scores: &mut [f32], temperature: f64) {
    if temperature != 0.0 && temperature != 1.0 {
        let temperature = temperature as f32;
        scores.iter_mut().for_each(|score| *score /= temperature);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_divided() {
        let mut scores = [1.0, -2.0, f32::NEG_INFINITY];
        apply_temperature(&mut scores, 0.5);
        assert_eq!(scores, [2.0, -4.0, f32::NEG_INFINITY]);
        for unchanging in [0.0, 1.0] {
            apply_temperature(&mut scores, unchanging);
            assert_eq!(scores, [2.0, -4.0, f32::NEG_INFINITY]);
        }
    }
}
