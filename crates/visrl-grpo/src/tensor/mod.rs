//! The same mathematics on burn tensors, with the feature `burn`.
//!
//! There are two ways from log-probabilities on a device to a gradient, and they give the same
//! numbers:
//!
//! * [`loss`] writes a [`GrpoLoss`](crate::GrpoLoss) as tensor operations, every family and option
//!   of it. Its result is a scalar that burn's autodiff differentiates, on any backend, without the
//!   log-probabilities leaving the device.
//! * [`evaluate`] takes any [`PolicyLoss`](crate::PolicyLoss), one of your own included: it reads the
//!   batch to the host, runs the kernel for slices there, and gives loss, metrics and
//!   `d loss / d logp` as a tensor. [`TensorOutput::surrogate`] makes of these a scalar with the
//!   loss's value and exactly this gradient, for a host that wants to call `backward` itself.
//!
//! [`kl`] and [`advantages`] are the estimators in tensor operations.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use visrl_grpo::GrpoLoss;
//! use visrl_grpo::tensor::{TensorBatch, evaluate, loss};
//!
//! let device = Device::flex();
//! let logps = Tensor::<2>::from_floats([[-0.5, -1.2], [-0.9, -0.4]], &device);
//! let logps = logps.autodiff().require_grad();
//! let reference = Tensor::from_floats([[-0.5, -1.0], [-0.9, -0.5]], &device);
//! let mask = Tensor::from_data([[true, true], [true, false]], &device);
//! let advantages = Tensor::from_floats([0.7, -0.7], &device);
//! let batch = TensorBatch::new(logps.clone(), mask, advantages).with_ref_logps(reference);
//!
//! let value = loss(&GrpoLoss::default(), &batch)?;
//! let by_autodiff = logps.grad(&value.backward());
//! let analytic = evaluate(&GrpoLoss::default(), &batch)?.grad;
//! # let numbers = |t: Tensor<2>| -> Vec<f32> { t.try_into_vec_as().unwrap() };
//! # let pairs = numbers(by_autodiff.unwrap()).into_iter().zip(numbers(analytic));
//! # assert_eq!(pairs.filter(|(a, b)| (a - b).abs() < 1e-6).count(), 4);
//! # Ok::<(), visrl_grpo::Error>(())
//! ```

mod advantage;
mod batch;
mod evaluate;
mod loss;

pub use advantage::advantages;
pub use batch::TensorBatch;
pub use evaluate::{TensorOutput, evaluate, normalization};
pub use loss::{kl, loss};
