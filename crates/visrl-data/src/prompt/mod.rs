//! What the model is asked: lists of choices, the paper's methods, templates, and options with
//! letters.

pub(crate) mod choices;
pub(crate) mod letters;
mod method;
mod template;

pub use choices::{ChoiceList, ChoiceRule};
pub use method::{Method, Wording};
pub use template::PromptTemplate;
