//! What a policy loss sees, on a device.

use burn::tensor::{Bool, DType, Tensor};

use crate::batch::TokenBatch;
use crate::error::{Error, Result};
use crate::normalization::Normalization;
use crate::real::Real;

/// A padded batch of completions on a device: [`TokenBatch`] with tensors for slices.
///
/// Token fields are `[rows, len]`, row fields `[rows]`. Numbers are f32 or f64 (results are of the
/// log-probabilities' format); narrower formats are computed with as they are by
/// [`loss`](super::loss) and as f32 by [`evaluate`](super::evaluate). Where `mask` is false the other
/// fields may hold anything, NaN included, and the gradient is zero.
///
/// Only `logps` and `entropies` are differentiated; all other fields are constants, whether they
/// track gradients or not.
#[derive(Clone, Debug)]
pub struct TensorBatch {
    /// Log-probabilities of the chosen tokens under the policy being trained, `[rows, len]`.
    pub logps: Tensor<2>,
    /// The same under the policy that sampled them; `None`: the current policy, detached.
    pub old_logps: Option<Tensor<2>>,
    /// The same under the reference policy. Needed when beta is not 0.
    pub ref_logps: Option<Tensor<2>>,
    /// Which tokens count, `[rows, len]`.
    pub mask: Tensor<2, Bool>,
    /// The advantage of each row, `[rows]`.
    pub advantages: Tensor<1>,
    /// Entropy of the policy's distribution at each position in nats, `[rows, len]`.
    pub entropies: Option<Tensor<2>>,
    /// Log-probabilities that a foreign sampler reported, `[rows, len]`; NaN where it reported none.
    pub sampler_logps: Option<Tensor<2>>,
    /// Precomputed importance ratios learner / sampler, `[rows, len]`.
    pub importance_ratios: Option<Tensor<2>>,
    /// Which rows were cut at the length limit, `[rows]`.
    pub truncated: Option<Tensor<1, Bool>>,
    /// The counts to divide by; `None`: those of this batch, for which its mask (and for an entropy
    /// quantile its entropies) is read from the device.
    pub normalization: Option<Normalization>,
}

impl TensorBatch {
    /// A batch of the required fields; the others are added by the `with_` methods.
    pub fn new(logps: Tensor<2>, mask: Tensor<2, Bool>, advantages: Tensor<1>) -> Self {
        Self {
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

    /// Replaces the log-probabilities, `[rows, len]`.
    #[must_use]
    pub fn with_logps(mut self, logps: Tensor<2>) -> Self {
        self.logps = logps;
        self
    }

    /// Sets the sampling policy's log-probabilities, `[rows, len]`.
    #[must_use]
    pub fn with_old_logps(mut self, old_logps: Tensor<2>) -> Self {
        self.old_logps = Some(old_logps);
        self
    }

    /// Sets the reference policy's log-probabilities, `[rows, len]`.
    #[must_use]
    pub fn with_ref_logps(mut self, ref_logps: Tensor<2>) -> Self {
        self.ref_logps = Some(ref_logps);
        self
    }

    /// Sets the entropies, `[rows, len]`.
    #[must_use]
    pub fn with_entropies(mut self, entropies: Tensor<2>) -> Self {
        self.entropies = Some(entropies);
        self
    }

    /// Sets the foreign sampler's log-probabilities, `[rows, len]`.
    #[must_use]
    pub fn with_sampler_logps(mut self, sampler_logps: Tensor<2>) -> Self {
        self.sampler_logps = Some(sampler_logps);
        self
    }

    /// Sets precomputed importance ratios, `[rows, len]`.
    #[must_use]
    pub fn with_importance_ratios(mut self, ratios: Tensor<2>) -> Self {
        self.importance_ratios = Some(ratios);
        self
    }

    /// Sets which rows were cut at the length limit, `[rows]`.
    #[must_use]
    pub fn with_truncated(mut self, truncated: Tensor<1, Bool>) -> Self {
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
        self.advantages.dims()[0]
    }

    /// Checks that every field has the shape of the log-probabilities.
    ///
    /// # Errors
    /// [`Error::Dimensions`] or [`Error::Shape`] naming the first field that does not fit.
    pub fn validate(&self) -> Result<()> {
        let expected @ [rows, _] = self.logps.dims();
        Error::check_shape("advantages", self.rows(), rows, 1)?;
        let check = |field, found| match found == expected {
            true => Ok(()),
            false => Err(Error::Dimensions {
                field,
                found,
                expected,
            }),
        };
        check("mask", self.mask.dims())?;
        for (field, values) in [
            ("old_logps", &self.old_logps),
            ("ref_logps", &self.ref_logps),
            ("entropies", &self.entropies),
            ("sampler_logps", &self.sampler_logps),
            ("importance_ratios", &self.importance_ratios),
        ] {
            values.as_ref().map_or(Ok(()), |v| check(field, v.dims()))?;
        }
        match &self.truncated {
            Some(truncated) => Error::check_shape("truncated", truncated.dims()[0], rows, 1),
            None => Ok(()),
        }
    }

    /// Whether it is computed in f64.
    pub(super) fn is_double(&self) -> bool {
        self.logps.dtype() == DType::F64
    }
}

/// A batch read from a device.
pub(super) struct HostBatch<F> {
    len: usize,
    logps: Vec<F>,
    old_logps: Option<Vec<F>>,
    ref_logps: Option<Vec<F>>,
    mask: Vec<bool>,
    advantages: Vec<F>,
    entropies: Option<Vec<F>>,
    sampler_logps: Option<Vec<F>>,
    importance_ratios: Option<Vec<F>>,
    truncated: Option<Vec<bool>>,
    normalization: Option<Normalization>,
}

impl<F: Real + burn::tensor::Element> HostBatch<F> {
    /// Reads everything.
    pub(super) fn read(batch: &TensorBatch) -> Result<Self> {
        batch.validate()?;
        let field = |field: &Option<Tensor<2>>| field.as_ref().map(read).transpose();
        Ok(Self {
            logps: read(&batch.logps)?,
            old_logps: field(&batch.old_logps)?,
            ref_logps: field(&batch.ref_logps)?,
            advantages: read(&batch.advantages)?,
            sampler_logps: field(&batch.sampler_logps)?,
            importance_ratios: field(&batch.importance_ratios)?,
            ..Self::counted(batch)?
        })
    }

    /// Reads what counts depend on.
    pub(super) fn counted(batch: &TensorBatch) -> Result<Self> {
        batch.validate()?;
        let [rows, len] = batch.logps.dims();
        let flags = |tensor: Tensor<1, Bool>| tensor.try_into_vec_as::<bool>().map_err(device);
        Ok(Self {
            len,
            logps: vec![F::ZERO; rows * len],
            old_logps: None,
            ref_logps: None,
            mask: flags(batch.mask.clone().reshape([-1]))?,
            advantages: vec![F::ZERO; rows],
            entropies: batch.entropies.as_ref().map(read).transpose()?,
            sampler_logps: None,
            importance_ratios: None,
            truncated: batch.truncated.clone().map(flags).transpose()?,
            normalization: batch.normalization,
        })
    }

    /// As the kernels for slices take it.
    pub(super) fn view(&self) -> TokenBatch<'_, F> {
        TokenBatch {
            len: self.len,
            logps: &self.logps,
            old_logps: self.old_logps.as_deref(),
            ref_logps: self.ref_logps.as_deref(),
            mask: &self.mask,
            advantages: &self.advantages,
            entropies: self.entropies.as_deref(),
            sampler_logps: self.sampler_logps.as_deref(),
            importance_ratios: self.importance_ratios.as_deref(),
            truncated: self.truncated.as_deref(),
            normalization: self.normalization,
        }
    }
}

fn read<const D: usize, F: burn::tensor::Element>(tensor: &Tensor<D>) -> Result<Vec<F>> {
    let plain = tensor.clone().without_autodiff();
    plain.try_into_vec_as::<F>().map_err(device)
}

pub(super) fn device(error: impl std::fmt::Display) -> Error {
    Error::Device {
        message: error.to_string(),
    }
}
