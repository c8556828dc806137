//! Forms of operations: what an operation has to offer on a backend, and how tensors get there.
//!
//! An operation that a backward pass follows is a value (its settings) that implements
//! * [`Fused`] for each backend that it has a form for: forward, forward with what the gradient
//!   needs, and the gradient, over that backend's own tensors; and
//! * [`Operation`], which lists these forms: one line each.
//!
//! [`run`] gives tensors to the first form that takes them, recorded as one node where they are
//! tracked, or gives them back; the operation's plain form, in tensor operations, then does the
//! work. A backend says in [`FusedBackend`] how its tensors are told from others. Nothing here
//! knows a particular backend.

mod backend;
mod fused;
mod run;

pub use backend::{FusedBackend, Tracking, takes};
pub use fused::Fused;
pub(crate) use run::tell;
pub use run::{FORMS, Form, Operation, on, on_formats, run};
