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
    MEMORIES.iter().find_map(|memory| memory(device))
}

const MEMORIES: &[fn(&Device) -> Option<DeviceMemory>] = &[
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
