//! What a loss saw while it was computed.

use crate::importance::ImportanceLevel;
use crate::real::Real;

/// What the tokens of a batch looked like to the loss.
///
/// Metrics are kept as sums and counts, so those of pieces [`merge`](Self::merge) into those of
/// the whole. Means over nothing are 0; minima and maxima over nothing are NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossMetrics {
    /// Rows seen, including those without a counted token.
    pub rows: u64,
    /// Counted tokens.
    pub tokens: u64,
    /// Rows without a counted token (empty, or cut at the length limit and left out).
    pub empty_rows: u64,
    /// Rows that the off-policy mask left out of the policy term.
    pub off_policy_rows: u64,
    /// Tokens that the entropy quantile selected (all counted tokens without one).
    pub selected_tokens: u64,
    /// The loss without the entropy bonus, with the same normalization.
    pub policy_loss: f64,
    pub(crate) kl: Option<f64>,
    pub(crate) entropy: Option<f64>,
    pub(crate) ratio: f64,
    pub(crate) ratios: u64,
    pub(crate) ratio_min: f64,
    pub(crate) ratio_max: f64,
    pub(crate) units: u64,
    pub(crate) low: u64,
    pub(crate) high: u64,
    pub(crate) row_low_min: f64,
    pub(crate) row_high_max: f64,
    pub(crate) sequence_weight: Option<f64>,
}

impl Default for LossMetrics {
    fn default() -> Self {
        Self {
            rows: 0,
            tokens: 0,
            empty_rows: 0,
            off_policy_rows: 0,
            selected_tokens: 0,
            policy_loss: 0.0,
            kl: None,
            entropy: None,
            ratio: 0.0,
            ratios: 0,
            ratio_min: f64::NAN,
            ratio_max: f64::NAN,
            units: 0,
            low: 0,
            high: 0,
            row_low_min: f64::NAN,
            row_high_max: f64::NAN,
            sequence_weight: None,
        }
    }
}

impl LossMetrics {
    /// Mean of the KL estimate over tokens, as it entered the loss (bias-corrected where that is
    /// on); `None` when beta is 0.
    pub fn kl(&self) -> Option<f64> {
        self.kl.map(|sum| mean(sum, self.tokens))
    }

    /// Mean entropy over tokens in nats; `None` when the batch carries no entropies.
    pub fn entropy(&self) -> Option<f64> {
        self.entropy.map(|sum| mean(sum, self.tokens))
    }

    /// Mean importance ratio: over tokens, or over non-empty rows at sequence level.
    pub fn mean_ratio(&self) -> f64 {
        mean(self.ratio, self.ratios)
    }

    /// Smallest importance ratio; NaN without tokens.
    pub fn min_ratio(&self) -> f64 {
        self.ratio_min
    }

    /// Largest importance ratio; NaN without tokens.
    pub fn max_ratio(&self) -> f64 {
        self.ratio_max
    }

    /// Fraction clipped from below (ratio too small, advantage negative): of tokens, or of rows
    /// at sequence level.
    pub fn clip_low(&self) -> f64 {
        mean(self.low as f64, self.units)
    }

    /// Fraction clipped from above (ratio too large, advantage positive). For CISPO these are
    /// the truncated weights.
    pub fn clip_high(&self) -> f64 {
        mean(self.high as f64, self.units)
    }

    /// Fraction clipped on either side.
    pub fn clip_region(&self) -> f64 {
        mean((self.low + self.high) as f64, self.units)
    }

    /// Smallest clipped-from-below fraction of any row; NaN when no row has one.
    pub fn clip_low_min(&self) -> f64 {
        self.row_low_min
    }

    /// Largest clipped-from-above fraction of any row; NaN when no row has one.
    pub fn clip_high_max(&self) -> f64 {
        self.row_high_max
    }

    /// Mean over rows of the weight that a sequence-weighting loss gave them (VESPO's phi);
    /// `None` for other losses.
    pub fn sequence_weight(&self) -> Option<f64> {
        self.sequence_weight.map(|sum| mean(sum, self.rows))
    }

    /// Adds the metrics of another piece.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.tokens += other.tokens;
        self.empty_rows += other.empty_rows;
        self.off_policy_rows += other.off_policy_rows;
        self.selected_tokens += other.selected_tokens;
        self.policy_loss += other.policy_loss;
        self.kl = add(self.kl, other.kl);
        self.entropy = add(self.entropy, other.entropy);
        self.ratio += other.ratio;
        self.ratios += other.ratios;
        self.ratio_min = self.ratio_min.min(other.ratio_min);
        self.ratio_max = self.ratio_max.max(other.ratio_max);
        self.units += other.units;
        self.low += other.low;
        self.high += other.high;
        self.row_low_min = self.row_low_min.min(other.row_low_min);
        self.row_high_max = self.row_high_max.max(other.row_high_max);
        self.sequence_weight = add(self.sequence_weight, other.sequence_weight);
    }

    /// The metrics by name, for a metrics sink; those that do not apply are left out.
    pub fn named(&self) -> Vec<(&'static str, f64)> {
        let mut named = vec![
            ("loss/policy", self.policy_loss),
            ("ratio/mean", self.mean_ratio()),
            ("ratio/min", self.ratio_min),
            ("ratio/max", self.ratio_max),
            ("clip/low", self.clip_low()),
            ("clip/high", self.clip_high()),
            ("clip/region", self.clip_region()),
            ("clip/low_min", self.row_low_min),
            ("clip/high_max", self.row_high_max),
            ("rows/empty", mean(self.empty_rows as f64, self.rows)),
            (
                "rows/off_policy",
                mean(self.off_policy_rows as f64, self.rows),
            ),
            (
                "tokens/selected",
                mean(self.selected_tokens as f64, self.tokens),
            ),
        ];
        let optional = [
            ("kl", self.kl()),
            ("entropy", self.entropy()),
            ("phi", self.sequence_weight()),
        ];
        named.extend(
            optional
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        named.retain(|(_, value)| !value.is_nan());
        named
    }

    /// In plain language, why masks and bounds left nothing of this batch to learn from and what to
    /// do about it; `None` when they left something. Of advantages that are all 0
    /// [`GroupMetrics::diagnosis`](crate::GroupMetrics::diagnosis) speaks.
    pub fn diagnosis(&self) -> Option<String> {
        Some(if self.rows == 0 {
            "the batch has no completions: nothing was sampled".to_owned()
        } else if self.tokens == 0 {
            format!(
                "none of the {} completions has a counted token: all are empty, or all were cut \
                 at the length limit and left out (`mask_truncated_completions`), so sample \
                 longer ones",
                self.rows
            )
        } else if self.off_policy_rows + self.empty_rows == self.rows {
            format!(
                "the off-policy mask left out all {} completions: they come from a policy that \
                 is too old, so sample anew, make fewer updates per batch, or raise \
                 `off_policy_mask_threshold`",
                self.off_policy_rows
            )
        } else if self.units > 0 && self.low + self.high == self.units {
            "every ratio lies beyond its clip bound, which leaves no policy gradient (CISPO: a \
             truncated one): the policy has moved too far from the one that sampled, so make \
             fewer updates per batch, lower the learning rate, or widen the bounds"
                .to_owned()
        } else {
            return None;
        })
    }

    /// Records importance ratios by their number, sum and range.
    pub(crate) fn add_ratios<F: Real>(&mut self, count: u64, sum: f64, low: F, high: F) {
        self.ratio += sum;
        self.ratios += count;
        self.ratio_min = self.ratio_min.min(low.to_f64());
        self.ratio_max = self.ratio_max.max(high.to_f64());
    }

    /// Records how many of a row's `tokens` were clipped. At sequence level the row is one unit.
    pub(crate) fn add_clips(&mut self, level: ImportanceLevel, tokens: u64, low: u64, high: u64) {
        let (units, low, high) = match level {
            ImportanceLevel::Token => (tokens, low, high),
            ImportanceLevel::Sequence => (1, u64::from(low > 0), u64::from(high > 0)),
        };
        self.units += units;
        self.low += low;
        self.high += high;
        if units > 0 {
            self.row_low_min = self.row_low_min.min(low as f64 / units as f64);
            self.row_high_max = self.row_high_max.max(high as f64 / units as f64);
        }
    }
}

fn mean(sum: f64, count: u64) -> f64 {
    sum / count.max(1) as f64
}

fn add(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (one, None) | (None, one) => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_over_nothing_are_zero_and_extremes_nan() {
        let m = LossMetrics::default();
        assert_eq!((m.mean_ratio(), m.clip_region()), (0.0, 0.0));
        assert!(m.clip_low_min().is_nan() && m.max_ratio().is_nan());
        assert_eq!(m.kl(), None);
        assert!(m.named().iter().all(|(_, v)| v.is_finite()));
    }

    #[test]
    fn a_useless_batch_says_why() {
        let seen = |rows, empty_rows, off_policy_rows, tokens, clipped| {
            let mut m = LossMetrics {
                rows,
                empty_rows,
                off_policy_rows,
                tokens,
                ..Default::default()
            };
            m.add_clips(ImportanceLevel::Token, tokens, clipped, 0);
            m.diagnosis()
        };
        assert_eq!(seen(2, 1, 0, 4, 3), None);
        for (diagnosis, words) in [
            (seen(0, 0, 0, 0, 0), "no completions"),
            (seen(2, 2, 0, 0, 0), "counted token"),
            (seen(3, 1, 2, 4, 0), "off-policy mask left out all 2"),
            (seen(2, 0, 0, 4, 4), "clip bound"),
        ] {
            assert!(diagnosis.unwrap().contains(words), "{words}");
        }
    }

    #[test]
    fn pieces_merge() {
        let mut a = LossMetrics {
            rows: 1,
            tokens: 4,
            kl: Some(2.0),
            ..Default::default()
        };
        a.add_ratios(1, 0.5, 0.5, 0.5);
        a.add_clips(ImportanceLevel::Token, 4, 1, 0);
        let mut b = LossMetrics {
            rows: 1,
            tokens: 1,
            kl: Some(3.0),
            ..Default::default()
        };
        b.add_ratios(1, 1.5, 1.5, 1.5);
        b.add_clips(ImportanceLevel::Token, 1, 0, 1);
        a.merge(&b);
        assert_eq!((a.kl(), a.mean_ratio()), (Some(1.0), 1.0));
        assert_eq!(
            (a.clip_low(), a.clip_high(), a.clip_region()),
            (0.2, 0.2, 0.4)
        );
        assert_eq!((a.clip_low_min(), a.clip_high_max()), (0.0, 1.0));
        assert_eq!((a.min_ratio(), a.max_ratio()), (0.5, 1.5));
    }
}
