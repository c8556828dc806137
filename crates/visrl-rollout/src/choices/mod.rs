//! Answers from a closed list.
//!
//! | file | what stands there |
//! |---|---|
//! | `token_choices` | the list as tokens, for sampling (guided choice) |
//! | `score` | the log-probability of each answer, without sampling |
//! | `calibration` | the temperature at which these are calibrated |

mod calibration;
mod score;
mod token_choices;

pub use calibration::fit_temperature;
pub use score::{ChoiceScores, score_choices, score_choices_of_all};
pub use token_choices::TokenChoices;
