//! Any loss by its kernel for slices, with the results as tensors.

use burn::tensor::{Bool, Tensor, TensorData};

use super::batch::{HostBatch, TensorBatch};
use crate::error::Result;
use crate::metrics::LossMetrics;
use crate::normalization::Normalization;
use crate::policy_loss::PolicyLoss;

/// The value of a loss and its analytic gradients as tensors.
#[derive(Clone, Debug)]
pub struct TensorOutput {
    /// The loss, entropy bonus included.
    pub loss: f64,
    /// `d loss / d logp`, `[rows, len]`, untracked; exactly zero where the mask is false.
    pub grad: Tensor<2>,
    /// `d loss / d entropy`, `[rows, len]`, when the loss has an entropy bonus.
    pub entropy_grad: Option<Tensor<2>>,
    /// What the tokens looked like.
    pub metrics: LossMetrics,
    /// Where the mask is false.
    off: Tensor<2, Bool>,
}

impl TensorOutput {
    /// A scalar whose value is the loss and whose gradient with respect to these log-probabilities
    /// (and entropies, where the loss has a bonus) is the analytic one: `sum(grad * logp)` plus a
    /// constant. It says nothing of the loss at other log-probabilities.
    pub fn surrogate(&self, logps: Tensor<2>, entropies: Option<Tensor<2>>) -> Tensor<1> {
        let part = |values: Tensor<2>, grad: &Tensor<2>| {
            let values = values.mask_fill(self.off.clone(), 0.0);
            (values * grad.clone()).sum()
        };
        let mut sum = part(logps, &self.grad);
        if let (Some(entropies), Some(grad)) = (entropies, &self.entropy_grad) {
            sum = sum + part(entropies, grad);
        }
        let value = sum.clone().without_autodiff();
        (sum - value).add_scalar(self.loss)
    }
}

/// Evaluates any loss on the host, in f64 when the log-probabilities are f64 and in f32 otherwise,
/// and brings the gradients to their device.
///
/// # Errors
/// As [`PolicyLoss::evaluate_into`]; [`Error::Device`](crate::Error::Device) when the batch cannot
/// be read.
pub fn evaluate<L>(loss: &L, batch: &TensorBatch) -> Result<TensorOutput>
where
    L: PolicyLoss<f32> + PolicyLoss<f64> + ?Sized,
{
    match batch.is_double() {
        true => evaluate_as::<f64, L>(loss, batch),
        false => evaluate_as::<f32, L>(loss, batch),
    }
}

fn evaluate_as<F, L>(loss: &L, batch: &TensorBatch) -> Result<TensorOutput>
where
    F: crate::Real + burn::tensor::Element,
    L: PolicyLoss<F> + ?Sized,
{
    let host = HostBatch::<F>::read(batch)?;
    let out = loss.evaluate(&host.view())?;
    let logps = batch.logps.clone().without_autodiff();
    let tensor = |values: Vec<F>| {
        let data = TensorData::new(values, logps.dims());
        Tensor::from_data(data, (&logps.device(), logps.dtype()))
    };
    Ok(TensorOutput {
        loss: out.loss,
        grad: tensor(out.grad),
        entropy_grad: out.entropy_grad.map(tensor),
        metrics: out.metrics,
        off: batch.mask.clone().bool_not(),
    })
}

/// The counts of a batch taken whole, to be given to each of its pieces. Reads the mask, and
/// entropies and truncated rows where the batch has them.
///
/// # Errors
/// As [`evaluate`].
pub fn normalization<L>(loss: &L, batch: &TensorBatch) -> Result<Normalization>
where
    L: PolicyLoss<f32> + PolicyLoss<f64> + ?Sized,
{
    fn counts<F, L>(loss: &L, batch: &TensorBatch) -> Result<Normalization>
    where
        F: crate::Real + burn::tensor::Element,
        L: PolicyLoss<F> + ?Sized,
    {
        let host = HostBatch::<F>::counted(batch)?;
        let mut view = host.view();
        // Counts do not depend on log-probabilities: any will do where the loss wants some.
        view.ref_logps = Some(view.logps);
        view.sampler_logps = Some(view.logps);
        loss.normalization(&view)
    }
    match batch.is_double() {
        true => counts::<f64, L>(loss, batch),
        false => counts::<f32, L>(loss, batch),
    }
}
