use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A handle that asks a run to end after the step that it is making, with a checkpoint to resume
/// from. Clones share one flag: give one to the run and trigger another, from a signal handler or
/// another thread.
///
/// ```
/// use visrl_train::Interrupt;
///
/// let interrupt = Interrupt::new();
/// let handle = interrupt.clone();
/// std::thread::spawn(move || handle.trigger()).join().unwrap();
/// assert!(interrupt.is_triggered());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// A handle that nobody has triggered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the run to end. Returns whether it was asked before.
    pub fn trigger(&self) -> bool {
        self.0.swap(true, Ordering::SeqCst)
    }

    /// The flag behind the handle, for a signal handler that sets one.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// Whether the run was asked to end.
    pub fn is_triggered(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
