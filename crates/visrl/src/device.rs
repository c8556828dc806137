//! Devices by name.

use burn::tensor::Device;

/// Why a device cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The text names no device.
    #[error("`{0}` is not a device; there are `auto`, `flex`, `cuda:N`, `tch`, `tch:N` and `wgpu`")]
    Unknown(String),
    /// The device's backend is not in this build.
    #[error(
        "device `{device}` needs a build with the feature `{feature}`: add `--features {feature}`"
    )]
    NotCompiled {
        /// The device asked for.
        device: String,
        /// The feature of this crate that brings its backend.
        feature: &'static str,
    },
    /// The machine has no such device, or its driver does not answer.
    #[error("device `{device}` is not present on this machine ({found} of its kind found)")]
    NotPresent {
        /// The device asked for.
        device: String,
        /// How many devices of this kind there are.
        found: usize,
    },
}

/// The device with this name: `flex` (or `cpu`), `cuda` or `cuda:N`, `tch`, `tch:N` (LibTorch on
/// CUDA device N), `wgpu`. A number left out is 0. `auto` is what [`device_name`] says.
///
/// The device is plain: models on it do not record gradients until they are trained.
///
/// # Errors
/// [`DeviceError`] when the name is unknown, the backend is not compiled in, or the device is not
/// there.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use visrl::parse_device;
/// assert!(parse_device("flex").is_ok());
/// let error = parse_device("abacus").unwrap_err().to_string();
/// assert!(error.contains("`abacus` is not a device"));
/// # }
/// ```
pub fn parse_device(text: &str) -> Result<Device, DeviceError> {
    named(&device_name(text))
}

/// What `auto` may stand for, the best first.
const AUTO: [&str; 5] = ["tch:0", "cuda:0", "wgpu", "flex", "tch"];

/// The name itself, or for `auto` that of the best device that is compiled in and answers: LibTorch
/// on a GPU, then burn's own CUDA, any GPU, and the CPU.
pub fn device_name(text: &str) -> String {
    let best = || AUTO.into_iter().find(|name| named(name).is_ok());
    match text {
        "auto" => best().unwrap_or(text).to_owned(),
        _ => text.to_owned(),
    }
}

fn named(text: &str) -> Result<Device, DeviceError> {
    let unknown = || DeviceError::Unknown(text.to_owned());
    let (kind, number) = match text.split_once(':') {
        Some((kind, number)) => (kind, Some(number.parse::<usize>().map_err(|_| unknown())?)),
        None => (text, None),
    };
    match (kind, number) {
        ("flex" | "cpu", None) => flex(text),
        ("cuda", number) => cuda(text, number.unwrap_or(0)),
        ("tch", number) => tch(text, number),
        ("wgpu", None) => wgpu(text),
        _ => Err(unknown()),
    }
}

#[allow(dead_code)] // Which of these are called depends on the features.
fn not_compiled(device: &str, feature: &'static str) -> Result<Device, DeviceError> {
    Err(DeviceError::NotCompiled {
        device: device.to_owned(),
        feature,
    })
}

#[cfg(feature = "flex")]
fn flex(_: &str) -> Result<Device, DeviceError> {
    Ok(Device::flex())
}

#[cfg(not(feature = "flex"))]
fn flex(text: &str) -> Result<Device, DeviceError> {
    not_compiled(text, "flex")
}

/// Asks a driver for the number of its devices. A driver that is missing altogether makes some
/// backends panic, which here means that there are none.
#[cfg(any(feature = "cuda", feature = "tch", feature = "wgpu"))]
fn present(
    device: &str,
    number: usize,
    count: impl FnOnce() -> usize + std::panic::UnwindSafe,
) -> Result<(), DeviceError> {
    match std::panic::catch_unwind(count).unwrap_or(0) {
        found if found > number => Ok(()),
        found => Err(DeviceError::NotPresent {
            device: device.to_owned(),
            found,
        }),
    }
}

#[cfg(feature = "cuda")]
fn cuda(text: &str, number: usize) -> Result<Device, DeviceError> {
    use burn::backend::{CubeDevice, CudaDevice};

    // `Device::enumerate` would ask every runtime of cubecl, the adapters of wgpu included.
    let first = CubeDevice::Cuda(CudaDevice::new(0)).to_id();
    present(text, number, || CubeDevice::enumerate(first).len())?;
    Ok(Device::cuda(number))
}

#[cfg(not(feature = "cuda"))]
fn cuda(text: &str, _: usize) -> Result<Device, DeviceError> {
    not_compiled(text, "cuda")
}

#[cfg(feature = "tch")]
#[allow(deprecated)] // burn deprecates its LibTorch backend as a whole.
fn tch(text: &str, number: Option<usize>) -> Result<Device, DeviceError> {
    if let Some(number) = number {
        let count = || Device::enumerate(burn::tensor::DeviceType::LibTorch).into_vec();
        present(text, number, || count().len())?;
    }
    Ok(number.map_or_else(Device::libtorch, Device::libtorch_cuda))
}

#[cfg(not(feature = "tch"))]
fn tch(text: &str, _: Option<usize>) -> Result<Device, DeviceError> {
    not_compiled(text, "tch")
}

#[cfg(feature = "wgpu")]
fn wgpu(text: &str) -> Result<Device, DeviceError> {
    let count = || Device::enumerate(burn::tensor::DeviceType::Wgpu).into_vec();
    present(text, 0, || count().len())?;
    Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice))
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(text: &str) -> Result<Device, DeviceError> {
    not_compiled(text, "wgpu")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_device_is_refused() {
        for text in ["", "gpu", "cuda:x", "cuda:-1", "flex:0", "wgpu:1:2", "tch:"] {
            assert!(
                matches!(parse_device(text), Err(DeviceError::Unknown(_))),
                "{text}"
            );
        }
    }

    #[test]
    #[cfg(feature = "flex")]
    fn auto_is_a_device_that_is_there() {
        let name = device_name("auto");
        assert!(AUTO.contains(&name.as_str()), "{name}");
        assert!(parse_device("auto").is_ok());
        assert_eq!(device_name("flex"), "flex");
        #[cfg(not(any(feature = "cuda", feature = "tch", feature = "wgpu")))]
        assert_eq!(name, "flex");
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_backend_that_is_not_compiled_in_names_its_feature() {
        let error = parse_device("cuda:0").unwrap_err();
        assert_eq!(
            error,
            DeviceError::NotCompiled {
                device: "cuda:0".into(),
                feature: "cuda"
            }
        );
        assert!(error.to_string().contains("--features cuda"));
    }
}
