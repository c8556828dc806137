//! What LibTorch's operators are asked for while a program runs, through `record.cpp`, and what a GPU
//! does for them, through `kernels.cpp`.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use burn::backend::DispatchDevice;
use burn::backend::libtorch::LibTorchDevice;
use burn::tensor::Device;

use super::shim::{Message, check};

type Each = extern "C" fn(to: *mut c_void, name: *const c_char, calls: u64, nanoseconds: u64);

unsafe extern "C" {
    fn visrl_record_start();
    fn visrl_record_stop();
    fn visrl_record_bytes(up: *mut u64, down: *mut u64);
    fn visrl_record_each(to: *mut c_void, each: Each);
    fn visrl_kernels_start(device: bool) -> Message;
    fn visrl_kernels_stop(to: *mut c_void, each: Each) -> Message;
}

/// There is one record at a time.
static RECORDING: Mutex<()> = Mutex::new(());

/// Records the calls of LibTorch's operators, on all threads, from [`start`](Self::start) on. Calls
/// that an operator makes of others are part of it.
///
/// A second recording waits for the end of the first. While one starts or ends no other thread may
/// call operators.
#[derive(Debug)]
pub struct OperatorRecording {
    _alone: MutexGuard<'static, ()>,
    /// Whether a device is followed, too.
    follows: bool,
}

/// The calls of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorCalls {
    /// Its name, `aten::addmm`.
    pub name: String,
    /// How often it was called.
    pub calls: u64,
    /// How long the calls took on the host, all together.
    pub on_host: Duration,
    /// How long a GPU was busy with what they started there, where it was followed.
    pub on_device: Duration,
}

/// What was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorRecord {
    /// Each operator that was called; the one that took most of the host's time first. What a GPU
    /// did for none of them stands here with no calls.
    pub operators: Vec<OperatorCalls>,
    /// Bytes of tensors that were made from numbers in host memory.
    pub bytes_up: u64,
    /// Bytes of tensors that were read into host memory. Where tensors are there anyhow, those that
    /// are converted to the format that they have are among them.
    pub bytes_down: u64,
}

impl OperatorRecording {
    /// Records from now on.
    pub fn start() -> Self {
        Self::begin(None)
    }

    /// Records from now on, and where the device is a GPU follows what that does, by LibTorch's
    /// profiler: this makes calls slower. Work that was given to the device before should have ended.
    ///
    /// # Panics
    /// When the profiler refuses to start.
    pub fn start_with_kernels(device: &Device) -> Self {
        let device = device.clone().inner();
        let is_gpu = |device: &LibTorchDevice| matches!(device, LibTorchDevice::Cuda(_));
        let gpu = matches!(device.as_dispatch(), DispatchDevice::LibTorch(one) if is_gpu(one));
        Self::begin(gpu.then_some(true))
    }

    /// `kernels` says whether LibTorch's profiler is started, and for a GPU.
    fn begin(kernels: Option<bool>) -> Self {
        let alone = RECORDING.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: nothing else records, as the lock is held.
        unsafe {
            if let Some(gpu) = kernels {
                check(visrl_kernels_start(gpu));
            }
            visrl_record_start();
        }
        Self {
            _alone: alone,
            follows: kernels.is_some(),
        }
    }

    /// What was recorded up to now; recording ends.
    ///
    /// # Panics
    /// When LibTorch's profiler fails.
    pub fn finish(mut self) -> OperatorRecord {
        let mut record = OperatorRecord::default();
        let mut kernels: Vec<OperatorCalls> = Vec::new();
        // SAFETY: the two numbers are written; `each` gets the vector that it is made for, which
        // nobody else has meanwhile.
        unsafe {
            visrl_record_bytes(&mut record.bytes_up, &mut record.bytes_down);
            visrl_record_each((&raw mut record.operators).cast(), push);
            if std::mem::take(&mut self.follows) {
                check(visrl_kernels_stop((&raw mut kernels).cast(), push));
            }
        }
        for of in kernels {
            let mut operators = record.operators.iter_mut();
            match operators.find(|operator| operator.name == of.name) {
                Some(operator) => operator.on_device = of.on_host,
                None => record.operators.push(OperatorCalls {
                    calls: 0,
                    on_host: Duration::ZERO,
                    on_device: of.on_host,
                    ..of
                }),
            }
        }
        record.operators.sort_by(|a, b| b.on_host.cmp(&a.on_host));
        record
    }
}

impl Drop for OperatorRecording {
    fn drop(&mut self) {
        // SAFETY: `begin` began what ends here, once.
        unsafe {
            visrl_record_stop();
            if self.follows {
                // What went wrong is of no more use.
                let _ = visrl_kernels_stop((&raw mut *self).cast(), skip);
            }
        }
    }
}

impl OperatorRecord {
    /// Calls of all operators.
    pub fn calls(&self) -> u64 {
        self.operators.iter().map(|of| of.calls).sum()
    }
}

/// Looks at nothing.
extern "C" fn skip(_: *mut c_void, _: *const c_char, _: u64, _: u64) {}

/// Adds an operator to the vector that `to` points to.
extern "C" fn push(to: *mut c_void, name: *const c_char, calls: u64, nanoseconds: u64) {
    // SAFETY: `finish` gives a pointer to its own vector, and LibTorch's names end in 0.
    let (to, name) = unsafe { (&mut *to.cast::<Vec<OperatorCalls>>(), CStr::from_ptr(name)) };
    to.push(OperatorCalls {
        name: name.to_string_lossy().into_owned(),
        calls,
        on_host: Duration::from_nanos(nanoseconds),
        on_device: Duration::ZERO,
    });
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor as Native};

    use super::OperatorRecording;

    #[test]
    fn a_device_that_is_the_host_does_nothing_beside_it() {
        let x = Native::ones([4, 3], (Kind::Float, Device::Cpu));
        let recording = OperatorRecording::begin(Some(false));
        let _ = &x + &x;
        let record = recording.finish();
        assert!(record.calls() > 0);
        assert!(record.operators.iter().all(|of| of.on_device.is_zero()));
        // Given up, it leaves room for the next.
        drop(OperatorRecording::begin(Some(false)));
        assert_eq!(OperatorRecording::start().finish().calls(), 0);
    }

    #[test]
    fn the_outermost_calls_of_all_are_counted() {
        let x = Native::ones([4, 3], (Kind::Float, Device::Cpu));
        let recording = OperatorRecording::start();
        // A layer norm calls the operator that also gives mean and scale.
        let _ = x.layer_norm([3], None::<&Native>, None::<&Native>, 1e-6, false);
        let _ = &x + &x;
        let _ = &x + &x;
        let record = recording.finish();
        let calls = |name: &str| {
            let of = record.operators.iter().find(|of| of.name == name);
            of.map_or(0, |of| of.calls)
        };
        assert_eq!(calls("aten::layer_norm"), 1, "{record:?}");
        assert_eq!(calls("aten::native_layer_norm"), 0);
        assert!(calls("aten::add") >= 2);
    }
}
