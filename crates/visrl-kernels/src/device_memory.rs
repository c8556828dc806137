//! What a device tells of its memory.

use burn::tensor::Device;

/// Bytes of a device's own memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// The most that tensors of this process have held at once.
    pub peak: u64,
    /// What they can still have, where the device tells.
    pub free: Option<u64>,
}

/// The memory of a device beside the host's; nothing where there is none, or where it is not told of.
/// LibTorch tells of GPUs on which something was computed.
pub fn device_memory(device: &Device) -> Option<DeviceMemory> {
    let (peak, free) = MEMORIES.iter().find_map(|memory| memory(device))?;
    Some(DeviceMemory { peak, free })
}

/// The bytes of the peak and those that are free, of a device of one backend.
type Memory = fn(&Device) -> Option<(u64, Option<u64>)>;

const MEMORIES: &[Memory] = &[
    #[cfg(feature = "tch")]
    crate::libtorch::memory,
];

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_no_memory_beside_its_own() {
        assert_eq!(device_memory(&Device::flex()), None);
    }
}
