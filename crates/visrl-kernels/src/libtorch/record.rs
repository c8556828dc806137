//! What LibTorch's operators are asked for while a program runs, through `record.cpp`.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

type Each = extern "C" fn(to: *mut c_void, name: *const c_char, calls: u64, nanoseconds: u64);

unsafe extern "C" {
    fn visrl_record_start();
    fn visrl_record_stop();
    fn visrl_record_bytes(up: *mut u64, down: *mut u64);
    fn visrl_record_each(to: *mut c_void, each: Each);
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
}

/// What was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorRecord {
    /// Each operator that was called; the one that took most of the host's time first.
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
        let alone = RECORDING.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: nothing else records, as the lock is held.
        unsafe { visrl_record_start() };
        Self { _alone: alone }
    }

    /// What was recorded up to now; recording ends.
    pub fn finish(self) -> OperatorRecord {
        let mut record = OperatorRecord::default();
        // SAFETY: the two numbers are written; `each` gets the vector that it is made for, which
        // nobody else has meanwhile.
        unsafe {
            visrl_record_bytes(&mut record.bytes_up, &mut record.bytes_down);
            visrl_record_each((&raw mut record.operators).cast(), push);
        }
        record.operators.sort_by(|a, b| b.on_host.cmp(&a.on_host));
        record
    }
}

impl Drop for OperatorRecording {
    fn drop(&mut self) {
        // SAFETY: `start` began what ends here, once.
        unsafe { visrl_record_stop() };
    }
}

impl OperatorRecord {
    /// Calls of all operators.
    pub fn calls(&self) -> u64 {
        self.operators.iter().map(|of| of.calls).sum()
    }
}

/// Adds an operator to the vector that `to` points to.
extern "C" fn push(to: *mut c_void, name: *const c_char, calls: u64, nanoseconds: u64) {
    // SAFETY: `finish` gives a pointer to its own vector, and LibTorch's names end in 0.
    let (to, name) = unsafe { (&mut *to.cast::<Vec<OperatorCalls>>(), CStr::from_ptr(name)) };
    to.push(OperatorCalls {
        name: name.to_string_lossy().into_owned(),
        calls,
        on_host: Duration::from_nanos(nanoseconds),
    });
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor as Native};

    use super::*;

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
