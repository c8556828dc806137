//! What a policy loss sees: log-probabilities of counted tokens, and nothing of a model.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::normalization::Normalization;
use crate::real::Real;

/// A batch of completions, as a policy loss sees it: one row per completion, one value per counted
/// token, up to and including the end token. There is no padding and no mask; a token that does
/// not count is not in the batch.
///
/// Token fields are `[tokens]`, one row after another; row `r` is `ends[r - 1]..ends[r]`, from 0
/// for the first. Row fields are `[rows]`. Lengths are checked when a loss is evaluated, see
/// [`LossBatch::validate`].
#[derive(Debug, Clone, Copy)]
pub struct LossBatch<'a, F> {
    /// Where rows end, `[rows]`, counted from the start of the batch that this one was cut from.
    ends: &'a [usize],
    /// Tokens before the first row in the batch that this one was cut from.
    start: usize,
    /// Log-probabilities of the chosen tokens under the policy being trained, `[tokens]`.
    pub logps: &'a [F],
    /// Under the policy that sampled them, as the *learner* computes them, `[tokens]`. `None`: the
    /// current policy, detached (ratio 1 with a gradient).
    pub old_logps: Option<&'a [F]>,
    /// Under the reference policy, `[tokens]`. Needed when beta is not 0.
    pub ref_logps: Option<&'a [F]>,
    /// The advantage of each row, `[rows]`.
    pub advantages: &'a [F],
    /// Entropies of the policy's distributions in nats, `[tokens]`. For the entropy bonus and
    /// the entropy quantile; otherwise only averaged for the metrics.
    pub entropies: Option<&'a [F]>,
    /// Log-probabilities as the *sampler* (another engine, another precision) reported them,
    /// `[tokens]`; NaN where it reported none. For importance correction and off-policy mask.
    pub sampler_logps: Option<&'a [F]>,
    /// Which rows were cut at the length limit, `[rows]`.
    pub truncated: Option<&'a [bool]>,
    /// The counts to divide by; `None`: those of this batch.
    pub normalization: Option<Normalization>,
}

/// Methods that set an optional field.
macro_rules! with {
    ($($(#[$doc:meta])* $name:ident $field:ident: $kind:ty;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $field: $kind) -> Self {
            self.$field = Some($field);
            self
        })*
    };
}

impl<'a, F: Real> LossBatch<'a, F> {
    /// A batch of the required fields: where each row ends `[rows]`, log-probabilities `[tokens]`
    /// and advantages `[rows]`. The others are added by the `with_` methods.
    pub fn new(ends: &'a [usize], logps: &'a [F], advantages: &'a [F]) -> Self {
        Self {
            ends,
            start: 0,
            logps,
            old_logps: None,
            ref_logps: None,
            advantages,
            entropies: None,
            sampler_logps: None,
            truncated: None,
            normalization: None,
        }
    }

    with! {
        /// Sets the sampling policy's log-probabilities, `[tokens]`.
        with_old_logps old_logps: &'a [F];
        /// Sets the reference policy's log-probabilities, `[tokens]`.
        with_ref_logps ref_logps: &'a [F];
        /// Sets the entropies, `[tokens]`.
        with_entropies entropies: &'a [F];
        /// Sets the sampler's log-probabilities, `[tokens]`.
        with_sampler_logps sampler_logps: &'a [F];
        /// Sets which rows were cut at the length limit, `[rows]`.
        with_truncated truncated: &'a [bool];
        /// Sets the counts to divide by.
        with_normalization normalization: Normalization;
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.ends.len()
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.ends.last().map_or(0, |end| end - self.start)
    }

    /// Where the rows before this one end.
    fn before(&self, row: usize) -> usize {
        row.checked_sub(1).map_or(self.start, |before| self.ends[before])
    }

    /// The place of a row's tokens in the token fields.
    pub fn row(&self, row: usize) -> Range<usize> {
        self.before(row) - self.start..self.ends[row] - self.start
    }

    /// Checks that rows end in order and that every field has one value per token or row.
    ///
    /// # Errors
    /// [`Error::Ends`] when a row ends before it begins; [`Error::Length`] naming the first field
    /// that does not fit.
    pub fn validate(&self) -> Result<()> {
        if !self.ends.is_sorted() {
            return Err(Error::Ends);
        }
        let (rows, tokens) = (self.rows(), self.tokens());
        Error::check_length("logps", self.logps.len(), tokens)?;
        Error::check_length("advantages", self.advantages.len(), rows)?;
        for (field, values) in [
            ("old_logps", self.old_logps),
            ("ref_logps", self.ref_logps),
            ("entropies", self.entropies),
            ("sampler_logps", self.sampler_logps),
        ] {
            Error::check_length(field, values.map_or(tokens, |v| v.len()), tokens)?;
        }
        Error::check_length("truncated", self.truncated.map_or(rows, |t| t.len()), rows)
    }

    /// The batch of some of its rows, with the same normalization.
    ///
    /// # Errors
    /// [`Error::Rows`] when the range reaches beyond the batch; what
    /// [`validate`](Self::validate) says of a batch that does not fit.
    pub fn slice(&self, rows: Range<usize>) -> Result<Self> {
        self.validate()?;
        if rows.start > rows.end || rows.end > self.rows() {
            return Err(Error::Rows(rows, self.rows()));
        }
        let start = self.before(rows.start);
        let tokens = start - self.start..self.before(rows.end) - self.start;
        let cut = |field: Option<&'a [F]>| field.map(|f| &f[tokens.clone()]);
        Ok(Self {
            ends: &self.ends[rows.clone()],
            start,
            logps: &self.logps[tokens.clone()],
            old_logps: cut(self.old_logps),
            ref_logps: cut(self.ref_logps),
            advantages: &self.advantages[rows.clone()],
            entropies: cut(self.entropies),
            sampler_logps: cut(self.sampler_logps),
            truncated: self.truncated.map(|t| &t[rows]),
            normalization: self.normalization,
        })
    }

    /// Whether a row takes no part because it was cut at the length limit.
    pub(crate) fn is_dropped(&self, row: usize, mask_truncated: bool) -> bool {
        mask_truncated && self.truncated.is_some_and(|truncated| truncated[row])
    }
}

#[cfg(test)]
#[test]
fn slices_take_all_fields_along_and_what_does_not_fit_is_named() {
    let (logps, advantages) = ([1.0, 2.0, 3.0, 4.0f64], [5.0, 6.0, 7.0, 8.0]);
    let batch = LossBatch::new(&[1, 1, 3, 4], &logps, &advantages)
        .with_old_logps(&logps)
        .with_truncated(&[false, false, true, false]);
    let last = batch.slice(1..4).unwrap().slice(1..3).unwrap();
    assert_eq!((last.row(0), last.row(1), last.tokens()), (0..2, 2..3, 3));
    assert_eq!(last.old_logps.unwrap(), [2.0, 3.0, 4.0]);
    assert_eq!((last.advantages, last.truncated.unwrap()[0]), (&[7.0, 8.0][..], true));
    assert!(last.validate().is_ok() && batch.slice(4..4).unwrap().rows() == 0);
    assert!(matches!(batch.slice(1..5), Err(Error::Rows(_, 4))));
    let field = |batch: LossBatch<'_, f64>| match batch.validate() {
        Err(Error::Length { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(batch.with_entropies(&[0.0; 3])), "entropies");
    assert_eq!(field(batch.with_truncated(&[true])), "truncated");
    assert_eq!(field(LossBatch::new(&[1, 4], &logps, &advantages)), "advantages");
    assert_eq!(field(LossBatch::new(&[3], &logps, &[1.0])), "logps");
    let falling = LossBatch::new(&[4, 1], &[0.0], &[1.0, 2.0]);
    assert_eq!(falling.validate(), Err(Error::Ends));
}
