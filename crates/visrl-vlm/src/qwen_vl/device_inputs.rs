//! Inputs that are kept on a device for who reads them next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, Tensor};
use visrl_core::FifoCache;
use visrl_image::ProcessedImage;
use visrl_kernels::is_in_host_memory;

use super::rope::Rotary;
use super::vision::inputs::TowerInputs;
use crate::error::Error;

/// The most bytes of images, and of rotations, that are kept.
const KEPT: usize = 128 << 20;

/// Pixels and rotations of the last batches, where the model does not lie in host memory: in a
/// training step the reference reads them, then the policy.
///
/// A model and its copies share them.
#[derive(Debug)]
pub(super) struct DeviceInputs {
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// By the addresses of images, which an entry keeps alive.
    images: FifoCache<Vec<usize>, KeptImages>,
    /// By positions, with the device that they are turned on.
    rotations: FifoCache<Vec<[u32; 3]>, (Device, Rotary)>,
}

#[derive(Debug)]
struct KeptImages {
    /// Whose addresses are the key.
    _alive: Vec<Arc<ProcessedImage>>,
    inputs: Arc<TowerInputs>,
}

impl Default for DeviceInputs {
    fn default() -> Self {
        let kept = Kept {
            images: FifoCache::new(KEPT),
            rotations: FifoCache::new(KEPT),
        };
        Self {
            kept: Mutex::new(kept),
        }
    }
}

impl DeviceInputs {
    /// What a tower with this weight reads of images; made where it is not kept.
    pub(super) fn images(
        &self,
        images: &[Arc<ProcessedImage>],
        weight: &Tensor<2>,
        make: impl FnOnce() -> Result<TowerInputs, Error>,
    ) -> Result<Arc<TowerInputs>, Error> {
        if is_in_host_memory(weight) {
            return make().map(Arc::new);
        }
        let key: Vec<usize> = images
            .iter()
            .map(|image| Arc::as_ptr(image) as usize)
            .collect();
        let kept = self
            .lock()
            .images
            .get(&key)
            .map(|kept| Arc::clone(&kept.inputs));
        if let Some(kept) = kept.filter(|kept| kept.fit(weight)) {
            return Ok(kept);
        }
        let made = Arc::new(make()?);
        let entry = KeptImages {
            _alive: images.to_vec(),
            inputs: Arc::clone(&made),
        };
        self.lock().images.insert(key, entry, made.bytes());
        Ok(made)
    }

    /// The rotation of a model with this weight by positions; made where it is not kept.
    pub(super) fn rotation(
        &self,
        positions: &[[u32; 3]],
        weight: &Tensor<2>,
        make: impl FnOnce() -> Rotary,
    ) -> Rotary {
        if is_in_host_memory(weight) {
            return make();
        }
        let device = weight.clone().without_autodiff().device();
        if let Some((of, kept)) = self.lock().rotations.get(positions)
            && *of == device
        {
            return kept.clone();
        }
        let made = make();
        let bytes = made.bytes() + size_of_val(positions);
        self.lock()
            .rotations
            .insert(positions.to_vec(), (device, made.clone()), bytes);
        made
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // The caches are whole at every point where a panic could have poisoned the lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
