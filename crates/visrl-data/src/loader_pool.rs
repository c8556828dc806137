use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use visrl_core::ImageSource;

/// The jobs of a loader's threads and what became of them.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    state: Mutex<State<T>>,
    /// There is a job, or the loader was closed.
    job: Condvar,
    /// There is a result.
    result: Condvar,
}

#[derive(Debug)]
struct State<T> {
    jobs: VecDeque<(usize, ImageSource)>,
    results: HashMap<usize, Result<T, String>>,
    closed: bool,
}

impl<T> Shared<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                results: HashMap::new(),
                closed: false,
            }),
            job: Condvar::new(),
            result: Condvar::new(),
        }
    }

    /// No foreign code runs under the lock, so what a panic left there is whole.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the threads an image to decode.
    pub(crate) fn hand_out(&self, index: usize, image: ImageSource) {
        self.lock().jobs.push_back((index, image));
        self.job.notify_one();
    }

    /// Waits until an image that was handed out is decoded, or found to be broken.
    pub(crate) fn wait_for(&self, index: usize) -> Result<T, String> {
        let mut state = self.lock();
        loop {
            if let Some(result) = state.results.remove(&index) {
                return result;
            }
            state = self
                .result
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets the threads end, each after the image it has begun.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.jobs.clear();
        drop(state);
        self.job.notify_all();
    }

    /// What a thread does: one job after another, until the loader is closed.
    pub(crate) fn work(&self, open: impl Fn(&ImageSource) -> Result<T, String>) {
        let mut state = self.lock();
        loop {
            if state.closed {
                return;
            }
            let Some((index, image)) = state.jobs.pop_front() else {
                state = self.job.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let result = open(&image);
            state = self.lock();
            state.results.insert(index, result);
            self.result.notify_one();
        }
    }
}

/// Decodes an image that is not too large.
pub(crate) fn open<T, E: Display>(
    image: &ImageSource,
    limit: u64,
    decode: impl Fn(&ImageSource) -> Result<T, E>,
) -> Result<T, String> {
    let size = match image {
        ImageSource::Path(path) => {
            let file = std::fs::metadata(path).map_err(|error| error.to_string())?;
            if !file.is_file() {
                return Err("is not a file".into());
            }
            file.len()
        }
        ImageSource::Encoded { bytes, .. } => bytes.len() as u64,
        // Pixels are in memory already, and as many as their width and height say.
        ImageSource::Gray { .. } | ImageSource::Rgb { .. } => 0,
    };
    if size > limit {
        return Err(format!(
            "has {size} bytes, the limit is {limit}; raise `file_bytes`, if it is an image"
        ));
    }
    match catch_unwind(AssertUnwindSafe(|| decode(image))) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or(panic.downcast_ref::<&str>().copied());
            let message = message.unwrap_or("without a message");
            Err(format!("the decoder panicked: {message}"))
        }
    }
}
