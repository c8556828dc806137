//! What the model is asked: lists of choices, the paper's methods, templates, and options with
//! letters.

pub(crate) mod choices;
pub(crate) mod letters;
pub(crate) mod list_schedule;
mod method;
mod parts;
mod template;

pub use choices::{ChoiceList, ChoiceRule};
pub use list_schedule::ListSchedule;
pub use method::{Method, Wording};
pub use template::PromptTemplate;
