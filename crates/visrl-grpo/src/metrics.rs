//! What a loss saw while it was computed.

use crate::diagnosis::Diagnosis;

/// Number, sum and range of values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Values {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Default for Values {
    fn default() -> Self {
        Self { count: 0, sum: 0.0, min: f64::NAN, max: f64::NAN }
    }
}

impl Values {
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        // Single instructions; the first value replaces NaN.
        self.min = if self.min < value { self.min } else { value };
        self.max = if self.max > value { self.max } else { value };
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// The mean; NaN without values.
    fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }
}

/// What the tokens of a batch looked like to the loss: metrics kept as sums and counts, so those
/// of pieces [`merge`](Self::merge) into those of the whole.
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
    // Sums over tokens; none where there is no KL term, or no entropies.
    pub(crate) kl: Option<f64>,
    pub(crate) entropy: Option<f64>,
    pub(crate) selected_entropy: f64,
    pub(crate) ratio: Values,
    pub(crate) correction: Values,
    // What clips are counted in: tokens, or rows at sequence level.
    pub(crate) units: u64,
    pub(crate) low: u64,
    pub(crate) high: u64,
    // Of rows: clipped fractions, and the weights that a loss gave them.
    pub(crate) row_low: Values,
    pub(crate) row_high: Values,
    pub(crate) sequence_weight: Values,
}

impl LossMetrics {
    /// Mean of the KL estimates over tokens, as they entered the loss; `None` when beta is 0.
    pub fn kl(&self) -> Option<f64> {
        self.kl.map(|sum| mean(sum, self.tokens))
    }

    /// Mean entropy over tokens in nats; `None` when the batch carries no entropies.
    pub fn entropy(&self) -> Option<f64> {
        self.entropy.map(|sum| mean(sum, self.tokens))
    }

    /// Adds the metrics of another piece.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.tokens += other.tokens;
        self.empty_rows += other.empty_rows;
        self.off_policy_rows += other.off_policy_rows;
        self.selected_tokens += other.selected_tokens;
        self.policy_loss += other.policy_loss;
        let add = |a: Option<f64>, b: Option<f64>| a.map(|a| a + b.unwrap_or(0.0)).or(b);
        self.kl = add(self.kl, other.kl);
        self.entropy = add(self.entropy, other.entropy);
        self.selected_entropy += other.selected_entropy;
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
    /// | `ratio/mean`, `/min`, `/max` | importance ratios of tokens (of rows at sequence level) |
    /// | `correction/mean`, `/min`, `/max` | ratios that corrected tokens for the sampler |
    /// | `clip/low` | fraction with too small a ratio and a negative advantage |
    /// | `clip/high` | with too large a ratio and a positive one; CISPO: truncated weights |
    /// | `clip/region` | both |
    /// | `clip/low_min`, `clip/high_max` | smallest and largest of any row |
    /// | `rows/empty`, `rows/off_policy` | fractions of rows |
    /// | `tokens/selected` | fraction of tokens that the entropy quantile selected |
    /// | `phi` | mean over rows of the weight that VESPO gave them |
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> + use<> {
        let of = |sum: u64, count: u64| mean(sum as f64, count);
        let [ratio, correction, phi] = [&self.ratio, &self.correction, &self.sequence_weight];
        let named = [
            ("loss/policy", self.policy_loss),
            ("kl", self.kl().unwrap_or(f64::NAN)),
            ("entropy", self.entropy().unwrap_or(f64::NAN)),
            ("ratio/mean", ratio.mean()),
            ("ratio/min", ratio.min),
            ("ratio/max", ratio.max),
            ("correction/mean", correction.mean()),
            ("correction/min", correction.min),
            ("correction/max", correction.max),
            ("clip/low", of(self.low, self.units)),
            ("clip/high", of(self.high, self.units)),
            ("clip/region", of(self.low + self.high, self.units)),
            ("clip/low_min", self.row_low.min),
            ("clip/high_max", self.row_high.max),
            ("rows/empty", of(self.empty_rows, self.rows)),
            ("rows/off_policy", of(self.off_policy_rows, self.rows)),
            ("tokens/selected", of(self.selected_tokens, self.tokens)),
            ("phi", phi.mean()),
        ];
        named.into_iter().filter(|(_, value)| !value.is_nan())
    }

    /// One of the [`named`](Self::named) metrics; `None` where it does not apply.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.named().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// Why masks and bounds left nothing of this batch to learn from; `None` when they left
    /// something. Of advantages that are all 0
    /// [`GroupMetrics::diagnosis`](crate::GroupMetrics::diagnosis) speaks.
    pub fn diagnosis(&self) -> Option<Diagnosis> {
        let left_out = self.off_policy_rows + self.empty_rows;
        let clipped = self.units > 0 && self.low + self.high == self.units;
        match self.rows {
            0 => Some(Diagnosis::NothingSampled),
            rows if self.tokens == 0 => Some(Diagnosis::NoTokens(rows)),
            rows if left_out == rows => Some(Diagnosis::OffPolicy(self.off_policy_rows)),
            _ => clipped.then_some(Diagnosis::Clipped),
        }
    }

    /// Records how many of a row's units (tokens, or itself at sequence level) were clipped.
    pub(crate) fn add_clips(&mut self, units: u64, low: u64, high: u64) {
        self.units += units;
        self.low += low;
        self.high += high;
        if units > 0 {
            self.row_low.add(low as f64 / units as f64);
            self.row_high.add(high as f64 / units as f64);
        }
    }
}

fn mean(sum: f64, count: u64) -> f64 {
    sum / count.max(1) as f64
}

#[cfg(test)]
#[test]
fn pieces_merge_and_a_useless_batch_says_why() {
    let piece = |tokens, ratio, low, high| {
        let mut m = LossMetrics { rows: 2, tokens, kl: Some(ratio), ..Default::default() };
        m.ratio.add(ratio);
        m.add_clips(tokens, low, high);
        m
    };
    let mut whole = piece(4, 0.5, 1, 0);
    whole.merge(&piece(1, 1.5, 0, 1));
    let of = |names: [&str; 3]| names.map(|name| whole.get(name).unwrap());
    assert_eq!(of(["ratio/mean", "ratio/min", "ratio/max"]), [1.0, 0.5, 1.5]);
    assert_eq!(of(["clip/low", "clip/high", "clip/region"]), [0.2, 0.2, 0.4]);
    assert_eq!(of(["clip/low_min", "clip/high_max", "kl"]), [0.0, 1.0, 0.4]);
    assert_eq!((whole.get("phi"), whole.diagnosis()), (None, None));
    assert_eq!(LossMetrics::default().diagnosis(), Some(Diagnosis::NothingSampled));
    assert_eq!(piece(0, 1.0, 0, 0).diagnosis(), Some(Diagnosis::NoTokens(2)));
    assert_eq!(piece(4, 1.0, 3, 1).diagnosis(), Some(Diagnosis::Clipped));
    (whole.off_policy_rows, whole.empty_rows) = (3, 1);
    assert_eq!(whole.diagnosis(), Some(Diagnosis::OffPolicy(3)));
}
