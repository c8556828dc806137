//! What a loss saw while it was computed.

use crate::diagnosis::Diagnosis;

/// Number, sum and range of values; of several pieces they [`merge`](Self::merge) into those of
/// the whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Values {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }
}

impl Values {
    /// Adds one value.
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.add_times(1, value);
    }

    /// Adds the same value `count` times.
    #[inline]
    pub(crate) fn add_times(&mut self, count: u64, value: f64) {
        self.count += count;
        self.sum += count as f64 * value;
        self.min = if value < self.min { value } else { self.min };
        self.max = if value > self.max { value } else { self.max };
    }

    /// Adds the values of another piece.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// The mean; 0 without values.
    fn mean(&self) -> f64 {
        mean(self.sum, self.count)
    }

    /// The smallest; NaN without a number.
    fn min(&self) -> f64 {
        if self.min <= self.max {
            self.min
        } else {
            f64::NAN
        }
    }

    /// The largest; NaN without a number.
    fn max(&self) -> f64 {
        if self.min <= self.max {
            self.max
        } else {
            f64::NAN
        }
    }
}

/// What the tokens of a batch looked like to the loss.
///
/// Metrics are kept as sums and counts, so those of pieces [`merge`](Self::merge) into those of
/// the whole. Means over nothing are 0; minima and maxima over nothing are NaN.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LossMetrics {
    /// Rows seen, including those without a token.
    pub rows: u64,
    /// Tokens that counted.
    pub tokens: u64,
    /// Rows without a token (empty, or cut at the length limit and left out).
    pub empty_rows: u64,
    /// Rows that the off-policy mask left out of the policy term.
    pub off_policy_rows: u64,
    /// Tokens that the entropy quantile selected (all tokens without one).
    pub selected_tokens: u64,
    /// The loss without the entropy bonus, with the same normalization.
    pub policy_loss: f64,
    /// Sum of the KL estimates, when the KL term is on.
    pub(crate) kl: Option<f64>,
    /// Sum of the entropies, when the batch has them.
    pub(crate) entropy: Option<f64>,
    /// Importance ratios, of tokens or of rows.
    pub(crate) ratio: Values,
    /// The ratios that correct for another sampler, of tokens.
    pub(crate) correction: Values,
    /// What clips are counted in: tokens, or rows at sequence level.
    pub(crate) units: u64,
    pub(crate) low: u64,
    pub(crate) high: u64,
    /// The clipped fractions of rows.
    pub(crate) row_low: Values,
    pub(crate) row_high: Values,
    /// The weights of rows, for a loss that has them.
    pub(crate) sequence_weight: Values,
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

    /// Mean importance ratio: over tokens, or over rows with tokens at sequence level.
    pub fn mean_ratio(&self) -> f64 {
        self.ratio.mean()
    }

    /// Smallest importance ratio; NaN without tokens.
    pub fn min_ratio(&self) -> f64 {
        self.ratio.min()
    }

    /// Largest importance ratio; NaN without tokens.
    pub fn max_ratio(&self) -> f64 {
        self.ratio.max()
    }

    /// Mean over tokens, smallest and largest of the ratios learner / sampler that multiplied the
    /// policy term, truncated or masked (0) as configured; `None` without a correction.
    pub fn correction(&self) -> Option<(f64, f64, f64)> {
        let ratios = &self.correction;
        (ratios.count > 0).then(|| (ratios.mean(), ratios.min(), ratios.max()))
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
        self.row_low.min()
    }

    /// Largest clipped-from-above fraction of any row; NaN when no row has one.
    pub fn clip_high_max(&self) -> f64 {
        self.row_high.max()
    }

    /// Mean over rows of the weight that a sequence-weighting loss gave them (VESPO's phi);
    /// `None` for other losses.
    pub fn sequence_weight(&self) -> Option<f64> {
        let weights = &self.sequence_weight;
        (weights.count > 0).then(|| weights.mean())
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
        self.ratio.merge(&other.ratio);
        self.correction.merge(&other.correction);
        self.units += other.units;
        self.low += other.low;
        self.high += other.high;
        self.row_low.merge(&other.row_low);
        self.row_high.merge(&other.row_high);
        self.sequence_weight.merge(&other.sequence_weight);
    }

    /// The metrics by name, for a metrics sink; those that do not apply are left out.
    ///
    /// | name | what |
    /// |---|---|
    /// | `loss/policy` | [`policy_loss`](Self::policy_loss) |
    /// | `kl`, `entropy` | means over tokens |
    /// | `ratio/mean`, `ratio/min`, `ratio/max` | importance ratios |
    /// | `correction/mean`, `correction/min`, `correction/max` | [`correction`](Self::correction) |
    /// | `clip/low`, `clip/high`, `clip/region` | clipped fractions |
    /// | `clip/low_min`, `clip/high_max` | of the row with the smallest, the largest |
    /// | `rows/empty`, `rows/off_policy` | fractions of rows |
    /// | `tokens/selected` | fraction of tokens |
    /// | `phi` | [`sequence_weight`](Self::sequence_weight) |
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> + use<> {
        let of = |sum: u64, count: u64| mean(sum as f64, count);
        let or_nan = |value: Option<f64>| value.unwrap_or(f64::NAN);
        let correction = self.correction();
        let named = [
            ("loss/policy", self.policy_loss),
            ("kl", or_nan(self.kl())),
            ("entropy", or_nan(self.entropy())),
            ("ratio/mean", self.mean_ratio()),
            ("ratio/min", self.min_ratio()),
            ("ratio/max", self.max_ratio()),
            ("correction/mean", or_nan(correction.map(|c| c.0))),
            ("correction/min", or_nan(correction.map(|c| c.1))),
            ("correction/max", or_nan(correction.map(|c| c.2))),
            ("clip/low", self.clip_low()),
            ("clip/high", self.clip_high()),
            ("clip/region", self.clip_region()),
            ("clip/low_min", self.clip_low_min()),
            ("clip/high_max", self.clip_high_max()),
            ("rows/empty", of(self.empty_rows, self.rows)),
            ("rows/off_policy", of(self.off_policy_rows, self.rows)),
            ("tokens/selected", of(self.selected_tokens, self.tokens)),
            ("phi", or_nan(self.sequence_weight())),
        ];
        named.into_iter().filter(|(_, value)| !value.is_nan())
    }

    /// Why masks and bounds left nothing of this batch to learn from; `None` when they left
    /// something. Of advantages that are all 0
    /// [`GroupMetrics::diagnosis`](crate::GroupMetrics::diagnosis) speaks.
    pub fn diagnosis(&self) -> Option<Diagnosis> {
        Some(if self.rows == 0 {
            Diagnosis::NothingSampled
        } else if self.tokens == 0 {
            Diagnosis::NoTokens { rows: self.rows }
        } else if self.off_policy_rows + self.empty_rows == self.rows {
            Diagnosis::OffPolicy {
                rows: self.off_policy_rows,
            }
        } else if self.units > 0 && self.low + self.high == self.units {
            Diagnosis::Clipped
        } else {
            return None;
        })
    }

    /// Records how many of a row's units (tokens, or itself at sequence level) were clipped.
    pub(crate) fn add_clips(&mut self, units: u64, low: u64, high: u64) {
        self.units += units;
        self.low += low;
        self.high += high;
        self.row_low.add(low as f64 / units as f64);
        self.row_high.add(high as f64 / units as f64);
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
        assert_eq!(
            (m.kl(), m.sequence_weight(), m.correction()),
            (None, None, None)
        );
        assert!(m.named().all(|(_, value)| value.is_finite()));
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
            m.add_clips(tokens, clipped, 0);
            m.diagnosis()
        };
        assert_eq!(seen(2, 1, 0, 4, 3), None);
        assert_eq!(seen(0, 0, 0, 0, 0), Some(Diagnosis::NothingSampled));
        assert_eq!(seen(2, 2, 0, 0, 0), Some(Diagnosis::NoTokens { rows: 2 }));
        assert_eq!(seen(3, 1, 2, 4, 0), Some(Diagnosis::OffPolicy { rows: 2 }));
        assert_eq!(seen(2, 0, 0, 4, 4), Some(Diagnosis::Clipped));
    }

    #[test]
    fn pieces_merge() {
        let piece = |kl, ratio, tokens, (low, high)| {
            let mut m = LossMetrics {
                rows: 1,
                tokens,
                kl: Some(kl),
                ..Default::default()
            };
            m.ratio.add(ratio);
            m.add_clips(tokens, low, high);
            m
        };
        let mut a = piece(2.0, 0.5, 4, (1, 0));
        a.merge(&piece(3.0, 1.5, 1, (0, 1)));
        assert_eq!((a.kl(), a.mean_ratio()), (Some(1.0), 1.0));
        assert_eq!(
            (a.clip_low(), a.clip_high(), a.clip_region()),
            (0.2, 0.2, 0.4)
        );
        assert_eq!((a.clip_low_min(), a.clip_high_max()), (0.0, 1.0));
        assert_eq!((a.min_ratio(), a.max_ratio()), (0.5, 1.5));
    }
}
