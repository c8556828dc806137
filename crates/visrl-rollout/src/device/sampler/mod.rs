//! Drawing tokens where the logits are: the rules of the sampler for host memory, in tensor
//! operations over all rows together.
//!
//! | file | what stands there |
//! |---|---|
//! | `row_settings` | the settings of each row, on the device |
//! | `draw` | from logits to tokens: all of the below in order |
//! | `penalties` | repetition penalty, bans and guided choice, over the vocabulary |
//! | `window` | the tokens that are looked at: the vocabulary, or its likeliest |
//! | `filters` | top-k, top-p, min-p and typical-p |
//! | `softmax` | probabilities, as the sampler for host memory computes them |

mod draw;
mod filters;
mod penalties;
mod row_settings;
mod softmax;
mod window;

pub use draw::{DeviceSampler, DrawInput};
pub use row_settings::RowSettings;
