//! A table of LibTorch's operators that a piece of work calls.

#![allow(unreachable_pub)]

use std::error::Error;

/// Runs a piece of work and prints to standard error which operators of LibTorch it called how often,
/// how long the host was busy with them, and the bytes between host and device.
///
/// # Errors
/// What the work says; that the build has no LibTorch.
#[allow(clippy::print_stderr)]
pub fn profiled<T>(run: impl FnOnce() -> Result<T, Box<dyn Error>>) -> Result<T, Box<dyn Error>> {
    #[cfg(not(feature = "tch"))]
    {
        drop(run);
        Err("--profile: this build has no LibTorch, build it with `--features tch`".into())
    }
    #[cfg(feature = "tch")]
    {
        let recording = visrl::kernels::OperatorRecording::start();
        let done = run()?;
        let record = recording.finish();
        eprintln!("{:>8} {:>12}  operator", "calls", "host, us");
        let micros = |of: std::time::Duration| of.as_secs_f64() * 1e6;
        for of in &record.operators {
            eprintln!("{:>8} {:>12.0}  {}", of.calls, micros(of.on_host), of.name);
        }
        let all = record.operators.iter().map(|of| of.on_host).sum();
        eprintln!("{:>8} {:>12.0}  all", record.calls(), micros(all));
        eprintln!(
            "{} bytes up to the device, {} down",
            record.bytes_up, record.bytes_down
        );
        Ok(done)
    }
}
