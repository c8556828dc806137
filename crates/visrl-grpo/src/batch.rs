//! What a policy loss sees: padded log-probabilities, and nothing of a model.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::lanes::{count, vectorized};
use crate::normalization::Normalization;
use crate::real::Real;

/// A padded batch of completions, as a policy loss sees it.
///
/// Token fields are row-major `[rows, len]`; row fields are `[rows]`. Positions where `mask` is
/// false are never read from the other fields (they may hold anything, NaN included) and always
/// get a gradient of exactly zero.
///
/// The number of rows is the length of `advantages`; lengths are checked when a loss is
/// evaluated, see [`TokenBatch::validate`].
#[derive(Debug, Clone, Copy)]
pub struct TokenBatch<'a, F> {
    /// Tokens per row, padding included.
    pub len: usize,
    /// Log-probabilities of the chosen tokens under the policy being trained, `[rows, len]`.
    pub logps: &'a [F],
    /// The same under the policy that sampled them, as the *learner* computes them,
    /// `[rows, len]`. `None`: on-policy, that is the current policy, detached (ratio 1 with a
    /// gradient).
    pub old_logps: Option<&'a [F]>,
    /// The same under the reference policy, `[rows, len]`. Needed when beta is not 0.
    pub ref_logps: Option<&'a [F]>,
    /// Which tokens count, `[rows, len]`: true up to and including the end token.
    pub mask: &'a [bool],
    /// The advantage of each row, `[rows]`.
    pub advantages: &'a [F],
    /// Entropy of the policy's distribution at each position in nats, `[rows, len]`. Needed for
    /// the entropy bonus and the entropy quantile; otherwise only averaged for the metrics.
    pub entropies: Option<&'a [F]>,
    /// Log-probabilities as a *foreign sampler* (another engine, another precision) reported
    /// them, `[rows, len]`; NaN where it reported none. Used by the importance correction and by
    /// the off-policy mask.
    pub sampler_logps: Option<&'a [F]>,
    /// Precomputed importance ratios learner / sampler, `[rows, len]`; they take precedence over
    /// those that the loss would compute from `sampler_logps`.
    pub importance_ratios: Option<&'a [F]>,
    /// Which rows were cut at the length limit, `[rows]`.
    pub truncated: Option<&'a [bool]>,
    /// The counts to divide by; `None`: those of this batch.
    pub normalization: Option<Normalization>,
}

impl<'a, F: Real> TokenBatch<'a, F> {
    /// A batch of the required fields; the others are added by the `with_` methods.
    pub fn new(len: usize, logps: &'a [F], mask: &'a [bool], advantages: &'a [F]) -> Self {
        Self {
            len,
            logps,
            old_logps: None,
            ref_logps: None,
            mask,
            advantages,
            entropies: None,
            sampler_logps: None,
            importance_ratios: None,
            truncated: None,
            normalization: None,
        }
    }

    /// Sets the sampling policy's log-probabilities, `[rows, len]`.
    #[must_use]
    pub fn with_old_logps(mut self, old_logps: &'a [F]) -> Self {
        self.old_logps = Some(old_logps);
        self
    }

    /// Sets the reference policy's log-probabilities, `[rows, len]`.
    #[must_use]
    pub fn with_ref_logps(mut self, ref_logps: &'a [F]) -> Self {
        self.ref_logps = Some(ref_logps);
        self
    }

    /// Sets the entropies, `[rows, len]`.
    #[must_use]
    pub fn with_entropies(mut self, entropies: &'a [F]) -> Self {
        self.entropies = Some(entropies);
        self
    }

    /// Sets the foreign sampler's log-probabilities, `[rows, len]`.
    #[must_use]
    pub fn with_sampler_logps(mut self, sampler_logps: &'a [F]) -> Self {
        self.sampler_logps = Some(sampler_logps);
        self
    }

    /// Sets precomputed importance ratios, `[rows, len]`.
    #[must_use]
    pub fn with_importance_ratios(mut self, ratios: &'a [F]) -> Self {
        self.importance_ratios = Some(ratios);
        self
    }

    /// Sets which rows were cut at the length limit, `[rows]`.
    #[must_use]
    pub fn with_truncated(mut self, truncated: &'a [bool]) -> Self {
        self.truncated = Some(truncated);
        self
    }

    /// Sets the counts to divide by.
    #[must_use]
    pub fn with_normalization(mut self, normalization: Normalization) -> Self {
        self.normalization = Some(normalization);
        self
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.advantages.len()
    }

    /// Number of counted tokens (the sum of the mask).
    pub fn tokens(&self) -> usize {
        vectorized(
            #[inline(always)]
            || count(self.mask),
        )
    }

    /// Checks that every field has the length that `rows` and `len` ask for.
    ///
    /// # Errors
    /// [`Error::Shape`] naming the first field that does not fit.
    pub fn validate(&self) -> Result<()> {
        let rows = self.rows();
        let token = |field, found| Error::check_shape(field, found, rows, self.len);
        token("logps", self.logps.len())?;
        token("mask", self.mask.len())?;
        for (field, values) in [
            ("old_logps", self.old_logps),
            ("ref_logps", self.ref_logps),
            ("entropies", self.entropies),
            ("sampler_logps", self.sampler_logps),
            ("importance_ratios", self.importance_ratios),
        ] {
            if let Some(values) = values {
                token(field, values.len())?;
            }
        }
        match self.truncated {
            Some(truncated) => Error::check_shape("truncated", truncated.len(), rows, 1),
            None => Ok(()),
        }
    }

    /// The batch of some of its rows, with the same normalization.
    ///
    /// # Errors
    /// [`Error::Rows`] when the range reaches beyond the batch; [`Error::Shape`] when a field
    /// does not fit.
    pub fn slice(&self, rows: Range<usize>) -> Result<Self> {
        self.validate()?;
        if rows.start > rows.end || rows.end > self.rows() {
            return Err(Error::Rows {
                start: rows.start,
                end: rows.end,
                rows: self.rows(),
            });
        }
        let tokens = rows.start * self.len..rows.end * self.len;
        let cut = |field: Option<&'a [F]>| field.map(|f| &f[tokens.clone()]);
        Ok(Self {
            len: self.len,
            logps: &self.logps[tokens.clone()],
            old_logps: cut(self.old_logps),
            ref_logps: cut(self.ref_logps),
            mask: &self.mask[tokens.clone()],
            advantages: &self.advantages[rows.clone()],
            entropies: cut(self.entropies),
            sampler_logps: cut(self.sampler_logps),
            importance_ratios: cut(self.importance_ratios),
            truncated: self.truncated.map(|t| &t[rows]),
            normalization: self.normalization,
        })
    }

    /// The token range of a row.
    pub(crate) fn row(&self, row: usize) -> Range<usize> {
        row * self.len..(row + 1) * self.len
    }

    /// Whether a row takes no part because it was cut at the length limit.
    pub(crate) fn is_dropped(&self, row: usize, mask_truncated: bool) -> bool {
        mask_truncated && self.truncated.is_some_and(|t| t[row])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_wrong_length_is_named() {
        let batch = TokenBatch::new(2, &[0.0f32; 4], &[true; 4], &[1.0, 2.0]);
        assert!(batch.validate().is_ok());
        let error = batch.with_entropies(&[0.0; 3]).validate().unwrap_err();
        assert!(matches!(
            error,
            Error::Shape {
                field: "entropies",
                found: 3,
                ..
            }
        ));
        let error = batch.with_truncated(&[true]).validate().unwrap_err();
        assert!(matches!(
            error,
            Error::Shape {
                field: "truncated",
                expected: 2,
                ..
            }
        ));
    }

    #[test]
    fn slices_take_all_fields_along() {
        let logps = [1.0, 2.0, 3.0, 4.0f64];
        let batch = TokenBatch::new(2, &logps, &[true, false, true, true], &[5.0, 6.0])
            .with_old_logps(&logps)
            .with_truncated(&[false, true]);
        let last = batch.slice(1..2).unwrap();
        assert_eq!((last.rows(), last.tokens()), (1, 2));
        assert_eq!(last.old_logps.unwrap(), &[3.0, 4.0]);
        assert!(last.truncated.unwrap()[0]);
        assert!(matches!(batch.slice(1..3), Err(Error::Rows { end: 3, .. })));
    }

    #[test]
    fn an_empty_batch_is_valid() {
        let batch = TokenBatch::<f32>::new(4, &[], &[], &[]);
        assert!(batch.validate().is_ok());
        assert_eq!(batch.slice(0..0).unwrap().rows(), 0);
    }
}
