//! After the training: answers for pictures.
//!
//! | file | what stands there |
//! |---|---|
//! | `classify` | pictures to answers, with the probability of each choice |
//! | `trained_run` | the classifier that a run's folder holds |
//! | `picture_answer` | an answer, which is a line of a file |
//! | `pictures` | which files of a folder or a list are pictures |
//! | `answers_file` | answers of many pictures as JSON lines, which a killed process goes on with |
//! | `checksums` | what each answer depends on and is, in checksums |
//! | `answers_page` | pictures and answers as an HTML page, the least certain first |

mod answers_file;
mod answers_page;
mod checksums;
mod classify;
mod picture_answer;
mod pictures;
mod trained_run;

pub use answers_file::AnswersFile;
pub use answers_page::{PAGE_MARK, answers_page};
pub use classify::{Classifier, Question};
pub use picture_answer::PictureAnswer;
pub use pictures::pictures;
pub use trained_run::RunWeights;
