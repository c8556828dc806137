//! Temperature scaling.

use super::score::ChoiceScores;

/// The temperature at which [`ChoiceScores::probabilities`] of these examples have the least negative
/// log-likelihood of their right choices (Guo et al., "On calibration of modern neural networks",
/// arXiv 1706.04599). Ranks do not change with it.
///
/// Searches from 0.01 to 100 by golden section, in the logarithm. Examples whose right choice is
/// beyond their list are left out; without examples it is 1.
pub fn fit_temperature(scores: &[ChoiceScores], right: &[usize]) -> f64 {
    let examples: Vec<_> = scores
        .iter()
        .zip(right)
        .filter(|(scores, right)| **right < scores.logps.len())
        .collect();
    if examples.is_empty() {
        return 1.0;
    }
    let loss = |log: f64| -> f64 {
        let of = |(scores, right): &(&ChoiceScores, &usize)| {
            let temperature = log.exp();
            let scaled = scores.logps.iter().map(|&x| f64::from(x) / temperature);
            let largest = scaled.clone().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scaled.map(|x| (x - largest).exp()).sum();
            largest + sum.ln() - f64::from(scores.logps[**right]) / temperature
        };
        examples.iter().map(of).sum()
    };
    let ratio = (5f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (0.01f64.ln(), 100f64.ln());
    for _ in 0..80 {
        let (a, b) = (high - ratio * (high - low), low + ratio * (high - low));
        match loss(a) <= loss(b) {
            true => high = b,
            false => low = a,
        }
    }
    ((low + high) / 2.0).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overconfident_scores_are_cooled_down() {
        // The model gives its favourite odds of e^4, which is right in three of four cases: odds
        // of 3 need a temperature of 4 / ln 3.
        let scores = ChoiceScores {
            logps: vec![0.0, -4.0],
            lengths: vec![2, 2],
        };
        let temperature = fit_temperature(&vec![scores.clone(); 4], &[0, 0, 1, 0]);
        assert!(
            (temperature - 4.0 / 3f64.ln()).abs() < 1e-4,
            "{temperature}"
        );
        let calibrated = scores.probabilities(temperature);
        assert!((calibrated[0] - 0.75).abs() < 1e-4);
        assert_eq!(fit_temperature(&[], &[]), 1.0);
        assert_eq!(fit_temperature(&[scores], &[7]), 1.0);
    }
}
