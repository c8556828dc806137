//! A table of LibTorch's operators that a piece of work calls.

#![allow(unreachable_pub)]

use std::error::Error;

use burn::tensor::Device;

/// Runs a piece of work and prints to standard error which operators of LibTorch it called how often,
/// how long the host and a GPU were busy with them, and the bytes between host and device.
///
/// # Errors
/// What the work says; that the build has no LibTorch.
#[allow(clippy::print_stderr)]
pub fn profiled<T>(
    device: &Device,
    run: impl FnOnce() -> Result<T, Box<dyn Error>>,
) -> Result<T, Box<dyn Error>> {
    #[cfg(not(feature = "tch"))]
    {
        let _ = (device, run);
        Err("--profile: this build has no LibTorch, build it with `--features tch`".into())
    }
    #[cfg(feature = "tch")]
    {
        let recording = visrl::kernels::OperatorRecording::start_with_kernels(device);
        let done = run()?;
        device.sync()?;
        let record = recording.finish();
        eprintln!(
            "{:>8} {:>12} {:>12}  operator",
            "calls", "host, us", "device, us"
        );
        let micros = |of: std::time::Duration| of.as_secs_f64() * 1e6;
        for of in &record.operators {
            let [host, device] = [of.on_host, of.on_device].map(micros);
            eprintln!("{:>8} {host:>12.0} {device:>12.0}  {}", of.calls, of.name);
        }
        let host = record.operators.iter().map(|of| of.on_host).sum();
        let device = record.operators.iter().map(|of| of.on_device).sum();
        let [host, device] = [host, device].map(micros);
        eprintln!("{:>8} {host:>12.0} {device:>12.0}  all", record.calls());
        eprintln!(
            "{} bytes up to the device, {} down",
            record.bytes_up, record.bytes_down
        );
        Ok(done)
    }
}
