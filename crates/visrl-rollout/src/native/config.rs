//! Settings of the engine.

use serde::{Deserialize, Serialize};
use visrl_kernels::FEW_ROWS;

use crate::scheduler::SchedulerLimits;

/// Which engine samples from a model in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// The native one in host memory (flex), the one for devices elsewhere.
    #[default]
    Auto,
    /// [`NativeEngine`](crate::NativeEngine).
    Native,
    /// [`DeviceEngine`](crate::DeviceEngine).
    Device,
}

/// Settings of the engines that run a model in this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// Which engine [`LocalEngine`](crate::LocalEngine) is.
    pub engine: EngineKind,
    /// The most sequences that are decoded together. A group is never split: one that has more runs
    /// alone. 0 sets no limit.
    pub max_sequences: usize,
    /// The most prompt tokens that are encoded together; a longer prompt is encoded alone. 0 sets
    /// no limit.
    pub max_prefill_tokens: usize,
    /// The most tokens whose keys and values are held for groups that run: each prompt once and
    /// every completion at its longest. A group that needs more is refused. 0 sets no limit.
    pub max_cached_tokens: usize,
    /// The most prompt tokens whose keys and values are kept for prompts that come again while the
    /// weights stay as they are, as in an evaluation that follows another.
    pub kept_prompt_tokens: usize,
    /// Makes every group independent of the groups beside it to the last bit (batch-invariant
    /// results), at the price of speed: each image and each prompt is encoded alone, and no more
    /// than [`FEW_ROWS`](visrl_kernels::FEW_ROWS) rows are multiplied together. Holds on the
    /// flex backend in f32. Without it, rounding may differ with the rows beside, which is seen
    /// where two tokens are almost equally likely.
    pub batch_invariant: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            engine: EngineKind::Auto,
            max_sequences: 256,
            max_prefill_tokens: 16_384,
            max_cached_tokens: 0,
            kept_prompt_tokens: 0,
            batch_invariant: false,
        }
    }
}

impl EngineConfig {
    /// What the scheduler keeps to.
    pub fn scheduler_limits(&self) -> SchedulerLimits {
        SchedulerLimits {
            max_sequences: self.max_sequences,
            max_prefill_tokens: self.max_prefill_tokens,
            max_cached_tokens: self.max_cached_tokens,
        }
    }

    /// The most rows that go through the decoder together.
    pub(super) fn max_decode_rows(&self) -> usize {
        match self.batch_invariant {
            true => FEW_ROWS,
            false => usize::MAX,
        }
    }
}
