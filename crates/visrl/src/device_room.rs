//! Whether a run fits into the memory of its device.

use visrl_kernels::DeviceMemory;
use visrl_train::MemoryPlan;

use crate::error::Error;

/// Refuses a run that needs more than a device of its own memory, with the model loaded, has left.
///
/// # Errors
/// [`Error::Room`].
pub(crate) fn check_room(plan: &MemoryPlan, memory: Option<DeviceMemory>) -> Result<(), Error> {
    let free = memory.and_then(|memory| memory.free);
    match free {
        Some(free) if plan.beyond_parameters() > free => Err(Error::Room {
            needed: plan.beyond_parameters(),
            free,
            plan: plan.to_string(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_the_remedy() {
        let plan = MemoryPlan {
            parameters: 4_000_000_000,
            moments: 16_000_000_000,
            ..MemoryPlan::default()
        };
        let of = |free| {
            let memory = DeviceMemory { peak: 0, free };
            check_room(&plan, Some(memory))
        };
        assert!(check_room(&plan, None).is_ok());
        assert!(of(None).is_ok() && of(Some(16_000_000_000)).is_ok());
        let error = of(Some(15_900_000_000)).unwrap_err().to_string();
        assert!(
            error.contains("needs about 16.0 GB") && error.contains("has 15.9 GB"),
            "{error}"
        );
        assert!(
            error.contains("fine_tune.lora") && error.contains("moments 16000.0"),
            "{error}"
        );
    }
}
